"""Classification of images by a model with labels: p(y | X) ∝ p(X | y) p(y)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.draw.likelihoods import factor_log_probs
from auxar.errors import UserError
from auxar.evaluation.facts import Exactness
from auxar.evaluation.figures import Mean
from auxar.model import CONDITION, Chain, Condition, Values, device_of, evaluating


@attrs.frozen(eq=False)
class Classification:
    """The probabilities of the classes of images.

    Examples:
        >>> likelihoods = torch.tensor([[-10.0, -12.0], [-9.0, -8.0]], dtype=torch.float64)
        >>> found = Classification(likelihoods, torch.zeros(2, dtype=torch.float64), ("cat", "dog"), exact=True)
        >>> found.labels.tolist(), found.names_of_labels
        ([0, 1], ['cat', 'dog'])
        >>> found.probabilities[0].round(decimals=3).tolist()
        [0.881, 0.119]
    """

    log_likelihood: Tensor
    """log p(X | y) in nats for each image and class, or its lower bound: float64, (n, classes)."""
    log_prior: Tensor
    """log p(y) in nats for each class: float64, (classes,)."""
    names: tuple[str, ...]
    """The name of each class; its number if it has no name."""
    exact: bool
    """Whether `log_likelihood` is exact. Otherwise it is a lower bound, and probabilities are approximate."""

    @property
    def log_probabilities(self) -> Tensor:
        """log p(y | X) in nats: float64, (n, classes)."""
        return (self.log_likelihood + self.log_prior).log_softmax(1)

    @property
    def probabilities(self) -> Tensor:
        """p(y | X): float64, (n, classes)."""
        return self.log_probabilities.exp()

    @property
    def labels(self) -> Tensor:
        """The most probable class of each image: int64, (n,)."""
        return self.log_probabilities.argmax(1)

    @property
    def names_of_labels(self) -> list[str]:
        """The name of the most probable class of each image."""
        return [self.names[label] for label in self.labels.tolist()]


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
class Accuracy:
    """How often the most probable label of an image is its own.

    Examples:
        >>> found = Accuracy.of(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1]), ("cat", "dog"))
        >>> found.share, found.images, found.confusion
        (0.75, 4, ((1, 1), (0, 2)))
    """

    share: float
    """Share of the images whose most probable label is their own, 0 … 1."""
    standard_error: float | None
    """Standard error of `share`; None for a single image."""
    images: int
    """Number of images."""
    names: tuple[str, ...]
    """Names of the labels."""
    confusion: tuple[tuple[int, ...], ...]
    """Number of images by their own label (rows) and their most probable label (columns), in the order of `names`."""

    @classmethod
    def of(cls, found: Tensor, own: Tensor, names: tuple[str, ...]) -> Accuracy:
        """The accuracy of the most probable labels `found` of images with their `own` labels, both int64, (n,)."""
        right = Mean.of((found == own).double())
        counts = torch.bincount(own * len(names) + found, minlength=len(names) ** 2).view(len(names), len(names))
        assert right.value is not None
        return cls(right.value, right.error, len(found), names, tuple(map(tuple, counts.tolist())))


@attrs.frozen
class Classes:
    """The result of `auxar.classify`: an `ImageClass` for each image, or the accuracy on held-out images."""

    images: tuple[ImageClass, ...]
    """The classes of the images, in the order in which they were given; empty for held-out images."""
    kind: Exactness
    """`exact` if p(X | y) is exact; `bound` if probabilities were computed from lower bounds of it."""
    modeled: bool
    """Whether p(y) is the model's own. Otherwise all classes have the same p(y)."""
    accuracy: Accuracy | None = None
    """The accuracy on held-out images, or on images whose folders have the names of their labels; otherwise None."""


def most_probable(found: Classification, files: Sequence[Path], top: int, *, modeled: bool) -> Classes:
    """The `top` most probable classes of the images in `files`, and the accuracy if their folders name the labels."""
    values, places = found.probabilities.topk(min(top, len(found.names)))
    images = tuple(
        ImageClass(file, tuple(found.names[place] for place in row), tuple(probabilities))
        for file, row, probabilities in zip(files, places.tolist(), values.tolist(), strict=True)
    )
    own = [found.names.index(file.parent.name) for file in files if file.parent.name in found.names]
    accuracy = Accuracy.of(found.labels, torch.tensor(own), found.names) if len(own) == len(files) else None
    return Classes(images, "exact" if found.exact else "bound", modeled, accuracy)


def classify(chain: Chain, images: Tensor, batch_size: Any = None) -> Classification:
    """Classifies images (n, *image.shape). Raises `UserError` if the condition of the model is no label."""
    condition, factor = label_condition(chain), chain.condition_factor
    columns, classes = [], condition.spec.levels
    for label in range(classes):
        given, what = torch.full((len(images), 1, 1, 1), label), f"class {label + 1} of {classes}"
        found = factor_log_probs(chain, images, batch_size, given, what)
        columns.append(torch.stack([factor.log_prob for factor in found]).sum(0))
    log_prior = torch.full((classes,), -math.log(classes), dtype=torch.float64)
    if factor is not None:
        with evaluating(factor):
            labels = torch.arange(classes, device=device_of(chain)).reshape(-1, 1, 1, 1)
            log_prior = factor(Values({CONDITION: labels})).to("cpu", torch.float64)
    names = condition.names or tuple(map(str, range(classes)))
    return Classification(torch.stack(columns, 1), log_prior, names, chain.exact)


def label_condition(chain: Chain) -> Condition:
    """The condition of a model. Raises `UserError` unless it is a label."""
    if chain.condition is None or chain.condition.kind != "label":
        found = "no condition" if chain.condition is None else f"a condition of the kind '{chain.condition.kind}'"
        raise UserError(f"classification needs a model whose condition is a label, but this model has {found}")
    return chain.condition
