"""Loads images from a folder, from parquet files or from the Hugging Face hub, and converts them to integer tensors.

The table [image] of a recipe gives the size, channels and levels of the tensors.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auxar.data.batches import evaluation_batches, evaluation_examples, training_batches, training_examples
    from auxar.data.examples import Examples
    from auxar.data.loading import load_images
    from auxar.data.sets import DataSets, ImageSet
    from auxar.data.stored import StoredImages
    from auxar.data.streamed import StreamedImages

__all__ = [
    "DataSets",
    "Examples",
    "ImageSet",
    "StoredImages",
    "StreamedImages",
    "evaluation_batches",
    "evaluation_examples",
    "load_images",
    "training_batches",
    "training_examples",
]

_MODULES = {
    "DataSets": "sets",
    "Examples": "examples",
    "ImageSet": "sets",
    "StoredImages": "stored",
    "StreamedImages": "streamed",
    "evaluation_batches": "batches",
    "evaluation_examples": "batches",
    "load_images": "loading",
    "training_batches": "batches",
    "training_examples": "batches",
}
"""The module of each name."""


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    # Names are imported on first use. Drawing images and reading single pictures do not need the package `datasets`,
    # which takes half a second to import.
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'", name=name, obj=sys.modules[__name__])
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
