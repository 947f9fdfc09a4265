"""The command `classify`: the most probable labels of images, for a model with labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from typing import TYPE_CHECKING

from auxar.arguments import as_integer, as_path, as_paths
from auxar.commandline import Result, command
from auxar.errors import one_line

if TYPE_CHECKING:
    from auxar.image_model.classification import Classes


def _shown(found: Classes) -> Result:
    import attrs

    return Result(list(_lines(found)), attrs.asdict(found))


def _lines(found: Classes) -> Iterator[str]:
    kind = "exact p(X | y)" if found.kind == "exact" else "lower bounds of p(X | y)"
    labels = "the model's p(y)" if found.modelled else "equally probable labels"
    yield f"probabilities p(y | X), from {kind} and {labels}"
    for image in found.images:
        pairs = zip(image.names, image.probabilities, strict=True)
        classes = ", ".join(f"{one_line(name)} {probability:.3f}" for name, probability in pairs)
        yield f"{one_line(str(image.file))}: {classes}"


@command("Measure", show=_shown)
def classify(
    run: str | PathLike[str],
    paths: Iterable[str | PathLike[str]],
    *,
    top: int = 3,
    resize: str | None = None,
    device: str = "auto",
    trust_plugins: bool = False,
) -> Classes:
    """Finds the most probable labels of images.

    The probability of a label y given an image X is p(y | X) ∝ p(X | y) p(y), with a model whose condition is a label.
    p(y) is the model's own if its recipe has condition.prior; otherwise all labels are equally probable.

    Args:
        paths (PATH): image files, or folders of image files
        top: number of labels to show for each image

    Raises:
        UserError: the condition of the model is no label, there are no images, or one of them cannot be read or has
            another size; also as `auxar.load`

    Examples:
        >>> import auxar
        >>> label = ["condition.kind=label", "condition.column=label", 'condition.names=["cat", "dog"]']
        >>> run = auxar.build("quickstart", label).save("runs/labels", steps=0)
        >>> drawn = auxar.sample(run.path, images=2)
        >>> classes = auxar.classify(run.path, [drawn / "images"], top=2)
        >>> sorted(classes.images[0].names), classes.kind
        (['cat', 'dog'], 'exact')
    """
    from auxar.distributed.joining import check_alone
    from auxar.generation.image_files import image_files
    from auxar.image_model.classification import label_condition, most_probable
    from auxar.image_model.loading import load

    folder, files = as_path(run, "run"), as_paths(paths, "paths")
    as_integer(top, "top", least=1)
    found = image_files(files, "paths")
    check_alone("auxar classify")
    model = load(folder, device, trust_plugins=trust_plugins)
    label_condition(model.chain)
    result = model.classify(model.prepare(found, resize=resize))
    return most_probable(result, found, top, modelled=model.chain.condition_factor is not None)
