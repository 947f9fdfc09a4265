"""The interface of embeddings f_w, which compute a decoder's features from a view (paper, equation 3)."""

import abc
from typing import Self

import attrs
from torch import Tensor, nn

from auxar.model.image import ImageSpec, encode_integers, mark, scale
from auxar.model.network import resized


@attrs.frozen
class Encoded:
    """Step, range and channels of an encoded view: its values are integers times `step`."""

    step: float
    bound: int
    """Largest magnitude of the integers."""
    channels: int


class Embedding(nn.Module, abc.ABC):
    """An embedding f_w: a network that computes a decoder's features from a view (paper, equation 3)."""

    image: ImageSpec
    """Shape and range of the image that the decoder predicts."""
    view: ImageSpec
    """Shape and range of the view."""
    features_channels: int
    """Number of channels of the features, at least 1."""
    compiles: bool = False
    """Whether long trainings compile the embedding if the recipe does not set `training.compile`."""
    any_size: bool = False
    """Whether the embedding works for images of any height and width. Then only its attributes `image` and `view`
    depend on them."""

    def at(self, view: ImageSpec, image: ImageSpec) -> Self:
        """The same embedding, with the same weights, for images and views of another height and width.

        Raises `UserError` if the embedding has one size.
        """
        return resized(self, view=view, image=image)

    @abc.abstractmethod
    def forward(self, view: Tensor) -> Tensor:
        """Computes the features of views.

        Args:
            view: Integers, shape (b, *view.shape).

        Returns:
            Floats, shape (b, features_channels, image.height, image.width).
        """

    def initialize(self, view: Tensor) -> None:
        """Initializes the weights from a batch of views. The default does nothing."""


class NetworkEmbedding(Embedding):
    """An embedding that encodes the view as a network's input, like a `CausalNetwork`, and computes features from it.

    Unlike other embeddings, it can be converted to integer arithmetic, if its layers can. One that encodes the view in
    another way overrides `encode`, `encode_integers` and `encoded` together.
    """

    repeats: tuple[int, int] = (1, 1)
    """Numbers of rows and columns of the image that each row and column of the result of `features` is repeated
    over."""
    marks_pixels: bool = False
    """Whether `encode` appends a channel of ones, which distinguishes pixels from zero padding."""

    @abc.abstractmethod
    def features(self, view: Tensor) -> Tensor:
        """Computes the features from an encoded view: (b, features_channels, image.height, image.width), or less if
        they are repeated (`repeats`)."""

    def encode(self, view: Tensor) -> Tensor:
        """Scales integers (b, c, h, w) to [-1, 1] and, if `marks_pixels` is true, appends a channel of ones."""
        scaled = scale(view, self.view.levels, next(self.parameters()).dtype)
        return mark(scaled) if self.marks_pixels else scaled

    def encode_integers(self, view: Tensor) -> Tensor:
        """Encodes integers (b, c, h, w) as the integers of `encoded`, in float64: `encode` divided by `encoded.step`.

        It reads no weights.
        """
        return encode_integers(view, self.view.levels, marked=self.marks_pixels)

    @property
    def encoded(self) -> Encoded:
        """Step, range and channels of the encoded view."""
        return Encoded(1 / (self.view.levels - 1), self.view.levels - 1, self.view.channels + self.marks_pixels)

    def forward(self, view: Tensor) -> Tensor:
        self.view.check(view, "view")
        return self.repeated(self.features(self.encode(view)))

    def repeated(self, features: Tensor) -> Tensor:
        """Repeats the rows and columns of the result of `features` over those of the image, as `repeats` says."""
        rows, columns = self.repeats
        if rows == columns == 1:
            return features
        return features.repeat_interleave(rows, 2).repeat_interleave(columns, 3)
