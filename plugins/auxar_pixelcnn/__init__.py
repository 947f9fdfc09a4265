"""PixelCNN++ networks, and the embeddings `resnet` of views, and `categories` and `pixels` of conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from auxar import Component, Embedding, ImageSpec, hookimpl
from auxar_pixelcnn import components
from auxar_pixelcnn.condition import CategoriesEmbedding, PixelsEmbedding

AUXAR_INTERFACE = 1


def _of_condition(kind: Callable[..., Embedding], config: Any, view: ImageSpec, image: ImageSpec) -> Embedding:
    return kind(view, image, **components.options(config))


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the networks `pixelcnn` (one resolution) and `pixelcnn++` (three), and the embeddings."""
    return [
        Component("network", "pixelcnn", components.LightConfig, components.light),
        Component("network", "pixelcnn++", components.FullConfig, components.full),
        Component("embedding", "resnet", components.EmbeddingConfig, components.embedding),
        Component("embedding", "categories", components.CategoriesConfig, partial(_of_condition, CategoriesEmbedding)),
        Component("embedding", "pixels", components.PixelsConfig, partial(_of_condition, PixelsEmbedding)),
    ]
