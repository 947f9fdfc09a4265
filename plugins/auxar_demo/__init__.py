"""The command `demo`: a page in the browser, on which a run's model draws and measures pictures."""

from os import PathLike

from auxar import Result, UserError, command


@command("Draw", show=lambda _: Result([]))
def demo(
    run: str | PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    device: str = "auto",
    trust_plugins: bool = False,
) -> None:
    """Shows a page in the browser to try a model.

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
        auxar.errors.UserError: port: expected an integer from 1 to 65,535, got 80000
    """
    if port is not None and not 1 <= port <= 65535:
        raise UserError(f"port: expected an integer from 1 to 65,535, got {port!r}")
    try:
        from auxar_demo.serving import serve
    except ImportError as error:
        raise UserError(
            f"the page needs Gradio, which cannot be imported ({error}); install it with `pip install 'auxar[demo]'`"
        ) from None
    from auxar import load

    model = load(run, device, trust_plugins=trust_plugins)
    if model.image.channels not in (1, 3):
        raise UserError(f"the page needs images with 1 or 3 channels; this model has {model.image}")
    serve(model, host, port)
