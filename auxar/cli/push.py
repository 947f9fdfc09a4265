"""`auxar push`: uploads a finished run to the Hugging Face hub."""

from __future__ import annotations

import argparse

from auxar.cli.options import add_json, add_run, add_trust, integer
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `push` to the parser."""
    parser = commands.add_parser(
        "push",
        help="upload a finished run to the Hugging Face hub",
        description="Uploads the files of a finished run that `auxar export` writes to a new repository on the Hugging "
        "Face hub, with a card that is made from the recipe and the evaluation and shows drawn images. Anyone can then "
        "use the model by its name: `auxar sample user/name`. `hf auth login` logs in.",
    )
    add_run(parser)
    parser.add_argument("name", metavar="NAME", help="the repository, such as user/name")
    parser.add_argument("--license", metavar="ID", help="license of the model, as the hub names it, such as mit")
    parser.add_argument("--private", action="store_true", help="make a repository that only you can read")
    parser.add_argument(
        "--update",
        action="store_true",
        help="upload a new revision to a repository that exists: the card and the files of an earlier model are "
        "replaced, other files are kept",
    )
    parser.add_argument("--half", action="store_true", help="store weights as float16, as `auxar export --half`")
    parser.add_argument(
        "--images", type=integer, default=16, metavar="N", help="number of drawn images on the card (default: 16)"
    )
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_push)


def _push(options: argparse.Namespace) -> Result:
    import attrs

    from auxar.commands.push import push

    pushed = push(
        options.run,
        options.name,
        license=options.license,
        private=options.private,
        update=options.update,
        half=options.half,
        images=options.images,
        trust_plugins=options.trust_plugins,
    )
    return Result([pushed.url, f"auxar sample {pushed.name} draws images."], attrs.asdict(pushed))
