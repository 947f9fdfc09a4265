"""Tests that every cell of every table has the figure of its row and column.

All figures of the evaluations differ, and the expected ones are computed from the stored log-likelihoods with NumPy,
so that a figure of another factor, run, set, kind or channel is noticed in any cell.
"""

import csv
import io
import math
import re
import statistics
from collections.abc import Sequence
from operator import gt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from helpers.html_page import Page
from helpers.references import mean_and_error

from auxar.commands.classify import _lines as class_lines
from auxar.commands.score import _lines as score_lines
from auxar.draw.classification import Accuracy, Classes, ImageClass
from auxar.draw.scoring import ImageScore, Scores
from auxar.evaluation import comparison as comparisons
from auxar.evaluation.comparison import compare_runs
from auxar.evaluation.evaluated_run import EvaluatedRun, _multiply_adds
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import DataFacts, FactorFacts
from auxar.model import ImageSpec
from auxar.recipe.cost import FactorCost
from auxar.report import comparison_tables as of_runs
from auxar.report import evaluation_tables as of_run
from auxar.report import summary as summaries
from auxar.report import training_tables
from auxar.report.charts import cost_charts
from auxar.report.html import TEMPLATES
from auxar.report.table_files import csv_text, latex_text
from auxar.report.tables import Annotated, Cell, FactorName, Measured, RunName, Table
from auxar.report.text import evaluation_lines, table_lines
from auxar.report.words import condition as condition_words

SPECS = [ImageSpec(height=8, width=8), ImageSpec(height=4, width=8), ImageSpec(1, height=4, width=4)]
SUPPORTS: list[Any] = ["free", "free", None]
NAMES = ["stage0", "stage1", "prior"]
COUNTS = {"heldout": 12, "training": 9, "samples": 7, "codecs": 5}
PARTS: Any = TEMPLATES.get_template("parts.html").module
CHANNELS = ["channel 0", "channel 1", "channel 2"]
CODECS = ["PNG", "WebP (lossless)"]
RUNS = 3


def evaluation_of(seed: int) -> Evaluation:
    """An evaluation of two free decoders and a prior, with random log-likelihoods of images."""
    random = np.random.default_rng(seed)

    def nats(channels: int, images: str, dims: int) -> torch.Tensor:
        # Means differ by far more than their standard errors.
        return torch.from_numpy(
            random.uniform(-3, -1) * dims / channels + random.normal(size=(channels, COUNTS[images]))
        )

    factors = [
        FactorFacts(
            name,
            SPECS[place],
            SPECS[place + 1] if support else None,
            support,
            "bound" if support else "exact",
            parameters=1000 * (seed + 1) + place,
            steps=100 * (seed + 1) + place,
            weights=["ema", "last", "last"][seed],
            condition="label",
            kept="best",
            trained_steps=5000 * (seed + 1) + place,
        )
        for place, (name, support) in enumerate(zip(NAMES, SUPPORTS, strict=True))
    ]
    tensors = {}
    for name, spec, support in zip(NAMES, SPECS, SUPPORTS, strict=True):
        for images in ("heldout", "training"):
            for part in ("nats", "null", "rule", *(["inside"] if support else [])):
                tensors[f"{images}.{name}.{part}"] = nats(spec.channels, images, spec.dims)
        for part in ("in_chain", "given_heldout_views"):
            tensors[f"samples.{name}.{part}"] = nats(spec.channels, "samples", spec.dims)
        for part, size in {"in_chain": 1.3, "given_heldout_views": 1.6, "heldout": 1.0}.items() if support else ():
            tensors[f"samples.{name}.{part}_energy"] = -nats(2, "samples", 5) * size
    for images in ("heldout", "training"):
        tensors[f"{images}.condition.nats"] = nats(1, images, 1)
    for codec in CODECS:
        tensors[f"codecs.{codec}.nats"] = nats(1, "codecs", SPECS[0].dims)
    data = DataFacts("images", "print of training images", "print of held-out images", 0, "digest")
    return Evaluation(factors, data, condition="label", rule="narrower samples", tensors=tensors)


