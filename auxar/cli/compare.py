"""`auxar compare`: runs side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auxar.cli.evaluate import WASTED, measured, text_table

if TYPE_CHECKING:
    from auxar.evaluation.comparison import ComparedFactor, ComparedRun, Comparison, Margin

RESOLUTIONS_IN_A_LINE = 4
WEIGHTS = {"ema": "EMA", "last": "last", "mixed": "mixed"}


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb to the parser."""
    parser = verbs.add_parser(
        "compare",
        help="runs side by side, and their differences on the same images",
        description="Compares evaluated runs with the first: held-out bits/dim in total, by resolution and by factor, "
        "and the difference on the same images with its standard error. It reads what `auxar evaluate` wrote; neither "
        "the images nor a run's plugins are needed.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run to compare with")
    parser.add_argument("others", type=Path, nargs="+", metavar="RUN", help="runs to compare")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a web page that needs no other file")
    parser.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> None:
    import json
    import logging

    import attrs

    from auxar.errors import one_line
    from auxar.evaluation.comparison import compare_runs
    from auxar.report.comparison import write_comparison

    comparison = compare_runs([options.run, *options.others])
    if options.out is not None:
        write_comparison(options.out, comparison)
        logging.getLogger("auxar").info("page: %s", options.out)
    if options.json:
        # In ASCII: of what controls a terminal, JSON itself leaves some in texts as it is.
        print(json.dumps(attrs.asdict(comparison), indent=2))
    else:
        print("\n".join(map(one_line, comparison_lines(comparison))))


def comparison_lines(comparison: Comparison) -> list[str]:
    """A comparison to be read on a screen."""
    runs = list(enumerate(comparison.runs, start=1))
    image = comparison.image
    size = f"{image.height}×{image.width}×{image.channels}"
    lines = [f"{number:<5}{run.run}" for number, run in runs]
    lines += ["", f"Held-out images of {size}: bits/dim ± standard error; below run 1 is better"]
    lines += _totals(runs)
    lines += ["", "By resolution: an image or view with all coarser ones, bits/dim of its own size"]
    lines += _resolutions(comparison, runs)
    lines += ["", f"By factor: bits/dim of its own size, and its share of the total ({size})"]
    lines += _factors(runs, size)
    lines += _wasted(runs, size)
    notes = [f"{number}: {note}" for number, run in runs for note in run.notes]
    return [*lines, "", *notes] if notes else lines


def _totals(runs: Sequence[tuple[int, ComparedRun]]) -> list[str]:
    rows = [["run", "total", "kind", "minus run 1", "on", "images", "weights", "parameters", "steps"]]
    for number, run in runs:
        rows.append(
            [
                str(number),
                measured(run.bits_per_dim, run.standard_error),
                run.kind,
                _margin(run.margin),
                _basis(run.margin),
                f"{run.images:,}",
                WEIGHTS[run.weights],
                f"{run.parameters:,}",
                run.steps,
            ]
        )
    return text_table(rows)


def _resolutions(comparison: Comparison, runs: Sequence[tuple[int, ComparedRun]]) -> list[str]:
    lines = []
    resolutions = comparison.resolutions
    for start in range(0, len(resolutions), RESOLUTIONS_IN_A_LINE):
        shown = resolutions[start : start + RESOLUTIONS_IN_A_LINE]
        rows = [["run", *map(comparison.resolution_name, shown)]]
        for number, run in runs:
            rows.append([str(number), *(_together(run.factor_of(image)) for image in shown)])
        lines += text_table(rows)
    return lines


def _together(factor: ComparedFactor | None) -> str:
    if factor is None or factor.heldout is None or factor.heldout.cumulative_bits_per_dim is None:
        return "–"
    figures = factor.heldout
    return f"{measured(figures.cumulative_bits_per_dim, figures.cumulative_standard_error)} {factor.cumulative_kind}"


def _factors(runs: Sequence[tuple[int, ComparedRun]], size: str) -> list[str]:
    rows = [["run", "factor", "", "kind", "own size", "minus run 1", f"of {size}", "steps"]]
    for number, run in runs:
        for factor in run.factors:
            figures = factor.heldout
            rows.append(
                [
                    str(number),
                    factor.factor,
                    str(factor),
                    factor.kind,
                    measured(figures.bits_per_dim, figures.standard_error) if figures else "–",
                    _margin(factor.margin),
                    measured(figures.bits_per_dim_of_image, figures.standard_error_of_image) if figures else "–",
                    f"{factor.steps:,}",
                ]
            )
    return text_table(rows, left=4)


def _wasted(runs: Sequence[tuple[int, ComparedRun]], size: str) -> list[str]:
    """What free decoders waste; nothing where none of them can tell."""
    rows = [["run", "factor", "own size", f"of {size}"]]
    for number, run in runs:
        free = [
            (factor.factor, factor.heldout) for factor in run.factors if factor.support == "free" and factor.heldout
        ]
        if all(figures.wasted_bits_per_dim is None for _, figures in free):
            continue
        for name, figures in free:
            own = measured(figures.wasted_bits_per_dim, figures.wasted_standard_error)
            share = measured(figures.wasted_bits_per_dim_of_image, figures.wasted_standard_error_of_image)
            rows.append([str(number), name, own, share])
        rows.append([str(number), "total", "", measured(run.wasted_bits_per_dim, run.wasted_standard_error)])
    return ["", *WASTED, *text_table(rows, left=2)] if len(rows) > 1 else []


def _margin(margin: Margin | None) -> str:
    """With its sign, which is what it is about."""
    if margin is None:
        return "–"
    text = measured(margin.bits_per_dim, margin.standard_error)
    return text if text.startswith(("-", "0.0000")) else f"+{text}"


def _basis(margin: Margin | None) -> str:
    if margin is None:
        return "–"
    return "unpaired" if margin.images is None else f"{margin.images:,} pairs"
