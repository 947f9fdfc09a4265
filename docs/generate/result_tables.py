"""Tables of the page on results: the paper's figures beside measured ones, which are read from results.json."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import attrs
from markdown_tables import table
from measurements import (
    PAPER_SECONDS,
    PAPER_TABLE_1,
    PAPER_TABLE_2,
    PLAIN,
    TIGHT,
    Difference,
    MeasuredFactor,
    MeasuredModel,
    Measurements,
    read_measurements,
)

COARSE = "small/table2_coarse"
CELEBA32 = "small/celeba32"
MISSING = "not measured yet"
RECIPES_OF_TABLE_1 = {
    "Grayscale PixelCNN (this paper)": "grayscale_cifar10",
    "PixelCNN++ (Salimans et al., 2017)": "pixelcnnpp_cifar10",
}
"""The recipes of rows of the paper's table 1."""
SMALL_TABLE_1 = {
    PLAIN: ("PixelCNN++", "2.92"),
    "small/table1/grayscale": ("Grayscale PixelCNN", "≤ 2.98"),
    TIGHT + "small/table1/grayscale": ("Grayscale PixelCNN, restricted", ""),
    "small/table1/pyramid": ("Pyramid PixelCNN", "3.32"),
    TIGHT + "small/table1/pyramid": ("Pyramid PixelCNN, restricted", ""),
}
"""Models of table 1 in small, with the paper's figure for all of CIFAR-10."""
FACTORS_OF_TABLE_1 = {
    "small/table1/grayscale": {"prior": ("4-bit gray view", "0.459"), "stage0": ("colors, given it", "2.52")},
    "small/table1/pyramid": {
        "prior": ("8×8", ""),
        "stage1": ("16×16, given it", ""),
        "stage0": ("32×32, given it", ""),
    },
}
DECODERS = {
    COARSE: ("stage1", "stage0"),
    "small/table1/grayscale": ("stage0",),
    "small/table1/pyramid": ("stage1", "stage0"),
}
"""Recipes with restricted twins, and the decoders that are compared, the coarsest first."""
PIXELS = {"pyramid128": 128 * 128, "full32": 32 * 32}
"""Pixels of an image in the cases of tests/benchmarks/sampling.py that the paper gives times for."""
SAMPLING = Path(__file__).parents[1] / "sampling.md"


def results(name: str) -> str:
    """Formats one of the tables of measurements as Markdown."""
    return TABLES[name](read_measurements())


def paper_table_1(measured: Measurements) -> str:
    """Formats the paper's table 1."""
    rows = [[model, bits, *_recipe(measured, RECIPES_OF_TABLE_1.get(model))] for model, bits in PAPER_TABLE_1]
    rows.append(["Pyramid PixelCNN (this paper, section 4.2)", "3.32", *_recipe(measured, "pyramid_cifar10")])
    return table(["model", "paper", "recipe", "measured with auxar"], rows)


def small_table_1(measured: Measurements) -> str:
    """Formats table 1 in small."""
    rows = []
    for recipe, (name, paper) in SMALL_TABLE_1.items():
        model = measured.models.get(recipe)
        baseline = measured.difference(recipe, PLAIN)
        apart = "" if recipe == PLAIN else _difference(baseline)
        deviations = [
            "" if found is None or found.deviation is None else f"{found.deviation:.3f}" for found in (model, baseline)
        ]
        rows.append([name, paper, f"`{recipe}`", _bits(model), deviations[0], apart, deviations[1]])
    titles = ["model", "paper, 50,000 images", "recipe", "here, 2,800 images", "deviation over seeds"]
    return table([*titles, "difference from PixelCNN++", "its deviation over seeds"], rows)


def small_factors(measured: Measurements) -> str:
    """Formats the factors' shares of bits/dim in table 1 in small, free and restricted."""
    rows = []
    for recipe, factors in FACTORS_OF_TABLE_1.items():
        for factor, (name, paper) in factors.items():
            found = [_factor(measured, prefix + recipe, factor) for prefix in ("", TIGHT)]
            cells = [MISSING if own is None else f"{own.bits_per_dim_of_image:.3f}" for own in found]
            rows.append([f"`{recipe}`", name, paper, *cells])
    return table(["recipe", "factor", "paper", "free", "restricted"], rows)


def table_2(measured: Measurements) -> str:
    """Formats the paper's table 2."""
    rows = []
    for side, bits in PAPER_TABLE_2.items():
        recipes = (COARSE, TIGHT + COARSE, CELEBA32) if side <= 32 else ()
        cells = [_cumulative(measured.models.get(recipe), side) for recipe in recipes]
        if not cells:
            cells = [_cumulative(measured.models.get("pyramid_celeba"), side, "not measured"), *["not measured"] * 2]
        rows.append([f"{side}×{side}", bits, *cells])
    names = (f"`{COARSE}`, free", f"`{TIGHT}{COARSE}`, restricted", f"`{CELEBA32}`, restricted, `convnet`")
    return table(["resolution", "paper", *names], rows)