EVALUATIONS = [evaluation_of(seed) for seed in range(RUNS)]
EVALUATION = EVALUATIONS[0]
TENSORS = EVALUATION.tensors
SECONDS, ADDS = [60.0 * 7, 60.0 * 30, None], [1.5e12, None, 7.25e13]
VIEWS: list[Any] = ["view", "another view"]


@pytest.fixture(scope="module")
def comparison() -> Any:
    """The comparison of three runs with the same views, of which the second and third differ in their seed only."""
    runs = [
        EvaluatedRun(
            Path(f"run {number}"),
            evaluation,
            VIEWS,
            {"training.seed": number, "prior.filters": 4 + (number > 0), "training.ema": 0.5 + (number > 0) / 4},
            [],
            SECONDS[number],
            ADDS[number],
        )
        for number, evaluation in enumerate(EVALUATIONS)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparisons, "read_evaluated_run", lambda path, arithmetic: runs[int(path.name)])
        return compare_runs([Path(str(number)) for number in range(RUNS)])


# Figures that are computed again


def values(part: str, place: int, images: str = "heldout", run: int = 0, channel: int | None = None) -> np.ndarray:
    """Log-likelihoods of images under a factor, or of one channel, (images,)."""
    found = EVALUATIONS[run].tensors[f"{images}.{NAMES[place]}.{part}"].numpy()
    return found.sum(0) if channel is None else found[channel]


def total(part: str, images: str = "heldout", first: int = 0, run: int = 0) -> np.ndarray:
    """Log-likelihoods of images under the factors from a depth on that have this part."""
    places = [place for place in range(first, 3) if part != "inside" or SUPPORTS[place]]
    return np.sum([values(part, place, images, run) for place in places], 0)


def bits(nats: np.ndarray, dims: float) -> tuple[float, float]:
    return mean_and_error(-nats / (math.log(2) * dims))


def dims_of(place: int) -> int:
    return SPECS[place].dims


