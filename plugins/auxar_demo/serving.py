"""Serves the demo page until it is interrupted."""

import logging
import os
import socket
import tempfile
import time
from pathlib import Path

import gradio

from auxar import ImageModel, UserError
from auxar_demo.page import page

logger = logging.getLogger("auxar")

LOCAL = ("127.0.0.1", "localhost")
"""The names of this machine that only its own programs can reach."""
MOST_UPLOAD = "32mb"
"""Maximum size of an uploaded file."""
THEME = gradio.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"))
"""A theme with fonts of the user's system. The fonts of Gradio's themes are loaded from another server."""


def serve(model: ImageModel, host: str, port: int | None) -> None:
    """Serves the page of a model until a signal ends it. Uploads are in a temporary folder, which is then deleted.

    Raises `UserError` if the port cannot be used.
    """
    if host not in LOCAL:
        logger.warning("anyone who can reach %s can use this page", host)
    for name in ("NO_PROXY", "no_proxy"):  # Gradio asks its own page whether it can be reached.
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), host)))
    with tempfile.TemporaryDirectory(prefix="auxar-demo-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        blocks = page(model, Path(uploads))
        try:
            # Gradio would try each port for seconds.
            family, _, _, _, place = socket.getaddrinfo(host.strip("[]"), 0, type=socket.SOCK_STREAM)[0]
            with socket.socket(family) as probe:
                probe.bind(place)
            blocks.launch(
                server_name=host,
                server_port=port,
                share=False,
                prevent_thread_lock=True,
                quiet=True,
                show_error=True,
                ssr_mode=False,
                enable_monitoring=False,
                theme=THEME,
                max_file_size=MOST_UPLOAD,
                footer_links=[],
            )
            logger.info("page: %s (Ctrl-C ends it)", blocks.local_url)
            while True:
                time.sleep(1)
        except OSError as error:
            raise UserError(f"the page cannot be opened at {host}, port {port or '7860 … 7959'}: {error}") from None
        finally:
            blocks.close(verbose=False)
