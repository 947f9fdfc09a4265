"""Small chains of PixelCNNs."""

from collections.abc import Callable

from auxar.model import CausalDistribution, Chain, Factor, ImageSpec, View
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads import logistic_mixture
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView

LIGHT = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
EMBEDDING = components.EmbeddingConfig(filters=2, blocks_per_group=1)


def pyramid(image: ImageSpec) -> PyramidView:
    """Means over squares of 2×2 pixels."""
    return PyramidView(PyramidConfig(2), image)


def grayscale(levels: int) -> Callable[[ImageSpec], View]:
    """A function that returns gray values of some levels."""
    return lambda image: GrayscaleView(GrayscaleConfig(levels), image)


def chain_of(image: ImageSpec, *views: Callable[[ImageSpec], View], restricted: bool = False) -> Chain:
    """A chain of views, given as functions of the images from which they are computed, with new weights."""
    factors = []
    for make in views:
        view = make(image)
        embedding = components.embedding(EMBEDDING, view.view, image)
        decoder = CausalDistribution(components.light(LIGHT, image, embedding.features_channels))
        factors.append(Factor(decoder, view=view, embedding=embedding, restricted=restricted))
        image = view.view
    return Chain([*factors, Factor(CausalDistribution(components.light(LIGHT, image)))])
