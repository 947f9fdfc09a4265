"""`auxar demo`: a page in the browser for a run's model."""

from __future__ import annotations

import argparse

from auxar.cli.options import add_run, add_trust, integer
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `demo` to the parser."""
    parser = commands.add_parser(
        "demo",
        help="show a page on which a model draws and measures pictures",
        description="Shows a page in the browser, until it is interrupted: it draws samples, colorizes, enlarges and "
        "completes an uploaded picture, and shows the bits of its pixels and its size as a file. Only this machine can "
        "reach the page, unless --host says otherwise. Needs `pip install 'auxar[demo]'`.",
    )
    add_run(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address of the page (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=integer, metavar="N", help="port of the page (default: the first free one from 7860 on)"
    )
    add_trust(parser)
    parser.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> Result:
    from auxar.commands.demo import demo

    demo(options.run, host=options.host, port=options.port, trust_plugins=options.trust_plugins)
    return Result([], None)
