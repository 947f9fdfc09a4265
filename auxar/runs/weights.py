"""Loads the trained weights of a run into its model. Shapes are checked before tensors are read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from auxar.errors import UserError, one_line
from auxar.files import DamagedFile, Shapes, is_file, read_shapes, read_tensors
from auxar.interfaces import Factor, Prior
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.recipe.building import build_model
from auxar.runs.layout import RunFolder
from auxar.runs.opening import open_run

LONGEST_NAME = 100
"""Maximum number of characters of a tensor's name, and of its shape, in an error message."""


def load(path: str | Path, *, device: str = "cpu", trust_plugins: bool = False) -> Prior:
    """The trained model of a run, ready for `log_prob`, `bits_per_dim` and `sample`.

    Raises `UserError` if the weights of a factor are missing, damaged or from another model. It is also raised if the
    run has plugin files, which are code, and `trust_plugins` is False.
    """
    return trained_model(*open_run(Path(path), trust_plugins=trust_plugins)).eval().to(device)


def trained_model(run: RunFolder, recipe: Recipe, registry: Registry) -> Prior:
    """Builds the model of a run and loads its trained weights.

    Raises `UserError` if the weights of a factor are missing, damaged or from another model.
    """
    check_sizes(run, recipe, registry, recipe.factor_names)
    model = build_model(recipe, registry)
    for factor in model.factors:
        load_weights(run, factor)
    return model


def check_sizes(run: RunFolder, recipe: Recipe, registry: Registry, names: Sequence[str]) -> None:
    """Raises `UserError` unless each named factor has a file of weights with the shapes of the recipe's model.

    This runs before memory is allocated for the model. A short recipe can describe a model that is larger than the
    machine's memory. Such a recipe is refused here unless its files of weights are equally large.
    """
    for factor in build_model(recipe, registry, on="meta").factors:
        if factor.name in names:
            path = _trained(run, factor)
            with _advising():
                check_shapes(factor, read_shapes(path), path)


def load_weights(run: RunFolder, factor: Factor) -> dict[str, str]:
    """Loads a factor's trained weights and returns the metadata of their file.

    The metadata includes the step and whether the weights are averaged. Raises `UserError` if the file is missing,
    damaged or from another model.
    """
    path = _trained(run, factor)
    with _advising():
        tensors, metadata = read_tensors(path, lambda shapes, _: check_shapes(factor, shapes, path))
        # `load_state_dict` would convert other types, such as integers and complex numbers.
        for name, expected in factor.state_dict().items():
            if tensors[name].dtype != expected.dtype:
                raise DamagedFile(
                    f"{path} is damaged: {name} has the type {tensors[name].dtype}; expected {expected.dtype}"
                )
    factor.load_state_dict(tensors)
    # Training refuses to save weights that are not finite, so a file with such weights is damaged.
    for name, parameter in factor.named_parameters():
        if not parameter.isfinite().all():
            raise DamagedFile(
                f"{path} is damaged: values of {name} are not finite; delete this file, and `auxar run` writes it "
                "again from the last checkpoint"
            )
    return metadata


@contextlib.contextmanager
def _advising() -> Iterator[None]:
    """Appends advice on recovery to an error about a damaged file of weights."""
    try:
        yield
    except DamagedFile as error:
        raise DamagedFile(
            f"{error}; delete this file, and `auxar run` writes it again from the last checkpoint"
        ) from None


def _trained(run: RunFolder, factor: Factor) -> Path:
    path = run.weights(factor.name)
    if not is_file(path):
        raise UserError(
            f"{path} is missing: factor {factor.name} is not trained; train it with `auxar run` and the run's recipe"
        )
    return path


def check_shapes(factor: Factor, shapes: Shapes, path: Path) -> None:
    """Raises `UserError` unless the names and shapes of tensors are those of the factor's state dict.

    The message names the file and one tensor.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in factor.state_dict().items()}
    if expected != shapes:
        wrong = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
        raise UserError(
            f"{path} does not belong to factor {factor.name} of this recipe: {len(wrong)} tensor(s) differ in name or "
            f"shape; the first is {one_line(wrong[0], LONGEST_NAME)}: expected {expected.get(wrong[0], 'no tensor')}, "
            f"found {one_line(str(shapes.get(wrong[0], 'no tensor')), LONGEST_NAME)}"
        )