def apart(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """The difference of two means over different images."""
    return first[0] - second[0], math.hypot(first[1], second[1])


# Comparing cells


def content(cell: Cell) -> Any:
    """The content of a cell: a text, a pair of texts, or the value and the error of a mean."""
    match cell:
        case Measured():
            return (cell.value, cell.error)
        case Annotated():
            return (cell.text, cell.remark)
        case FactorName():
            return cell.name
        case RunName():
            return cell.number
    return cell


def contents(table: Table) -> dict[tuple[str, ...], dict[str, Any]]:
    """The contents of all cells, by the name of the row (after the run, if rows belong to runs) and of the column."""
    headings = [f"{column.over}: {column.name}" if column.over else column.name for column in table.with_runs.columns]
    named = 2 if table.with_runs is not table else 1
    return {
        tuple(str(content(cell)) for cell in row.cells[:named]): dict(
            zip(headings[named:], map(content, row.cells[named:]), strict=True)
        )
        for row in table.with_runs.rows
    }


def assert_cells(table: Table | None, expected: dict[Any, dict[str, Any]]) -> None:
    """Asserts that a table has these rows and columns, in this order, with these contents."""
    assert table is not None
    found = contents(table)
    rows = {key if isinstance(key, tuple) else (key,): columns for key, columns in expected.items()}
    assert list(found) == list(rows)
    for row, columns in rows.items():
        assert list(found[row]) == list(columns), row
        for column, expectation in columns.items():
            assert is_same(found[row][column], expectation), (row, column, found[row][column], expectation)


def is_same(first: Any, second: Any) -> bool:
    """Whether two contents of cells are equal, except for the rounding of numbers."""
    if isinstance(first, tuple) and isinstance(second, tuple):
        return all(is_same(*pair) for pair in zip(first, second, strict=True))
    return bool(math.isclose(first, second, rel_tol=1e-9) if isinstance(first, float) and second else first == second)


KINDS = ["bound", "bound", "exact"]
UNKNOWN = (None, None)


def test_likelihoods_of_factors():
    sets: list[tuple[Any, str]] = [("heldout", "Held-out images"), ("training", "Training images")]
    for images, title in sets:
        rows: dict[str, dict[str, Any]] = {}
        for place, name in enumerate(NAMES):
            own = values("nats", place, images)
            rows[name] = {
                "image": ["8×8×3", "4×8×3", "4×4×1"][place],
                "kind": KINDS[place],
                "nats per image": mean_and_error(own),
                "own size": bits(own, dims_of(place)),
                "share": bits(own, 192),
                "own image and views": bits(total("nats", images, place), dims_of(place)),
            }
        none = dict.fromkeys(("nats per image", "own size"), "")
        whole = bits(total("nats", images), 192)
        rows["total"] = {"image": "8×8×3", "kind": "bound", **none, "share": whole, "own image and views": ""}
        table = of_run.likelihood_table(EVALUATION, images)
        assert table.title == title
        assert f"over {COUNTS[images]} images" in table.caption
        assert_cells(table, rows)


def test_differences_from_training_images():
    rows = {}
    for name, kind in zip([*NAMES, "total"], [*KINDS, "bound"], strict=True):
        both = []
        for images in ("heldout", "training"):
            place = None if name == "total" else NAMES.index(name)
            nats = total("nats", images) if place is None else values("nats", place, images)
            both.append(bits(nats, 192 if place is None else dims_of(place)))
        rows[name] = {"kind": kind, "held-out": both[0], "training": both[1], "difference": apart(*both)}
    assert_cells(of_run.difference_table(EVALUATION), rows)


def test_bits_of_factors_with_their_sizes():
    rows: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(NAMES):
        rows[name] = {"kind": KINDS[place]}
        for images, title in (("heldout", "held-out"), ("training", "training")):
            own = values("nats", place, images)
            rows[name][f"{title}: own size"] = bits(own, dims_of(place))
            rows[name][f"{title}: share"] = (bits(own, 192)[0], None)
        rows[name]["size"] = (["8×8×3", "4×8×3", "4×4×1"][place], "")
        rows[name] |= {"parameters": f"{1000 + place:,}", "steps": (f"{100 + place}", f"best of {5000 + place:,}")}
    rows["total"] = {"kind": "bound"}
    for images, title in (("heldout", "held-out"), ("training", "training")):
        rows["total"] |= {f"{title}: own size": "", f"{title}: share": bits(total("nats", images), 192)}
    rows["total"] |= {"size": "", "parameters": "", "steps": ""}
    table = of_run.factor_table(EVALUATION)
    shares = [cells["held-out: share"] for cells in contents(table).values()]
    assert sum(value for value, _ in shares[:-1]) == pytest.approx(shares[-1][0]), "shares add up"
    assert_cells(table, rows)


def test_bits_of_resolutions():
    scores = {
        ["8×8", "4×8", "4×4"][place]: (bits(total("nats", first=place), dims_of(place))[0], None) for place in (2, 1, 0)
    }
    kinds = {"4×4": "exact", "4×8": "bound", "8×8": "bound"}
    assert_cells(of_run.resolution_table(EVALUATION), {"bits/dim": scores, "kind": kinds})


def codec_cells(run: int) -> dict[str, dict[str, Any]]:
    rows = {}
    for codec in CODECS:
        sizes = EVALUATIONS[run].tensors[f"codecs.{codec}.nats"][0].numpy()
        difference = bits(total("nats", run=run)[: len(sizes)] - sizes, 192)
        rows[codec] = {"bits/dim": bits(sizes, 192), "model minus codec": difference}
    return rows


def test_bits_in_files_of_codecs():
    assert_cells(of_run.codec_table(EVALUATION), codec_cells(0))


def test_bits_of_channels():
    rows: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(NAMES):
        rows[name] = {"kind": KINDS[place]}
        for channel, title in enumerate(CHANNELS):
            known = channel < SPECS[place].channels
            own = values("nats", place, channel=channel) if known else None
            rows[name][title] = "–" if own is None else bits(own, dims_of(place) / SPECS[place].channels)
    assert_cells(of_run.channel_table(EVALUATION), rows)


def wasted_cells(run: int, *, channels: bool) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(NAMES[:2]):
        own = values("inside", place, run=run)
        rows[name] = {"own size": bits(own, dims_of(place)), "share": bits(own, 192)}
        for channel, title in enumerate(CHANNELS if channels else ()):
            rows[name][title] = bits(values("inside", place, run=run, channel=channel), dims_of(place) / 3)
    empty = dict.fromkeys(CHANNELS if channels else (), "")
    rows["total"] = {"own size": "", "share": bits(total("inside", run=run), 192), **empty}
    return rows


def test_wasted_bits():
    assert_cells(of_run.wasted_table(EVALUATION), wasted_cells(0, channels=True))


def fallen_cell(kind, name):
    """The number of samples with an energy or an excess far beyond the held-out images."""
    if f"samples.{name}.heldout_energy" not in EVALUATION.tensors:
        return "–"
    samples, real = (EVALUATION.tensors[f"samples.{name}.{part}_energy"].tolist() for part in (kind, "heldout"))
    limits = [statistics.median_low(row) + 1.5 * (max(row) - statistics.median_low(row)) for row in real]
    return str(sum(any(map(gt, column, limits)) for column in zip(*samples, strict=True)))


def test_bits_of_samples():
    rows = {}
    for place, name in enumerate(NAMES):
        given, chain = (values(kind, place, "samples") for kind in ("given_heldout_views", "in_chain"))
        rows[name] = {
            "held-out images": bits(values("nats", place), dims_of(place)),
            "samples given held-out views": bits(given, dims_of(place)),
            "samples of the chain": bits(chain, dims_of(place)),
            "fallen given held-out views": fallen_cell("given_heldout_views", name),
            "fallen of the chain": fallen_cell("in_chain", name),
        }
    table = of_run.sample_table(EVALUATION)
    assert table is not None
    assert "for 7 exact samples" in table.caption
    assert_cells(table, rows)


def test_bits_by_a_rule():
    pairs = [(values("nats", place), values("rule", place), dims_of(place)) for place in range(len(NAMES))]
    pairs.append((total("nats"), total("rule"), 192))
    rows = {
        name: {
            "the model itself": bits(exact, dims),
            "by the rule": bits(ruled, dims),
            "difference": bits(ruled - exact, dims),
        }
        for name, (exact, ruled, dims) in zip([*NAMES, "total"], pairs, strict=True)
    }
    table = of_run.rule_table(EVALUATION)
    assert table is not None
    assert table.caption.endswith("that the rule draws: narrower samples")
    assert_cells(table, rows)
    plain = EVALUATION.to_dict()
    for name, own in [
        *zip(NAMES, (factor["rule"] for factor in plain["factors"]), strict=True),
        ("total", plain["rule"]),
    ]:
        stated = own["heldout"]
        assert is_same((stated["bits_per_dim"], stated["standard_error"]), rows[name]["by the rule"])
        assert is_same((stated["cost"], stated["cost_error"]), rows[name]["difference"])
    assert of_run.rule_table(attrs.evolve(EVALUATION, rule=None)) is None


def test_what_a_condition_saves_and_takes():
    null, own = total("null"), total("nats")
    without, saved = bits(null, 192), bits(null - own, 192)
    takes = bits(EVALUATION.tensors["heldout.condition.nats"][0].numpy(), 1)
    assert condition_words(EVALUATION) == [
        f"held-out images given the null condition {without[0]:.4f} bits/dim, so the condition saves {saved[0]:.4f} "
        f"± {saved[1]:.4f}",
        f"the condition itself takes {takes[0]:.4f} ± {takes[1]:.4f} bits of an image",
    ]


# Comparisons


def minus(place: int | None, run: int) -> tuple[float, float]:
    """The bits/dim of a factor, or of the model, minus those of the first run."""
    own, first = (total("nats", run=each) if place is None else values("nats", place, run=each) for each in (run, 0))
    return bits(own - first, 192 if place is None else dims_of(place))


def test_totals_of_runs(comparison):
    rows = {
        str(run + 1): {
            "bits/dim": bits(total("nats", run=run), 192),
            "kind": "bound",
            "minus run 1": minus(None, run) if run else UNKNOWN,
            "compared on": "12 images" if run else "–",
            "images": "12",
            "weights": ["EMA", "last", "last"][run],
            "parameters": f"{3 * 1000 * (run + 1) + 3:,}",
            "steps": f"{100 * (run + 1)}–{100 * (run + 1) + 2}",
            "training minutes": ["7.0", "30.0", "–"][run],
            "training multiply-adds": ["1.5e+12", "–", "7.2e+13"][run],
        }
        for run in range(RUNS)
    }
    assert_cells(of_runs.total_table(comparison), rows)


def test_means_over_seeds(comparison):
    values_of_runs = [bits(total("nats", run=run), 192)[0] for run in range(RUNS)]
    pair = values_of_runs[1:]
    rows: dict[str, dict[str, Any]] = {
        "1": {"filters": "4", "ema": "0.5", "bits/dim": values_of_runs[0], "deviation": None, "seeds": "1"},
        "2, 3": {"filters": "5", "ema": "0.75", "bits/dim": np.mean(pair), "deviation": np.std(pair, ddof=1)},
    }
    rows["2, 3"]["seeds"] = "2"
    for row in rows.values():
        row |= {column: (row[column], None) for column in ("bits/dim", "deviation")}
    assert_cells(of_runs.settings_table(comparison), rows)


def test_resolutions_of_runs(comparison):
    rows = {
        str(run + 1): {
            ["8×8", "4×8", "4×4"][place]: bits(total("nats", first=place, run=run), dims_of(place))
            for place in (2, 1, 0)
        }
        for run in range(RUNS)
    }
    table = of_runs.resolution_table(comparison)
    assert_cells(table, rows)
    assert [cell.kind for row in table.rows for cell in row.cells[1:]] == ["exact", "bound", "bound"] * RUNS


def test_factors_of_runs(comparison):
    rows = {}
    for run in range(RUNS):
        for place, name in enumerate(NAMES):
            own = values("nats", place, run=run)
            rows[str(run + 1), name] = {
                "kind": KINDS[place],
                "own size": bits(own, dims_of(place)),
                "minus run 1": minus(place, run) if run else UNKNOWN,
                "share": bits(own, 192),
                "term": ["p(8×8×3 | 4×8×3, label)", "p(4×8×3 | 4×4×1, label)", "p(4×4×1 | label)"][place],
                "parameters": f"{1000 * (run + 1) + place:,}",
                "steps": f"{100 * (run + 1) + place}",
            }
    assert_cells(of_runs.factor_table(comparison), rows)


def test_wasted_bits_of_runs(comparison):
    rows = {
        (str(run + 1), name): cells for run in range(RUNS) for name, cells in wasted_cells(run, channels=False).items()
    }
    assert_cells(of_runs.wasted_table(comparison), rows)


def test_a_comparison_has_the_files_of_codecs_of_its_first_run(comparison):
    *_, table = of_runs.comparison_tables(comparison)
    assert "bits/dim of run 1 (" in table.caption
    assert_cells(table, codec_cells(0))
    *_, other = of_runs.comparison_tables(attrs.evolve(comparison, runs=comparison.runs[::-1]))
    assert_cells(other, codec_cells(RUNS - 1))


def test_costs_of_runs_are_drawn_with_their_bits(comparison):
    """A run of which a cost is unknown is left out; the two others are on opposite sides of a drawing."""
    charts = dict(cost_charts(comparison))
    for title, pair in (("Training time", (0, 1)), ("Training compute", (0, 2))):
        points = [tuple(map(float, each)) for each in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', charts[title])]
        bits_of_runs = [bits(total("nats", run=run), 192)[0] for run in pair]
        (left, first), (right, second) = points
        assert left < right
        assert (first < second) == (bits_of_runs[0] > bits_of_runs[1]), "more bits are higher up"


def test_the_cost_of_a_training_is_that_of_its_crops_batches_and_steps():
    config: Any = SimpleNamespace(crop=(4, 8), batch_size=16)
    recipe: Any = SimpleNamespace(image=SPECS[0], training_of={"stage0": config}.get)
    factor = attrs.evolve(EVALUATION.factors[0], multiply_adds=1000, trained_steps=70)
    assert _multiply_adds(recipe, factor) == 3 * 1000 * 16 * 70 / 2
    config.crop = None
    assert _multiply_adds(recipe, factor) == 3 * 1000 * 16 * 70
    assert _multiply_adds(recipe, attrs.evolve(factor, trained_steps=None)) is None


# Costs and progress


def test_costs_of_factors():
    costs = [
        FactorCost(
            *(
                name,
                f"p({name})",
                SPECS[place],
                None,
                2000 + place,
                10**9 * (3 + place),
                place == 1,
                2**30 * (5 + place),
            ),
            steps=70 + place,
            minutes=1.5 + place,
        )
        for place, name in enumerate(NAMES)
    ]
    rows = {
        name: {
            "term": f"p({name})",
            "parameters": f"{2000 + place:,}",
            "multiply-adds": f"{3 + place}.00 G",
            "memory": f"{5 + place}.00 GiB",
            "steps": str(70 + place),
            "minutes": f"{1.5 + place}",
        }
        for place, name in enumerate(NAMES)
    }
    table = training_tables.cost_table(costs, "bf16")
    assert_cells(table, rows)
    assert "in bf16 with training.recompute for stage1 in one process" in table.caption
    assert "7.5 together" in table.caption


def test_progress_of_factors():
    progress = [
        training_tables.FactorProgress("stage0", 30, 1000, False, 4.5, 4.75, 120.0),
        training_tables.FactorProgress("stage1", 0, None, False, None, None, None),
        training_tables.FactorProgress("prior", 900, 900, True, 3.5, None, None),
    ]
    rows: dict[str, dict[str, Any]] = {
        "stage0": {"steps": "30", "of": "1,000", "time left": "2.0 min", "bits/dim": (4.5, None)},
        "stage1": {"steps": "0", "of": "-", "time left": "-", "bits/dim": UNKNOWN},
        "prior": {"steps": "900", "of": "900", "time left": "trained", "bits/dim": (3.5, None)},
    }
    validation: list[Any] = [(4.75, None), UNKNOWN, UNKNOWN]
    with_validation = {
        name: {**row, "validation": own} for (name, row), own in zip(rows.items(), validation, strict=True)
    }
    assert_cells(training_tables.progress_table(progress), with_validation)
    without = [attrs.evolve(each, validation_bits_per_dim=None) for each in progress]
    assert_cells(training_tables.progress_table(without), rows)


# Files and pages


def tables_of(comparison: Any) -> list[Table]:
    return [
        *of_run.report_tables(EVALUATION),
        *of_run.printed_tables(EVALUATION),
        *of_runs.comparison_tables(comparison),
    ]


def rounded(cell: Cell, digits: int) -> str:
    """The first number, or the whole text, of a cell."""
    own = content(cell)
    if isinstance(cell, Measured):
        places = digits if cell.digits is None else cell.digits
        return "–" if own[0] is None else f"{abs(own[0]):.{places}f}"
    return str(own[0] if isinstance(own, tuple) else own)


def test_files_have_each_cell_in_its_place(comparison):
    for table in tables_of(comparison):
        whole = table.with_runs
        parsed = list(csv.DictReader(io.StringIO(csv_text(table))))
        body = latex_text(table).split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
        lines = [line.strip().removesuffix(r"\\").split(" & ") for line in body.splitlines() if line.endswith(r"\\")]
        for row, fields, line in zip(whole.rows, parsed, lines, strict=True):
            assert len(line) == len(row.cells)
            for column, cell, shown in zip(whole.columns, row.cells, line, strict=True):
                heading = f"{column.over}: {column.name}" if column.over else column.name
                own, field = content(cell), fields[heading]
                if isinstance(cell, Measured):
                    error = fields.get(f"{heading} standard error", "")
                    assert [float(text) if text else None for text in (field, error)] == list(own), heading
                    assert fields.get(f"{heading} kind") in (cell.kind, None)
                else:
                    text = str(own[0] if isinstance(own, tuple) else own)
                    assert field in (text, text.replace(",", "")) or text == "–", heading
                assert rounded(cell, 3).replace("–", "--").replace("×", r"$\times$").replace("|", r"$\mid$") in shown


def test_the_terminal_and_pages_have_each_cell_in_its_place(comparison):
    for table in tables_of(comparison):
        rows, page = table.with_runs.rows, Page(PARTS.table(table.with_runs, 3)).text
        assert_in_order(page, [rounded(cell, 3) for row in rows for cell in row.cells])
        heading, *lines = table_lines(table)[-len(rows) - 1 :]
        places = [place for place, column in enumerate(table.with_runs.columns) if column.on_screen]
        if all(
            (table.with_runs.columns[place].screen or table.with_runs.columns[place].name) in heading
            for place in places
        ):
            for row, line in zip(rows, lines, strict=True):
                assert_in_order(line, [rounded(row.cells[place], 4) for place in places])


def assert_in_order(text: str, parts: Sequence[str]) -> None:
    start = 0
    for part in parts:
        assert part in text[start:], (part, text[start:])
        start = text.index(part, start) + len(part)


def test_an_evaluation_is_printed_with_its_own_facts():
    text = "\n".join(evaluation_lines(EVALUATION))
    for line in ("heldout", "training"):
        assert f"{COUNTS[line]} images, fingerprint print of {line.replace('heldout', 'held-out')} images" in text


# Lines of commands


def test_scores_are_printed_below_their_headings():
    scores = [ImageScore(Path(f"{n}.png"), 1.5 + n, 2.25 + n, -0.75 + n, 0.125 + n, 0.375 + n) for n in range(3)]
    lines = [*score_lines(Scores((*scores, ImageScore(Path("alone.png"), 9.5)), "bound", 17, strongest=6.25))]
    assert "bits/dim of the model (upper bounds)" in lines[0]
    assert "among 17 held-out images" in lines[0]
    assert lines[1].split() == ["bits/dim", "rank", "other", "difference", "rank", "image"]
    for score, line in zip(scores, lines[2:], strict=False):
        cells = score.bits_per_dim, score.rank, score.other_bits_per_dim, score.difference, score.difference_rank
        assert line.split() == [*(f"{cell:.3f}" for cell in cells), str(score.file)]
    assert lines[5].split() == ["9.500", *["–"] * 4, "alone.png"]
    assert "6.2 bits" in lines[-1]
    rows = list(csv.DictReader(io.StringIO(Scores(tuple(scores), "exact", 0).csv())))
    assert [{**attrs.asdict(score), "file": str(score.file)} for score in scores] == [
        {name: text if name == "file" else float(text) for name, text in row.items()} for row in rows
    ]


def test_classes_are_printed_with_their_numbers():
    own, found = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 1, 1, 1, 2, 0])
    accuracy = Accuracy.of(found, own, ("cat", "dog", "owl"))
    assert accuracy.confusion == ((1, 2, 0), (0, 1, 1), (1, 0, 0))
    mean, error = mean_and_error(np.array([1.0, 0, 0, 1, 0, 0]))
    assert is_same((accuracy.share, accuracy.standard_error), (mean, error))
    assert accuracy.images == 6
    images = (ImageClass(Path("a.png"), ("owl", "cat"), (0.75, 0.125)), ImageClass(Path("b.png"), ("dog",), (0.5,)))
    lines = [*class_lines(Classes(images, "exact", modeled=True, accuracy=accuracy))]
    assert lines[1:3] == ["a.png: owl 0.750, cat 0.125", "b.png: dog 0.500"]
    assert lines[3].startswith(f"{mean:.3f} ± {error:.3f} of 6 images")
    assert [line.split() for line in lines[4:8]] == [
        ["cat", "dog", "owl"],
        ["cat", "1", "2", "0"],
        ["dog", "0", "1", "1"],
        ["owl", "1", "0", "0"],
    ]


