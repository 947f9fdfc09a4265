"""The interface of views X̂ = ψ(X)."""

from __future__ import annotations

import abc

from torch import Tensor

from auxar.errors import UserError
from auxar.model.image import ImageSpec, Known
from auxar.model.support import Support


class View(abc.ABC):
    """A view: a deterministic function ψ that maps an image to another image (paper, section 3).

    The constructor raises `UserError` if the view cannot be computed from images of the given shape and range. Each
    image of a batch is processed independently, and the result has the dtype of the input.
    """

    image: ImageSpec
    """Shape and range of the input."""
    view: ImageSpec
    """Shape and range of the output."""
    support: Support | None = None
    """The images with a given view, described by intervals. None if intervals cannot describe them; decoders given this
    view are then free."""
    monotone: bool = False
    """Whether raising any sub-pixel by 1 raises each value of the view by 0 or 1. For images A ≤ B, each value of the
    view then takes every integer from its value in ψ(A) to its value in ψ(B) while sub-pixels are raised one by one
    from A to B."""

    any_size: bool = False
    """Whether `at` gives the view of images of any height and width."""

    def at(self, image: ImageSpec) -> View:
        """The same view of images of another height and width. The default raises `UserError`."""
        raise UserError(f"the view {type(self).__name__} has one size, {self.image.size}")

    @property
    def stride(self) -> tuple[int, int]:
        """Numbers of rows and columns of the image after which the view treats pixels in the same way again.

        The view of an image without its first rows and columns lacks whole rows and columns, and is otherwise the same,
        if their numbers are multiples of the stride. The default is the ratio of the sizes of the image and the view.
        """
        return -(-self.image.height // self.view.height), -(-self.image.width // self.view.width)

    @abc.abstractmethod
    def __call__(self, image: Tensor) -> Tensor:
        """Computes the views of images: integers (b, *image.shape) to integers (b, *view.shape) of the same dtype."""

    def known(self, known: Known) -> Known:
        """The pixels of the view that are determined by known pixels of the image.

        By default, all pixels of the view are known if all pixels of the image are known; otherwise none is.
        """
        whole = known.mask.flatten(1).all(1)
        mask = whole[:, None, None].expand(-1, self.view.height, self.view.width)
        return Known(self(known.filled()), mask)
