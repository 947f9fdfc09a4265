"""The command `demo`: a page in the browser, on which a run's model draws and measures pictures."""

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
from os import PathLike
from pathlib import Path

from auxar.arguments import as_integer, as_path, check_flag
from auxar.distributed.joining import working_together
from auxar.distributed.signals import requests
from auxar.errors import UserError, one_line, shown
from auxar.generation.sheets import can_be_shown
from auxar.image_model.loading import load

logger = logging.getLogger("auxar")

LOOPBACK = "127.0.0.1"
"""The address that only programs on this machine can reach."""
LOCAL = (LOOPBACK, "localhost", "::1")
"""The names of this machine that only its own programs can reach."""
FIRST_PORT, PORTS = 7860, 100
"""The first port, and the number of ports, that are tried if none is given."""
MOST_UPLOAD = "32mb"
"""Maximum size of an uploaded file."""


def demo(
    path: str | PathLike[str],
    *,
    host: str = LOOPBACK,
    port: int | None = None,
    device: str = "auto",
    trust_plugins: bool = False,
) -> None:
    """Shows a page in the browser, on which a run's model draws and measures pictures, until it is interrupted.

    `path` is the run's folder or the name of a model. The page draws samples, and colorizes, enlarges and completes an
    uploaded picture, or shows the bits of its pixels and its size as a file. `host` is the address at which the page is
    reached: by default 127.0.0.1, which only this machine can reach. `port` is its port, by default the first free one
    from 7860 on. Uploaded pictures are kept in a temporary folder, which is deleted at the end. Needs
    `pip install 'auxar[demo]'`.

    Raises `UserError` if Gradio is missing, if the port is in use, if images of the model cannot be shown, or as
    `auxar.load`.

    Examples:
        >>> import auxar
        >>> auxar.demo("runs/quickstart", port=80000)
        Traceback (most recent call last):
        auxar.errors.UserError: port: expected an integer from 1 to 65,535, got 80000 (int)
    """
    folder = as_path(path, "path")
    if port is not None:
        as_integer(port, "port", 1, 65535)
    if not isinstance(host, str) or not host:
        raise UserError(f"host: expected an address such as {LOOPBACK}, got {shown(host)}")
    check_flag(trust_plugins, "trust_plugins")
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("auxar demo: run this command in one process")
    # Gradio reports nothing to other servers.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the page needs Gradio, which cannot be imported ({one_line(str(error))}); install it with "
            "`pip install 'auxar[demo]'`"
        ) from None
    from starlette.middleware import Middleware

    from auxar.web.actions import Demo
    from auxar.web.guard import Guard
    from auxar.web.page import page, theme

    model = load(folder, device, trust_plugins=trust_plugins)
    if not can_be_shown(model.image):
        raise UserError(f"the page needs images with 1 or 3 channels; this model has {model.image}")
    if (condition := model.condition) is not None and not (condition.is_vector or condition.optional):
        raise UserError(
            f"the page has no conditions of the kind '{condition.kind}', which this model requires; train it with "
            "condition.drop"
        )
    with tempfile.TemporaryDirectory(prefix="auxar-demo-") as uploads, _ending_with_the_terminal():
        os.environ["GRADIO_TEMP_DIR"] = uploads
        blocks = page(Demo(model, folder.name), Path(uploads))
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
