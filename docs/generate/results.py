"""Reads trained runs of recipes that come with auxar, and writes their bits/dim to the page on results.

    python docs/generate/results.py --machine "one core of an AMD EPYC" --runs FOLDER…
    python docs/generate/results.py --machine "one core of an AMD EPYC" --runs FOLDER… --sheets RUN…

The script updates results.json and then all generated parts of pages. Each FOLDER is a run, or contains runs at any
depth. A run belongs to the recipe whose model, images and training it has. The length of its training may differ, and
`data.path`, `training.seed`, evaluation and sampling as well. The factors of a model may lie in several runs of the
same recipe. Factors of unfinished trainings have no figures, so they are left out. A free model takes the figures of
its prior from the restricted one if it has none of its own, because both have the same prior.

`--sheets` copies the sheets of runs that show drawn images only. It needs the files of `auxar figures RUN`.

Runs with several values of `training.seed` are averaged. Differences of recipes are computed image by image.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from measurements import (
    PLAIN,
    RESULTS,
    TIGHT,
    Difference,
    MeasuredFactor,
    MeasuredModel,
    Measurements,
    Sheet,
    TrainingCurve,
    read_measurements,
    write_measurements,
)
from result_sheets import copied_sheets
from torch import Tensor

from auxar.data import load_images
from auxar.errors import UserError
from auxar.evaluation.evaluated_run import EvaluatedRun, read_evaluated_run
from auxar.evaluation.facts import FactorFacts
from auxar.evaluation.figures import Figures
from auxar.files import parse_json, read_metadata
from auxar.recipe import Recipe, load_recipe, load_recipe_of_run, recipe_table
from auxar.recipe.facts import flat
from auxar.recipe.overrides import LENGTHS
from auxar.recipe.shipped import list_recipes
from auxar.report.metrics import read_curves
from auxar.runs.layout import RunFolder
from auxar.runs.versions import ENTRY

POINTS = 60
"""Number of points of a training curve."""
DIGITS = 5
"""Number of decimals of bits/dim in results.json."""
FREE = {"data.path", "data.workers", "training.seed", "support", "repeat"}
"""Keys in which a run may differ from its recipe, or their last parts. The support is compared separately."""
FREE |= {
    f"training.{key}"
    for key in ("checkpoint_every", "compile", "keep_checkpoints", "log_every", "sample_every", "trackers")
}


@attrs.frozen(eq=False)
class TrainedFactor:
    """A trained factor of a run."""

    run: EvaluatedRun
    facts: FactorFacts
    figures: Figures
    """Figures of held-out images."""
    nats: Tensor
    """The log-likelihood of each held-out image in nats, (images,)."""

    @property
    def bits_per_dim(self) -> Tensor:
        """Bits for each sub-pixel of the factor's image, (images,)."""
        return self.nats / (-math.log(2) * self.facts.image.dims)


SeedFactors = dict[int, dict[str, TrainedFactor]]
"""The trained factors of a recipe, by seed and by name."""


