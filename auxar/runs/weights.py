"""The trained weights of a run: checked before they are read, and put into the model that the recipe composes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from auxar.errors import UserError, one_line
from auxar.files import DamagedFile, Shapes, read_shapes, read_tensors
from auxar.interfaces import Factor, Prior
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.recipe.building import build_model
from auxar.runs.layout import RunFolder
from auxar.runs.opening import open_run

LONGEST_NAME = 100
"""Characters of a tensor's name and shape in an error."""


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

    This is checked before the model is built: a recipe of a few words can ask for more memory than the machine has,
    while weights of that size would have to be there on the disk.
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
    # Training never writes weights that are not finite, and nothing sensible can be drawn with them.
    for name, parameter in factor.named_parameters():
        if not parameter.isfinite().all():
            raise DamagedFile(f"{path} is damaged: values of {name} are not finite")
    return metadata


@contextlib.contextmanager
def _advising() -> Iterator[None]:
    """Adds to an error about damaged weights how to mend them."""
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
