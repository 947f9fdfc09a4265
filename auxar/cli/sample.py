"""`auxar sample`: images drawn from a run's model."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_settings
from auxar.interfaces import RULES


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb to the parser."""
    parser = verbs.add_parser(
        "sample",
        help="draw images from a run's model",
        description="Draws images and writes a sheet, single PNGs and, for models with views, the way from coarse to "
        "fine. What is not given is as the run's recipe has it under [sampling].",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("-n", "--images", type=int, metavar="N", help="number of images")
    parser.add_argument("--rule", choices=RULES, help="how values are drawn")
    parser.add_argument("--reduction", type=float, metavar="R", help="for --rule reduced: off the log-scales")
    parser.add_argument("--temperature", type=float, metavar="T", help="divides the logits of softmax heads")
    parser.add_argument("--seed", type=int, metavar="S")
    parser.add_argument("--batch-size", type=int, metavar="B", help="images drawn at once")
    parser.add_argument("--sampler", metavar="NAME", help="a sampler, as `auxar plugins` lists them")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to (default: RUN/samples/<rule>-seed<S>)")
    add_settings(parser, "sampling.images=64")
    parser.set_defaults(command=_sample)


def _sample(options: argparse.Namespace) -> None:
    from auxar.running import sample

    settings = list(options.settings)
    if options.rule not in (None, "reduced") and options.reduction is None:
        settings.append("sampling.reduction=0.0")  # The run's own belongs to the rule 'reduced'.
    for key in ("images", "rule", "reduction", "temperature", "seed", "batch_size", "sampler"):
        value = getattr(options, key)
        if value is not None:
            settings.append(f"sampling.{key}={value}")
    print(sample(options.run, settings=settings, out=options.out))