def main() -> None:
    """Reads the runs, and writes results.json and the generated parts of pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("--machine", required=True, help="kind of machine that trained the runs")
    parser.add_argument("--sheets", type=Path, nargs="+", default=[], metavar="RUN")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file to update (default: results.json)")
    options = parser.parse_args()
    known = read_measurements(options.out) if options.out.is_file() else Measurements()
    try:
        found = measure(options.runs, options.machine)
        for run in options.sheets:
            found.sheets.extend(sheets_of(run))
    except UserError as error:
        parser.exit(1, f"{error}\n")
    for model in found.models.values():
        shown = "not complete" if model.bits_per_dim is None else f"{model.bits_per_dim:.3f} ± {model.error:.3f}"
        print(f"{model.recipe}: {shown} ({', '.join(factor.factor for factor in model.factors)}; seeds {model.seeds})")
    write_measurements(known.updated(found), options.out)
    if options.out == RESULTS:
        subprocess.run([sys.executable, str(Path(__file__).with_name("write.py"))], check=True)


def sheets_of(run: Path) -> list[Sheet]:
    """Copies the sheets of a run. Raises `UserError` if it has no figures, or none of the recipes."""
    recipe, _ = load_recipe_of_run(run / "recipe.toml")
    if (name := name_of(recipe, dict(shipped()))) is None:
        raise UserError(f"{run} has the settings of none of the recipes that come with auxar")
    return copied_sheets(run, name, views=bool(recipe.stage))


def measure(folders: Sequence[Path], machine: str) -> Measurements:
    """Returns the measurements of all finished runs in `folders`."""
    recipes = dict(shipped())
    factors: dict[str, SeedFactors] = {name: {} for name in recipes}
    runs: dict[str, Recipe] = {}
    for path in sorted({file.parent for folder in folders for file in folder.rglob("recipe.toml")}):
        recipe, _ = load_recipe_of_run(path / "recipe.toml")
        if (name := name_of(recipe, recipes)) is None:
            print(f"{path}: left out, because it has the settings of none of the recipes that come with auxar")
            continue
        try:
            found = dict(trained_factors(path))
        except UserError as error:
            print(f"{path}: left out: {error}")
            continue
        for factor in found:
            if recipe.training_of(factor).steps != recipes[name].training_of(factor).steps:
                print(f"{path}: the training of {factor} is not as long as in the recipe {name}")
        runs[name] = recipe
        add(factors[name].setdefault(recipe.training.seed, {}), found)
    for name, seeds in factors.items():
        for seed, own in factors.get(TIGHT + name, {}).items():
            if seed in seeds and "prior" in own and "prior" not in seeds[seed]:
                add(seeds[seed], {"prior": own["prior"]})
    models = {name: model_of(name, factors[name], recipe, machine) for name, recipe in sorted(runs.items())}
    return Measurements(models, list(differences(factors)), list(curves(factors)))


def shipped() -> Iterator[tuple[str, Recipe]]:
    """Yields the recipes that come with auxar, with their names."""
    for recipe in list_recipes():
        yield recipe.name, load_recipe(recipe.name)[0]


def name_of(recipe: Recipe, recipes: Mapping[str, Recipe]) -> str | None:
    """Returns the name of the recipe among `recipes` that a run has; None if it has none of them."""
    return next((name for name, other in recipes.items() if identity(recipe) == identity(other)), None)


def identity(recipe: Recipe) -> tuple[dict[str, Any], list[str]]:
    """Returns the settings that all runs of a recipe have in common: keys with their values, and the supports."""
    table = dict(flat(recipe_table(recipe)))
    kept = {
        key: value
        for key, value in table.items()
        if key not in FREE
        and not key.startswith(("evaluation.", "sampling."))
        and key.split(".")[-1] not in {*FREE, *LENGTHS, "checkpoint_every"}
    }
    return kept, [stage.support for stage in recipe.stage]


def trained_factors(path: Path) -> Iterator[tuple[str, TrainedFactor]]:
    """Yields the evaluated factors of a run. Raises `UserError` if the run has no evaluation of held-out images."""
    run = read_evaluated_run(path)
    for facts in run.evaluation.factors:
        figures = run.evaluation.figures("heldout", facts.factor)
        if figures.own is not None:
            yield facts.factor, TrainedFactor(run, facts, figures, figures.own)


def add(known: dict[str, TrainedFactor], found: dict[str, TrainedFactor]) -> None:
    """Adds factors to those of the same model. Raises `UserError` if they were evaluated on other images."""
    for name, factor in found.items():
        for other in known.values():
            if other.run.evaluation.data.heldout_digest != factor.run.evaluation.data.heldout_digest:
                raise UserError(f"{factor.run.path} and {other.run.path} were evaluated on different images")
        if name not in known or known[name].facts.steps < factor.facts.steps:
            known[name] = factor


def model_of(name: str, seeds: SeedFactors, recipe: Recipe, machine: str) -> MeasuredModel:
    """Returns the figures of a model whose factors are `seeds`. Factors that a seed lacks are left out."""
    complete = all(len(factors) == len(recipe.factor_names) for factors in seeds.values())
    names = [factor for factor in recipe.factor_names if all(factor in factors for factors in seeds.values())]
    first = seeds[min(seeds)]
    dims = recipe.image.dims
    totals = [sum_of(factors, recipe.factor_names, dims) for factors in seeds.values()] if complete else []
    bits, error = statistics_of(totals) if complete else (None, None)
    registry = load_recipe_of_run(next(iter(first.values())).run.path / "recipe.toml")[1]
    return MeasuredModel(
        recipe=name,
        command=f"auxar run {name}",
        machine=machine,
        networks=max(networks_of(factor) for factors in seeds.values() for factor in factors.values()),
        kind="exact" if all(stage.support == "restricted" for stage in recipe.stage) else "bound",
        seeds=sorted(seeds),
        training_images=len(load_images(recipe.data, recipe.image, registry).train),  # type: ignore[arg-type]
        heldout_images=next(iter(first.values())).run.evaluation.images["heldout"],
        factors=[factor_of(seeds, factor, recipe.factor_names, dims) for factor in names],
        bits_per_dim=bits,
        error=error,
        deviation=deviation_of(totals),
    )


def factor_of(seeds: SeedFactors, name: str, order: Sequence[str], dims: int) -> MeasuredFactor:
    """Returns a factor's figures. `order` has the names of all factors, and `dims` is that of the model's image."""
    found = [factors[name] for factors in seeds.values()]
    facts = found[0].facts
    bits, error = statistics_of([factor.bits_per_dim for factor in found])
    coarser = order[order.index(name) :]
    cumulative: tuple[float | None, float | None] = (None, None)
    if all(other in factors for factors in seeds.values() for other in coarser):
        cumulative = statistics_of([sum_of(factors, coarser, facts.image.dims) for factors in seeds.values()])
    wasted = [factor.figures.wasted.value for factor in found]
    times = [read_curves(factor.run.path)[name].seconds for factor in found]
    known = [seconds for seconds in times if seconds is not None]
    return MeasuredFactor(
        factor=name,
        term=str(facts),
        height=facts.image.height,
        steps=max(factor.facts.steps for factor in found),
        seconds=round(statistics.mean(known), 1) if known else None,
        bits_per_dim=bits,
        error=error,
        bits_per_dim_of_image=round(bits * facts.image.dims / dims, DIGITS),
        cumulative=cumulative[0],
        cumulative_error=cumulative[1],
        wasted=round(statistics.mean(w for w in wasted if w is not None), DIGITS) if None not in wasted else None,
    )


def sum_of(factors: dict[str, TrainedFactor], names: Sequence[str], dims: int) -> Tensor:
    """Returns the bits of several factors together for each of `dims` sub-pixels, (images,)."""
    return sum((factors[name].nats for name in names), torch.zeros(())) / (-math.log(2) * dims)


def statistics_of(values: Sequence[Tensor]) -> tuple[float, float]:
    """Returns the mean over seeds and images, and its standard error over images. Each tensor (images,) is a seed's."""
    mean = torch.stack(list(values)).mean(0)
    return round(mean.mean().item(), DIGITS), round((mean.std() / math.sqrt(len(mean))).item(), DIGITS)


