"""A run's folder: what is in it, how it is begun, and how it is opened again.

recipe.toml                         the recipe as resolved: settings applied, defaults filled in
plugins/                            copies of the plugin files that the recipe names
factors/<factor>/weights.safetensors    the trained factor, as evaluation and sampling use it
factors/<factor>/training-<step>.safetensors    weights, average, optimizer and step, to continue from
factors/<factor>/metrics.jsonl      the course of its training
evaluation.json  evaluation.safetensors  samples/  figures/  report.html

A folder may come from a stranger: nothing in it is followed out of it, and its code is not loaded unasked.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError, one_line
from auxar.files import DamagedFile, Shapes, read_shapes, read_tensors, remove, replacing, unfinished
from auxar.interfaces import Factor, Prior
from auxar.plugins import Registry
from auxar.recipe import Recipe, fill_in, load_recipe, read_recipe, recipe_table, recipe_text
from auxar.recipe.building import build_model
from auxar.runs.lock import HOLDER, LOCK

# What may change between two commands on one run: none of it has a part in the trained weights.
FREE_TABLES = ("evaluation", "sampling")
FREE_KEYS = {
    "training": ("checkpoint_every", "keep_checkpoints", "log_every", "nonfinite", "parallel", "trackers"),
    "data": ("workers",),
}
PLACES = ("*", "factors/*", "factors/*/*", "plugins/*", "samples/*", "samples/*/*", "figures/*")
"""Where auxar reads and writes in a run's folder, the folders before what is in them."""

LONGEST_NAME = 100
"""Of a tensor and its shape, as they are told."""


@attrs.frozen
class RunFolder:
    """Paths inside a run's folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    def factor(self, name: str) -> Path:
        """The folder of one factor, whole in itself: it may be copied to another run of the same recipe."""
        return self.path / "factors" / name

    def weights(self, factor: str) -> Path:
        """The trained factor."""
        return self.factor(factor) / "weights.safetensors"

    def metrics(self, factor: str) -> Path:
        """The course of the factor's training."""
        return self.factor(factor) / "metrics.jsonl"

    def trained(self, recipe: Recipe) -> list[str]:
        """Names of the factors whose training is finished, from the image down."""
        return [name for name in recipe.factor_names if self.weights(name).is_file()]


def check_folder(path: Path) -> None:
    """Raises `UserError` if `path` is there and is neither a run's folder nor empty."""
    if not RunFolder(path).recipe.is_file() and path.exists():
        # What a process leaves that is killed before it has written the recipe.
        ours = {path / LOCK, path / HOLDER, *unfinished(path)} if path.is_dir() else set()
        if not path.is_dir() or any(entry not in ours for entry in path.iterdir()):
            raise UserError(f"{path} exists and is not a run's folder; choose another with --out")
    check_contents(path)


def check_contents(path: Path) -> None:
    """Raises `UserError` for what leads out of a run's folder, and for what is neither a file nor a folder."""
    root = os.path.realpath(path)
    for entry in (entry for place in PLACES for entry in path.glob(place)):
        if entry.is_symlink():
            target = os.path.realpath(entry)
            if os.path.commonpath([root, target]) != root:
                raise UserError(
                    f"{entry} is a link out of the run's folder, to {target}; put what is there in its place"
                )
        elif not (entry.is_file() or entry.is_dir()):
            raise UserError(f"{entry} is neither a file nor a folder")


def begin_run(path: Path, recipe: Recipe, registry: Registry, recipe_folder: Path) -> tuple[RunFolder, Recipe]:
    """Makes the folder, or opens it again if it holds this recipe's run; returns the recipe as the folder keeps it.

    Raises `UserError` if the folder holds another recipe's run or something that is no run; nothing is touched then.
    A run of which nothing is trained yet makes way for another recipe. What a process that was killed was writing is
    removed: the folder has to be held.
    """
    run = RunFolder(path)
    sources = [recipe_folder / file for file in recipe.plugins]
    if len({source.name for source in sources}) < len(sources):
        raise UserError("plugins: two plugin files have the same name; rename one")
    recipe = attrs.evolve(recipe, plugins=tuple(f"plugins/{source.name}" for source in sources))
    text = recipe_text(recipe).encode()
    check_folder(path)
    if run.recipe.is_file():
        if any(path.glob("factors/*/*.safetensors")):
            _check_same(run, recipe, registry, sources)
        if not _holds(run.recipe, text):
            # The report comes last: without it, what new settings ask for is still to be done.
            remove(run.report)
    for folder in (path, run.samples, run.samples / "images", run.figures, *path.glob("factors/*"), path / "plugins"):
        for left in unfinished(folder):
            remove(left)
    # The recipe first: it makes the folder a run's, which may then be continued.
    _write_if_new(run.recipe, text)
    for source in sources:
        _write_if_new(path / "plugins" / source.name, source.read_bytes())
    return run, recipe


