"""The command `classify`: the most probable labels of images, for a model with labels."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import attrs

from auxar.arguments import as_integer, as_path, as_paths
from auxar.distributed.joining import working_together
from auxar.errors import UserError
from auxar.evaluation.records import Exactness
from auxar.generation.image_files import images_at
from auxar.image_model.classification import label_condition
from auxar.image_model.loading import load


@attrs.frozen
class ImageClass:
    """The classes of an image, the most probable first."""

    file: Path
    """The image file."""
    names: tuple[str, ...]
    """The names of the most probable classes."""
    probabilities: tuple[float, ...]
    """Their probabilities p(y | X)."""


@attrs.frozen
class Classes:
    """The result of `auxar.classify`: an `ImageClass` for each image."""

    images: tuple[ImageClass, ...]
    """The classes of the images, in the order in which they were given."""
    kind: Exactness
    """`exact` if p(X | y) is exact; `bound` if probabilities were computed from lower bounds of it."""
    modelled: bool
    """Whether p(y) is the model's own. Otherwise all classes have the same p(y)."""


def classify(
    path: str | PathLike[str],
    paths: Iterable[str | PathLike[str]],
    *,
    top: int = 3,
    resize: str | None = None,
    device: str = "auto",
    trust_plugins: bool = False,
) -> Classes:
    """Finds the most probable labels of images: p(y | X) ∝ p(X | y) p(y), for a model whose condition is a label.

    `path` is the run's folder or the name of a model, and `paths` are image files, or folders of image files. `top` is
    the number of classes that are returned for each image. `resize` is the treatment of images of other sizes, as in
    `ImageModel.prepare`; the default is the recipe's.

    Raises `UserError` if the condition of the model is no label, if there are no images, if one of them cannot be read
    or has another size, or as `auxar.load`.

    Examples:
        >>> import auxar
        >>> label = ["condition.kind=label", "condition.column=label", 'condition.names=["cat", "dog"]']
        >>> run = auxar.build("quickstart", label).save("runs/labels", steps=0)
        >>> drawn = auxar.sample(run.path, images=2)
        >>> classes = auxar.classify(run.path, [drawn / "images"], top=2)
        >>> sorted(classes.images[0].names), classes.kind
        (['cat', 'dog'], 'exact')
    """
    folder, files = as_path(path, "path"), as_paths(paths, "paths")
    as_integer(top, "top", least=1)
    found = [file for each in files for file in images_at(each)]
    if not found:
        raise UserError("paths: expected at least one image file, or a folder of images")
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("auxar classify: run this command in one process")
    model = load(folder, device, trust_plugins=trust_plugins)
    label_condition(model.chain)
    result = model.classify(model.prepare(found, resize=resize))
    values, places = result.probabilities.topk(min(top, len(result.names)))
    images = tuple(
        ImageClass(file, tuple(result.names[place] for place in row), tuple(probabilities))
        for file, row, probabilities in zip(found, places.tolist(), values.tolist(), strict=True)
    )
    modelled = model.chain.condition_factor is not None
    return Classes(images, "exact" if result.exact else "bound", modelled)