def test_a_summary_has_the_figures_of_its_evaluations(tmp_path, monkeypatch):
    """In integers, the same images take a little more."""
    random = np.random.default_rng(9)
    lost = {name: tensor - torch.from_numpy(random.uniform(1, 2, tensor.shape)) for name, tensor in TENSORS.items()}
    integers = attrs.evolve(EVALUATION, tensors=lost, arithmetic="integer")
    monkeypatch.setattr(summaries, "read_evaluation", lambda _: EVALUATION)
    monkeypatch.setattr(summaries, "is_of_others", lambda *_: False)
    monkeypatch.setattr(summaries, "other_evaluations", lambda *_: [integers])
    found = summaries.MeasuredRun(tmp_path).summary
    whole = total("nats")
    assert is_same((found.bits_per_dim, found.standard_error), bits(whole, 192))
    assert (found.kind, found.condition, found.heldout_images) == ("bound", "label", COUNTS["heldout"])
    for place, factor in enumerate(found.factors):
        assert (factor.factor, factor.steps) == (NAMES[place], 100 + place)
        assert is_same((factor.bits_per_dim, factor.standard_error), bits(values("nats", place), dims_of(place)))
    more = np.sum([lost[f"heldout.{name}.nats"].numpy().sum(0) for name in NAMES], 0)
    (other,) = found.others
    cost = bits(more - whole, 192)
    assert is_same((other.bits_per_dim, other.cost, other.cost_error), (bits(more, 192)[0], *cost))
    lines = "\n".join(summaries.summary_lines(found))
    mean, error = bits(whole, 192)
    assert f"{mean:.4f} ± {error:.4f} on 12 held-out images" in lines
    assert f"in integers: {other.bits_per_dim:.4f} bits/dim, a difference of {cost[0]:+.4f} ± {cost[1]:.4f}" in lines


