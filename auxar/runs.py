"""A run's folder: what is in it, how it is begun, and how it is opened again.

recipe.toml                         the recipe as resolved: settings applied, defaults filled in
plugins/                            copies of the plugin files that the recipe names
factors/<factor>/weights.safetensors    the trained factor, as evaluation and sampling use it
factors/<factor>/training.safetensors   weights, average, optimizer and step, to continue from
metrics.jsonl  evaluation.json  samples/  report.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError
from auxar.files import read_tensors, replacing
from auxar.interfaces import Prior
from auxar.model import Factor, factors
from auxar.plugins import Registry
from auxar.recipe import Recipe, load_recipe, recipe_table, recipe_text
from auxar.recipe.building import build_model

# What may change between two commands on one run: none of it has a part in the trained weights.
FREE_TABLES = ("evaluation", "sampling")
FREE_KEYS = {"training": ("checkpoint_every", "log_every", "trackers"), "data": ("workers",)}


@attrs.frozen
class RunFolder:
    """Paths inside a run's folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def weights(self, factor: str) -> Path:
        """The trained factor."""
        return self.path / "factors" / factor / "weights.safetensors"

    def training_state(self, factor: str) -> Path:
        """What training continues from."""
        return self.path / "factors" / factor / "training.safetensors"

    def trained(self, recipe: Recipe) -> list[str]:
        """Names of the factors whose training is finished, from the image down."""
        return [name for name in recipe.factor_names if self.weights(name).is_file()]


def begin_run(path: Path, recipe: Recipe, recipe_folder: Path) -> tuple[RunFolder, Recipe]:
    """Makes the folder, or opens it again if it holds this recipe's run; returns the recipe as the folder keeps it.

    Raises `UserError` if the folder holds another recipe's run or something that is no run; nothing is touched then.
    A run of which nothing is trained yet makes way for another recipe.
    """
    run = RunFolder(path)
    sources = [recipe_folder / file for file in recipe.plugins]
    if len({source.name for source in sources}) < len(sources):
        raise UserError("plugins: two plugin files have the same name; rename one")
    recipe = attrs.evolve(recipe, plugins=tuple(f"plugins/{source.name}" for source in sources))
    text = recipe_text(recipe).encode()
    if run.recipe.is_file():
        if any(path.glob("factors/*/*.safetensors")):
            _check_same(run, recipe, sources)
        elif run.recipe.read_bytes() != text:
            run.metrics.unlink(missing_ok=True)
        if run.recipe.read_bytes() != text:
            # The report comes last: without it, what new settings ask for is still to be done.
            run.report.unlink(missing_ok=True)
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} exists and is not a run's folder; choose another with --out")
    for source in sources:
        _write_if_new(path / "plugins" / source.name, source.read_bytes())
    _write_if_new(run.recipe, text)
    return run, recipe


def open_run(path: Path, settings: Sequence[str] = ()) -> tuple[RunFolder, Recipe, Registry]:
    """A run that exists, its recipe with `settings` applied. Raises `UserError` if there is none."""
    run = RunFolder(path)
    if not run.recipe.is_file():
        raise UserError(f"{path} is not a run's folder: it has no recipe.toml; `auxar run RECIPE` makes one")
    recipe, registry = load_recipe(run.recipe, settings)
    return run, recipe, registry


def load(path: str | Path, *, device: str = "cpu") -> Prior:
    """The trained model of a run, ready for `log_prob`, `bits_per_dim` and `sample`.

    Raises `UserError` if a factor is not trained, or its file is missing, damaged or of another model.
    """
    run, recipe, registry = open_run(Path(path))
    model = build_model(recipe, registry)
    for factor in factors(model):
        load_weights(run, factor)
    return model.eval().to(device)


def load_weights(run: RunFolder, factor: Factor) -> dict[str, str]:
    """Puts a trained factor's weights into it; returns the file's metadata: step, and whether they are the average."""
    path = run.weights(factor.name)
    if not path.is_file():
        raise UserError(
            f"{path} is missing: factor {factor.name} is not trained; `auxar run` with the recipe continues it"
        )
    tensors, metadata = read_tensors(path)
    put_tensors(factor, tensors, path)
    return metadata


def put_tensors(factor: Factor, tensors: dict[str, Any], path: Path) -> None:
    """Loads a factor's state, and says which file and which names do not fit."""
    expected = {name: tuple(tensor.shape) for name, tensor in factor.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise UserError(
            f"{path} does not belong to factor {factor.name} of this recipe: {len(wrong)} tensors differ, first "
            f"{wrong[0]}: expected {expected.get(wrong[0], 'none')}, found {found.get(wrong[0], 'none')}"
        )
    factor.load_state_dict(tensors)


def _write_if_new(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        with replacing(path) as temporary:
            temporary.write_bytes(content)


def _check_same(run: RunFolder, recipe: Recipe, sources: list[Path]) -> None:
    kept, _ = load_recipe(run.recipe)
    for source in sources:
        copy = run.path / "plugins" / source.name
        if copy.is_file() and copy.read_bytes() != source.read_bytes():
            raise UserError(f"{run.path} was made with another version of {source}; choose another folder with --out")
    different = sorted(_differences(_fixed(recipe_table(kept)), _fixed(recipe_table(recipe))))
    if different:
        raise UserError(
            f"{run.path} holds another recipe's run (different: {', '.join(different)}); choose another folder "
            "with --out"
        )


def _fixed(table: dict[str, Any]) -> dict[str, Any]:
    fixed = {key: value for key, value in table.items() if key not in FREE_TABLES}
    for name, keys in FREE_KEYS.items():
        fixed[name] = {key: value for key, value in fixed[name].items() if key not in keys}
    return fixed


def _differences(first: Any, second: Any, path: str = "") -> list[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        found = []
        for key in first.keys() | second.keys():
            found += _differences(first.get(key), second.get(key), f"{path}.{key}" if path else key)
        return found
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        return [
            difference
            for index, pair in enumerate(zip(first, second, strict=True))
            for difference in _differences(*pair, f"{path}[{index}]")
        ]
    return [] if first == second else [path]
