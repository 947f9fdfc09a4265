"""Serves the demo page until it is interrupted."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from starlette.middleware import Middleware

from auxar.distributed.signals import requests
from auxar.errors import UserError, one_line
from auxar.web.actions import Demo
from auxar.web.guard import Guard
from auxar.web.page import page, theme

logger = logging.getLogger("auxar")

LOCAL = ("127.0.0.1", "localhost", "::1")
"""The names of this machine that only its own programs can reach."""
FIRST_PORT, PORTS = 7860, 100
"""The first port, and the number of ports, that are tried if none is given."""
MOST_UPLOAD = "32mb"
"""Maximum size of an uploaded file."""


def serve(demo: Demo, host: str, port: int | None) -> None:
    """Serves the page of `demo` until a signal ends it. Uploads are in a temporary folder, which is then deleted.

    Raises `UserError` if the port cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="auxar-demo-") as uploads, _ending_with_the_terminal():
        os.environ["GRADIO_TEMP_DIR"] = uploads
        blocks = page(demo, Path(uploads))
        local = host in LOCAL
        if not local:
            logger.warning("anyone who can reach %s can use this page", host)
        guard = {"middleware": [Middleware(Guard, uploads=Path(uploads), names=LOCAL if local else None)]}
        try:
            with _without_proxies():
                blocks.launch(
                    server_name=f"[{host}]" if ":" in host else host,
                    server_port=_free_port(host, port),
                    share=False,
                    prevent_thread_lock=True,
                    quiet=True,
                    show_error=True,
                    ssr_mode=False,
                    enable_monitoring=False,
                    theme=theme(),
                    max_file_size=MOST_UPLOAD,
                    footer_links=[],
                    app_kwargs=guard,
                )
            logger.info("page: %s (Ctrl-C ends it)", blocks.local_url)
            while True:
                time.sleep(1)
        finally:
            blocks.close(verbose=False)


def _free_port(host: str, port: int | None) -> int:
    """The port, or the first free one from `FIRST_PORT` on. Raises `UserError` if it cannot be used."""
    reason = ""
    for each in range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, each, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(address)
            return each
        except (OSError, UnicodeError) as error:
            reason = str(getattr(error, "strerror", None) or error)
            if getattr(error, "errno", None) != errno.EADDRINUSE:
                break
    where = f"port {port}" if port is not None else f"the ports from {FIRST_PORT} on"
    raise UserError(f"the page cannot be opened at {one_line(host)}, {where}: {one_line(reason)}")


@contextlib.contextmanager
def _without_proxies() -> Iterator[None]:
    """Lets Gradio ask its own page without the proxy that the environment names for other servers."""
    names = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
    os.environ.update(dict.fromkeys(names, "*"))
    try:
        yield
    finally:
        for name, value in names.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _ending_with_the_terminal() -> Iterator[None]:
    """Handles SIGHUP like SIGTERM, so that the uploads are deleted if the terminal is closed."""
    signals = getattr(signal, "SIGHUP", None)
    if signals is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signals)
    if before is signal.SIG_DFL:  # It is ignored under `nohup`.
        signal.signal(signals, requests.handle)
    try:
        yield
    finally:
        signal.signal(signals, before)
