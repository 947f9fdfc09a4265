"""The command `classify`: the most probable labels of images, for a model with labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from typing import TYPE_CHECKING

from auxar.arguments import as_integer, as_path, as_paths
from auxar.commandline import Result, command
from auxar.errors import UserError, one_line

if TYPE_CHECKING:
    from auxar.draw.classification import Accuracy, Classes

LONGEST_NAME = 12
"""Maximum number of characters of a label's name in a table."""


def _shown(found: Classes) -> Result:
    import attrs

    return Result(list(_lines(found)), attrs.asdict(found))


def _lines(found: Classes) -> Iterator[str]:
    kind = "exact p(X | y)" if found.kind == "exact" else "lower bounds of p(X | y)"
    labels = "the model's p(y)" if found.modeled else "equally probable labels"
    if found.images:
        yield f"probabilities p(y | X), from {kind} and {labels}"
    for image in found.images:
        pairs = zip(image.names, image.probabilities, strict=True)
        classes = ", ".join(f"{one_line(name)} {probability:.3f}" for name, probability in pairs)
        yield f"{one_line(str(image.file))}: {classes}"
    if found.accuracy is not None:
        which = "images, whose folders name their labels," if found.images else "held-out images"
        yield from _table(found.accuracy, which, f"from {kind} and {labels}")


def _table(found: Accuracy, which: str, how: str) -> Iterator[str]:
    error = "" if found.standard_error is None else f" ± {found.standard_error:.3f}"
    yield f"{found.share:.3f}{error} of {found.images} {which} have their own label as the most probable, {how}"
    names = [one_line(name, LONGEST_NAME) for name in found.names]
    width = max(map(len, (*names, str(found.images)))) + 2
    yield " " * width + "".join(name.rjust(width) for name in names)
    for name, row in zip(names, found.confusion, strict=True):
        yield name.ljust(width) + "".join(str(count).rjust(width) for count in row)
    yield "rows: their own label; columns: the most probable one"


@command("Measure", show=_shown)
def classify(
    run: str | PathLike[str],
    paths: Iterable[str | PathLike[str]] | None = None,
    *,
    top: int = 3,
    heldout: int = 1000,
    resize: str | None = None,
    device: str = "auto",
    trust_plugins: bool = False,
) -> Classes:
    """Finds the most probable labels of images, or measures accuracy.

    The probability of a label y given an image X is p(y | X) ∝ p(X | y) p(y), with a model whose condition is a label.
    p(y) is the model's own if its recipe has condition.prior; otherwise all labels are equally probable. Without
    images, held-out images of the run's data, whose labels are known, are classified. The result is then the share of
    those whose most probable label is their own, with the numbers of images by both labels. Images in folders that have
    the names of labels are counted, too.

    Args:
        paths (PATH): image files, or folders of image files (default: held-out images)
        top: number of labels to show for each image
        heldout: maximum number of held-out images that are classified if no images are given

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
    from auxar.draw.classification import label_condition, most_probable
    from auxar.draw.forms import image_files
    from auxar.draw.loading import load
    from auxar.draw.scoring import heldout_accuracy
    from auxar.work.processes import check_alone

    folder = as_path(run, "run")
    files = None if paths is None else image_files(as_paths(paths, "paths"), "paths")
    as_integer(top, "top", least=1)
    as_integer(heldout, "heldout", least=1)
    if files is None and resize is not None:
        raise UserError("resize: there are no pictures to resize; held-out images are prepared as the recipe says")
    check_alone("auxar classify")
    model = load(folder, device, trust_plugins=trust_plugins)
    label_condition(model.chain)
    if files is None:
        return heldout_accuracy(model, heldout)
    result = model.classify(model.prepare(files, resize=resize))
    return most_probable(result, files, top, modeled=model.chain.condition_factor is not None)
