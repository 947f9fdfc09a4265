"""PixelCNN++ networks, and the embeddings `resnet` of views, and `categories` and `pixels` of conditions."""

from collections.abc import Sequence

from auxar import Component, hookimpl
from auxar_pixelcnn import components

AUXAR_INTERFACE = 1


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the networks `pixelcnn` (one resolution) and `pixelcnn++` (three), and the embeddings."""
    return [
        Component("network", "pixelcnn", components.LightConfig, components.light),
        Component("network", "pixelcnn++", components.FullConfig, components.full),
        Component("embedding", "resnet", components.EmbeddingConfig, components.embedding),
        Component("embedding", "categories", components.CategoriesConfig, components.categories),
        Component("embedding", "pixels", components.PixelsConfig, components.pixels),
    ]