def gain(measured: Measurements) -> str:
    """Formats free and restricted decoders with the same networks and training, factor by factor."""
    rows = []
    for recipe, names in DECODERS.items():
        for name in names:
            free, restricted = (_factor(measured, prefix + recipe, name) for prefix in ("", TIGHT))
            if free is None or restricted is None:
                continue
            wasted = "" if free.wasted is None else f"{free.wasted:.3f}"
            apart = measured.difference(TIGHT + recipe, recipe, name)
            saved = _difference(apart and attrs.evolve(apart, bits_per_dim=-apart.bits_per_dim))
            cells = [f"{own.bits_per_dim:.3f} ± {own.error:.3f}" for own in (free, restricted)]
            rows.append([f"`{recipe}`", free.term, f"{free.steps:,}", *cells, saved, wasted])
    titles = ["recipe", "factor", "steps", "free (bound)", "restricted (exact)", "saved", "wasted by the free one"]
    return table(titles, rows) if rows else "*Not measured yet: the trainings that are compared here are not finished.*"


def trainings(measured: Measurements) -> str:
    """Formats the trainings that the measurements come from."""
    rows = []
    for name, model in measured.models.items():
        steps = ", ".join(f"{factor.height}×{factor.height}: {factor.steps:,}" for factor in reversed(model.factors))
        times = ", ".join(_duration(factor.seconds) for factor in reversed(model.factors))
        rows.append(
            [
                f"`{name}`",
                f"{model.training_images:,}",
                f"{model.heldout_images:,}",
                str(len(model.seeds)),
                steps,
                times,
                model.machine,
                str(model.networks),
            ]
        )
    titles = ["recipe", "training images", "held-out images", "seeds", "steps", "time", "machine", "networks"]
    return table(titles, rows)


def speed(measured: Measurements) -> str:
    """Formats seconds per pixel: the paper's beside those that are computed from the page on sampling."""
    rows = re.findall(r"^\| `(pyramid128|full32)` \| (\d+) \| ([\d.]+) \|", SAMPLING.read_text(encoding="utf-8"), re.M)
    seconds = {(case, int(images)): float(time) / int(images) / PIXELS[case] for case, images, time in rows}
    lines = []
    for case, model in (("pyramid128", "pyramid"), ("full32", "pixelcnn++")):
        name = "Pyramid PixelCNN, 128×128" if model == "pyramid" else "PixelCNN++, 32×32"
        caching = "without caching" if model == "pyramid" else "with caching"
        cells = [f"{_rounded(1e6 * seconds[case, images])} µs" for images in (1, 16)]
        lines.append([name, f"{PAPER_SECONDS[model]:g} s, {caching}", *cells])
    return table(["model", "paper, one pixel", "auxar, one image", "auxar, 16 images at once"], lines)


TABLES: dict[str, Callable[[Measurements], str]] = {
    "paper_table_1": paper_table_1,
    "small_table_1": small_table_1,
    "small_factors": small_factors,
    "table_2": table_2,
    "gain": gain,
    "trainings": trainings,
    "speed": speed,
}


def _recipe(measured: Measurements, recipe: str | None) -> list[str]:
    """The cells for a recipe and its bits/dim. Both are empty without a recipe."""
    return ["", ""] if recipe is None else [f"`{recipe}`", _bits(measured.models.get(recipe), "not measured")]


def _bits(model: MeasuredModel | None, missing: str = MISSING) -> str:
    if model is None or model.bits_per_dim is None:
        return missing
    return f"{model.bits_per_dim:.3f} ± {model.error:.3f} ({model.kind})"


def _cumulative(model: MeasuredModel | None, side: int, missing: str = MISSING) -> str:
    factor = model.at(side) if model else None
    if model is None or factor is None or factor.cumulative is None:
        return missing
    # Version 1 was measured with two decimals.
    digits = 2 if model.networks == 1 else 3
    kind = "exact" if factor.factor == "prior" else model.kind
    return f"{factor.cumulative:.{digits}f} ± {factor.cumulative_error:.{digits}f} ({kind})"


def _factor(measured: Measurements, recipe: str, name: str) -> MeasuredFactor | None:
    model = measured.models.get(recipe)
    return model.named(name) if model else None


def _difference(found: Difference | None) -> str:
    if found is None:
        return MISSING
    sign = "−" if found.bits_per_dim < 0 else "+"
    return f"{sign}{abs(found.bits_per_dim):.3f} ± {found.error:.3f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


def _rounded(value: float) -> str:
    """Formats a number with two significant digits."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"