def deviation_of(values: Sequence[Tensor]) -> float | None:
    """Returns the standard deviation over seeds of the mean over images; None for fewer than two seeds."""
    return round(statistics.stdev(value.mean().item() for value in values), DIGITS) if len(values) > 1 else None


def networks_of(factor: TrainedFactor) -> int:
    """Returns the version of the factor's networks."""
    entry = read_metadata(RunFolder(factor.run.path).weights(factor.facts.factor)).get(ENTRY, "{}")
    return max(parse_json(entry).values(), default=1)


def differences(factors: dict[str, SeedFactors]) -> Iterator[Difference]:
    """Yields the differences of restricted models from free ones, as a whole and factor by factor, and from `PLAIN`."""
    trained = [name for name, seeds in factors.items() if seeds]
    for baseline, name in itertools.permutations(trained, 2):
        if baseline != PLAIN and name != TIGHT + baseline:
            continue
        seeds = sorted(factors[name].keys() & factors[baseline].keys())
        pairs = [(factors[name][seed], factors[baseline][seed]) for seed in seeds]
        if not seeds or not all(are_comparable(*pair) for pair in pairs):
            continue
        if name == TIGHT + baseline:
            for factor in pairs[0][0]:
                if factor != "prior" and all(factor in own and factor in other for own, other in pairs):
                    yield difference(
                        name,
                        baseline,
                        factor,
                        [own[factor].bits_per_dim - other[factor].bits_per_dim for own, other in pairs],
                    )
        totals = [[total(own), total(other)] for own, other in pairs]
        if all(one is not None for pair in totals for one in pair):
            yield difference(name, baseline, None, [own - other for own, other in totals])  # type: ignore[operator]


def are_comparable(own: dict[str, TrainedFactor], other: dict[str, TrainedFactor]) -> bool:
    """Whether two models have images of one shape, and were evaluated on the same images."""
    first, second = (next(iter(factors.values())).run for factors in (own, other))
    same = first.evaluation.data.heldout_digest == second.evaluation.data.heldout_digest
    return same and first.evaluation.image == second.evaluation.image


def total(factors: dict[str, TrainedFactor]) -> Tensor | None:
    """Returns the bits/dim of the whole model, (images,); None if one of its factors is not trained."""
    evaluation = next(iter(factors.values())).run.evaluation
    names = [factor.factor for factor in evaluation.factors]
    return sum_of(factors, names, evaluation.image.dims) if factors.keys() >= set(names) else None


def difference(recipe: str, baseline: str, factor: str | None, values: Sequence[Tensor]) -> Difference:
    """Returns a record of a difference. Each of `values` has the differences of a seed, (images,)."""
    bits, error = statistics_of(values)
    return Difference(recipe, baseline, factor, bits, error, deviation_of(values))


def curves(factors: dict[str, SeedFactors]) -> Iterator[TrainingCurve]:
    """Yields the curve of each trained factor."""
    for name, seeds in factors.items():
        common = set.intersection(*(set(found) for found in seeds.values())) if seeds else set()
        for factor in sorted(common):
            found = [found[factor] for found in seeds.values()]
            logged = [read_curves(one.run.path)[factor] for one in found]
            yield TrainingCurve(
                name,
                factor,
                str(found[0].facts),
                mean_curve([binned(dict(curve.bits_per_dim)) for curve in logged]),
                mean_curve([list(curve.validation.items()) for curve in logged]),
            )


def binned(values: dict[int, float]) -> list[tuple[float, float]]:
    """Returns the means of consecutive parts of a curve, at most `POINTS` of them."""
    steps = list(values)
    width = math.ceil(len(steps) / POINTS)
    parts = [steps[start : start + width] for start in range(0, len(steps), width)]
    return [(float(statistics.mean(part)), statistics.mean(values[step] for step in part)) for part in parts]


def mean_curve(seeds: Sequence[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Returns the mean of curves over seeds, at the steps of the shortest."""
    return [
        (float(points[0][0]), round(statistics.mean(bits for _, bits in points), DIGITS))
        for points in zip(*seeds, strict=False)
    ]


if __name__ == "__main__":
    main()
