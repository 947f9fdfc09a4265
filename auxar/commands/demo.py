"""The command `demo`: a page in the browser, on which a run's model draws and measures pictures."""

from __future__ import annotations

import os
from os import PathLike

from auxar.commandline import Result, command
from auxar.errors import UserError, one_line, shown


@command("Draw", show=lambda _: Result([]))
def demo(
    run: str | PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    device: str = "auto",
    trust_plugins: bool = False,
) -> None:
    """Shows a page in the browser, on which a run's model draws and measures pictures.

    The page draws samples, colorizes, enlarges and completes an uploaded picture, and shows the bits of its pixels and
    its size as a file. It is shown until the command is interrupted, which deletes the uploaded pictures. Only this
    machine can reach the page, unless another host is given. Needs `pip install 'auxar[demo]'`.

    Args:
        host (ADDRESS): address of the page
        port: port of the page (default: the first free one from 7860 on)

    Raises:
        UserError: Gradio is missing, the port is in use, or images of the model cannot be shown; also as `auxar.load`

    Examples:
        >>> import auxar
        >>> auxar.demo("runs/quickstart", port=80000)
        Traceback (most recent call last):
        auxar.errors.UserError: port: expected an integer from 1 to 65,535, got 80000 (int)
    """
    from auxar.arguments import as_integer, as_path, check_flag
    from auxar.distributed.joining import check_alone
    from auxar.draw.loading import load
    from auxar.draw.sheets import can_be_shown
    from auxar.web.actions import Demo

    folder = as_path(run, "run")
    if port is not None:
        as_integer(port, "port", 1, 65535)
    if not isinstance(host, str) or not host:
        raise UserError(f"host: expected an address such as 127.0.0.1, got {shown(host)}")
    check_flag(trust_plugins, "trust_plugins")
    check_alone("auxar demo")
    # Gradio reports nothing to other servers.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the page needs Gradio, which cannot be imported ({one_line(str(error))}); install it with "
            "`pip install 'auxar[demo]'`"
        ) from None
    from auxar.web.serving import serve

    model = load(folder, device, trust_plugins=trust_plugins)
    if not can_be_shown(model.image):
        raise UserError(f"the page needs images with 1 or 3 channels; this model has {model.image}")
    if (condition := model.condition) is not None and not (condition.is_vector or condition.optional):
        raise UserError(
            f"the page has no conditions of the kind '{condition.kind}', which this model requires; train it with "
            "condition.drop"
        )
    serve(Demo(model, folder.name), host, port)