def open_run(
    path: Path, settings: Sequence[str] = (), *, trust_plugins: bool = False
) -> tuple[RunFolder, Recipe, Registry]:
    """A run that exists, its recipe with `settings` applied.

    Raises `UserError` if there is none, and if it comes with plugin files unless they are trusted: they are code.
    """
    run = RunFolder(path)
    if not run.recipe.is_file():
        raise UserError(f"{path} is not a run's folder: it has no recipe.toml; `auxar run RECIPE` makes one")
    check_contents(path)
    recipe, registry = load_recipe(run.recipe, settings, trust_plugins=trust_plugins, of_a_run=True)
    return run, recipe, registry


def load(path: str | Path, *, device: str = "cpu", trust_plugins: bool = False) -> Prior:
    """The trained model of a run, ready for `log_prob`, `bits_per_dim` and `sample`.

    Raises `UserError` if a factor is not trained, its file is missing, damaged or of another model, or the run comes
    with plugin files: they are code, and loaded only if they are trusted.
    """
    return trained_model(*open_run(Path(path), trust_plugins=trust_plugins)).eval().to(device)


def trained_model(run: RunFolder, recipe: Recipe, registry: Registry) -> Prior:
    """The model with its trained weights. Raises `UserError` if a factor is not trained, and as `load_weights` does."""
    check_sizes(run, recipe, registry, recipe.factor_names)
    model = build_model(recipe, registry)
    for factor in model.factors:
        load_weights(run, factor)
    return model


def check_sizes(run: RunFolder, recipe: Recipe, registry: Registry, names: Sequence[str]) -> None:
    """Raises `UserError` unless the named factors have weights of the sizes that the recipe asks for.

    Before the model is built: a recipe of a few words can ask for more memory than the machine has, and weights of that
    size are not made as easily.
    """
    for factor in build_model(recipe, registry, on="meta").factors:
        if factor.name in names:
            path = _trained(run, factor)
            with _advising():
                check_shapes(factor, read_shapes(path), path)


def load_weights(run: RunFolder, factor: Factor) -> dict[str, str]:
    """Puts a trained factor's weights into it; returns the file's metadata: step, and whether they are the average."""
    path = _trained(run, factor)
    with _advising():
        tensors, metadata = read_tensors(path, lambda shapes, _: check_shapes(factor, shapes, path))
    factor.load_state_dict(tensors)
    # Training writes none that are not; what would be drawn from them is no image.
    for name, parameter in factor.named_parameters():
        if not parameter.isfinite().all():
            raise DamagedFile(f"{path} is damaged: values of {name} are not finite")
    return metadata


@contextlib.contextmanager
def _advising() -> Iterator[None]:
    """Says what to do where weights are damaged."""
    try:
        yield
    except DamagedFile as error:
        raise DamagedFile(f"{error}; delete it, and `auxar run` makes it again from the last checkpoint") from None


def _trained(run: RunFolder, factor: Factor) -> Path:
    path = run.weights(factor.name)
    if not path.is_file():
        raise UserError(
            f"{path} is missing: factor {factor.name} is not trained; `auxar run` with the recipe continues it"
        )
    return path


def check_shapes(factor: Factor, shapes: Shapes, path: Path) -> None:
    """Raises `UserError`, naming file and tensor, unless the shapes are those of the factor's state."""
    expected = {name: tuple(tensor.shape) for name, tensor in factor.state_dict().items()}
    if expected != shapes:
        wrong = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
        raise UserError(
            f"{path} does not belong to factor {factor.name} of this recipe: {len(wrong)} tensors differ, first "
            f"{one_line(wrong[0], LONGEST_NAME)}: expected {expected.get(wrong[0], 'none')}, "
            f"found {one_line(str(shapes.get(wrong[0], 'none')), LONGEST_NAME)}"
        )


def _write_if_new(path: Path, content: bytes) -> None:
    if not _holds(path, content):
        with replacing(path) as temporary:
            temporary.write_bytes(content)


def _holds(path: Path, content: bytes) -> bool:
    """Whether there is a file with that content. One of another size is not read."""
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def _check_same(run: RunFolder, recipe: Recipe, registry: Registry, sources: list[Path]) -> None:
    # Not with the plugins that the folder keeps: what is compared is not executed.
    kept = fill_in(read_recipe(run.recipe), registry)
    for source in sources:
        copy = run.path / "plugins" / source.name
        if copy.is_file() and not _holds(copy, source.read_bytes()):
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
