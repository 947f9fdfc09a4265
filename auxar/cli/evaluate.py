"""`auxar evaluate`: bits/dim of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auxar.cli.options import add_settings, add_trust

WEIGHTS = {
    "ema": "EMA, the running average of the weights",
    "last": "last, those of the last step",
    "mixed": "EMA for some factors, those of the last step for others",
}
KINDS = {
    "bound": "a bound, log p(X, X̂) ≤ log p(X): the images' own bits/dim are at most this",
    "exact": "exact, log p(X): the images' own",
}
WASTED = (
    "Wasted: held-out bits/dim that free decoders lose to images of other views. Restricting them",
    "(support = 'restricted'), without training them again, would save that many.",
)
COLUMNS_IN_A_LINE = 5
LONGEST_CELL = 60


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb to the parser."""
    parser = verbs.add_parser(
        "evaluate",
        help="bits/dim of a run, factor by factor",
        description="Evaluates the trained factors of a run on its held-out and training images, prints bits/dim, and "
        "writes evaluation.json, evaluation.safetensors (the log-likelihood of every image) and the report.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    add_settings(parser, "evaluation.batch_size=64, evaluation.train_images=0")
    add_trust(parser)
    parser.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from accelerate import PartialState

    from auxar.commands.evaluate import evaluate
    from auxar.errors import one_line
    from auxar.files import read_json

    run = evaluate(options.run, settings=options.settings, trust_plugins=options.trust_plugins)
    if PartialState().is_main_process:
        print("\n".join(map(one_line, evaluation_lines(read_json(run.evaluation)))))


def evaluation_lines(table: dict[str, Any]) -> list[str]:
    """What `evaluation.json` holds, to be read on a screen of 100 columns: a line for each factor."""
    lines = _facts(table)
    for name, title in (("heldout", "Held-out images"), ("training", "Training images")):
        if name in table["images"]:
            lines += ["", f"{title}: bits/dim ± standard error over {table['images'][name]:,} images"]
            lines += _likelihoods(table, name)
    if len(table["images"]) > 1:
        lines += ["", "Held-out less training images, bits/dim: a model that overfits has a large difference"]
        lines += _overfitting(table)
    lines += _channels(table)
    lines += _wasted(table)
    missing = [entry["factor"] for entry in table["factors"] if not (entry["heldout"] or entry["training"])]
    if missing and table["images"]:
        lines += ["", f"not trained yet, and so no total: {', '.join(missing)}"]
    return lines


def text_table(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of aligned columns, the first `left` of them to the left and all others to the right.

    Cells may hold any text: what is long is cut, and what cannot be printed escaped.
    """
    from auxar.errors import one_line

    rows = [[one_line(cell, LONGEST_CELL) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def measured(value: float | None, error: float | None, digits: int = 4) -> str:
    """A mean and its standard error, or a dash for what there is not."""
    if value is None:
        return "–"
    return f"{value:z.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def size(image: dict[str, Any]) -> str:
    """Height × width × channels."""
    return f"{image['height']}×{image['width']}×{image['channels']}"


def _facts(table: dict[str, Any]) -> list[str]:
    data = table["data"]
    facts = [["data", data["path"]]]
    for name, title, key in (
        ("heldout", "held-out", "heldout_fingerprint"),
        ("training", "training", "fingerprint"),
    ):
        count = table["images"].get(name)
        facts.append([title, f"{count:,} images of fingerprint {data[key]}" if count else "not evaluated"])
    facts.append(["weights", WEIGHTS[table["weights"]]])
    facts.append(["total", KINDS[table["kind"]]])
    return [f"{name:<10}{value}" for name, value in facts]


def _likelihoods(table: dict[str, Any], name: str) -> list[str]:
    image = size(table["factors"][0]["image"])
    rows = [["factor", "image", "kind", "nats per image", "of its own size", f"of {image}", "with all coarser"]]
    for entry in table["factors"]:
        row = [entry["factor"], size(entry["image"]), entry["kind"]]
        figures = entry[name]
        if figures is None:
            rows.append([*row, *"––––"])
            continue
        rows.append(
            [
                *row,
                measured(figures["nats"], figures["nats_standard_error"], digits=1),
                measured(figures["bits_per_dim"], figures["standard_error"]),
                measured(figures["bits_per_dim_of_image"], figures["standard_error_of_image"]),
                _with_coarser(figures, entry["cumulative_kind"]),
            ]
        )
    total = measured(table["bits_per_dim"][name], table["standard_error"][name])
    rows.append(["total", image, table["kind"], "", "", total, ""])
    return text_table(rows, left=3)


def _with_coarser(figures: dict[str, Any], kind: str) -> str:
    found = measured(figures["cumulative_bits_per_dim"], figures["cumulative_standard_error"])
    return found if figures["cumulative_bits_per_dim"] is None else f"{found} {kind}"


def _overfitting(table: dict[str, Any]) -> list[str]:
    rows = [["factor", "kind", "held-out", "training", "difference"]]
    for entry in table["factors"]:
        sides = [entry[name] or {} for name in ("heldout", "training")]
        cells = [measured(side.get("bits_per_dim"), side.get("standard_error")) for side in sides]
        rows.append([entry["factor"], entry["kind"], *cells, _difference(entry["difference"])])
    totals = [measured(table["bits_per_dim"][name], table["standard_error"][name]) for name in ("heldout", "training")]
    rows.append(["total", table["kind"], *totals, _difference(table["difference"])])
    return text_table(rows, left=2)


def _difference(difference: dict[str, Any] | None) -> str:
    return measured(difference["bits_per_dim"], difference["standard_error"]) if difference else "–"


def _channels(table: dict[str, Any]) -> list[str]:
    """Held-out figures of single channels; nothing where no factor has them."""
    rows = []
    for entry in table["factors"]:
        channels = (entry["heldout"] or {}).get("channels") or []
        cells = [measured(channel["bits_per_dim"], channel["standard_error"]) for channel in channels]
        rows.append(([entry["factor"], entry["kind"]], cells))
    most = max(len(cells) for _, cells in rows)
    if not most:
        return []
    title = "Channels, each given those before: held-out bits/dim of its values; their mean is the factor's own"
    return ["", title, *_wide_table(["factor", "kind"], [f"channel {number}" for number in range(most)], rows)]


def _wasted(table: dict[str, Any]) -> list[str]:
    """What free decoders waste, by factor and channel; nothing where none of them can tell."""
    rows, most, told = [], 0, False
    for entry in table["factors"]:
        if entry["support"] != "free" or not (figures := entry["heldout"]):
            continue
        channels = figures["channels"] or []
        cells = [
            measured(figures["wasted_bits_per_dim"], figures["wasted_standard_error"]),
            measured(figures["wasted_bits_per_dim_of_image"], figures["wasted_standard_error_of_image"]),
            *(measured(channel["wasted_bits_per_dim"], channel["wasted_standard_error"]) for channel in channels),
        ]
        rows.append(([entry["factor"]], cells))
        most = max(most, len(channels))
        told = told or figures["wasted_bits_per_dim"] is not None
    if not told:
        return []
    image = size(table["factors"][0]["image"])
    total = measured(table["wasted_bits_per_dim"]["heldout"], table["wasted_standard_error"]["heldout"])
    rows.append((["total"], ["", total, *[""] * most]))
    names = ["of its own size", f"of {image}", *(f"channel {number}" for number in range(most))]
    return ["", *WASTED, *_wide_table(["factor"], names, rows)]


def _wide_table(
    first: Sequence[str], names: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[str]]]
) -> list[str]:
    """One table for every few columns, so that lines stay short.

    A row is its first cells and those below `names`: dashes where these end early, and no row where all are empty.
    """
    lines = []
    for start in range(0, len(names), COLUMNS_IN_A_LINE):
        here = slice(start, start + COLUMNS_IN_A_LINE)
        part = [[*first, *names[here]]]
        for beginning, cells in rows:
            shown = [*cells, *["–"] * (len(names) - len(cells))][here]
            if any(shown):
                part.append([*beginning, *shown])
        lines += text_table(part, left=len(first))
    return lines
