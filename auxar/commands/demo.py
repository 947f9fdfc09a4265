"""The command `demo`: a page in the browser, on which a run's model draws and rates pictures."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from os import PathLike

from auxar.arguments import as_integer, as_path, check_flag
from auxar.distributed.joining import working_together
from auxar.errors import UserError, one_line, shown
from auxar.generation.sheets import can_be_shown
from auxar.image_model.loading import load

logger = logging.getLogger("auxar")

LOOPBACK = "127.0.0.1"
"""The address that only programs on this machine can reach."""
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
    """Shows a page in the browser, on which a run's model draws and rates pictures, until the process is interrupted.

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
    # Gradio reads these when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise UserError(
            f"the page needs Gradio, which cannot be imported ({one_line(str(error))}); install it with "
            "`pip install 'auxar[demo]'`"
        ) from None
    from auxar.web.actions import Demo
    from auxar.web.page import page, theme

    model = load(folder, device, trust_plugins=trust_plugins)
    if not can_be_shown(model.image):
        raise UserError(f"the page needs images with 1 or 3 channels; this model has {model.image}")
    with tempfile.TemporaryDirectory(prefix="auxar-demo-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        blocks = page(Demo(model, folder.name))
        try:
            blocks.launch(
                server_name=host,
                server_port=port,
                share=False,
                prevent_thread_lock=True,
                quiet=True,
                show_error=True,
                ssr_mode=False,
                theme=theme(),
                max_file_size=MOST_UPLOAD,
                footer_links=[],
            )
        except OSError as error:
            raise UserError(f"the page cannot be opened at {host}: {one_line(str(error))}") from None
        try:
            if host not in (LOOPBACK, "localhost", "::1"):
                logger.warning("anyone who can reach %s can use this page", host)
            logger.info("page: %s (Ctrl-C ends it)", blocks.local_url)
            while True:
                time.sleep(1)
        finally:
            blocks.close(verbose=False)
            gradio.close_all(verbose=False)
