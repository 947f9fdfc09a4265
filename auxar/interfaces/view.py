"""Views: ψ, a deterministic function of an image that is itself an image (paper, section 3)."""

from __future__ import annotations

import abc

from torch import Tensor

from auxar.interfaces.image import ImageSpec
from auxar.interfaces.known import Known
from auxar.interfaces.support import Support


class View(abc.ABC):
    """ψ: a deterministic function of an image that is itself an image (paper, section 3).

    `image` and `view` describe input and output; a view that does not fit its input raises `UserError` when it is
    built. Each image of a batch is treated alone, and the result has the dtype of the input.
    """

    image: ImageSpec
    view: ImageSpec
    support: Support | None = None
    """Which images have a given view, where intervals can say so. Without it, decoders stay free."""
    monotone: bool = False
    """Whether raising a sub-pixel by one leaves every value of the view as it is, or raises it by one. All values
    between the views of two images, one nowhere darker than the other, are then views of images between them."""

    @abc.abstractmethod
    def __call__(self, image: Tensor) -> Tensor:
        """(b, *image.shape) integers to (b, *view.shape) integers of the same dtype."""

    def known(self, known: Known) -> Known:
        """The pixels of the view that follow from known pixels of the image; without more to go by, all or none."""
        whole = known.mask.flatten(1).all(1)
        mask = whole[:, None, None].expand(-1, self.view.height, self.view.width)
        return Known(self(known.filled()), mask)