def test_an_evaluation_as_plain_values_has_its_figures():
    table = EVALUATION.to_dict()
    assert set(table["codecs"]) == set(CODECS)
    for name, cells in codec_cells(0).items():
        own = table["codecs"][name]
        assert is_same((own["bits_per_dim"], own["standard_error"]), cells["bits/dim"])
        assert is_same((own["difference"], own["difference_error"]), cells["model minus codec"])
    for place, factor in enumerate(table["factors"]):
        own, nats = factor["samples"], values("in_chain", place, "samples")
        assert is_same((own["in_chain"], own["in_chain_standard_error"]), bits(nats, dims_of(place)))
        given = bits(values("given_heldout_views", place, "samples"), dims_of(place))
        assert is_same((own["given_heldout_views"], own["given_heldout_views_standard_error"]), given)
        both = (bits(values("nats", place, images), dims_of(place)) for images in ("heldout", "training"))
        assert is_same(tuple(factor["difference"].values()), apart(*both))
        facts = [factor[name] for name in ("parameters", "steps", "trained_steps")]
        assert facts == [1000 + place, 100 + place, 5000 + place]
    for images in ("heldout", "training"):
        null, nats = total("null", images), total("nats", images)
        own = table["without_condition"][images]
        assert is_same((own["bits_per_dim"], own["standard_error"]), bits(null, 192))
        assert is_same((own["saved"], own["saved_error"]), bits(null - nats, 192))
        figures = table["condition_figures"][images]
        takes = bits(EVALUATION.tensors[f"{images}.condition.nats"][0].numpy(), 1)
        assert is_same((figures["bits"], figures["standard_error"]), takes)
