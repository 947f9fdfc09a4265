"""Tiny runs that combine features, for tests which compare them with values that are computed in another way.

Each run has dropout, accumulated parts, validation that keeps the best weights, averaged weights, integers, and sets of
images that are no multiple of the batch sizes. Images depend so much on their conditions, and trainings are so long,
that the condition of another image gives clearly other likelihoods.
"""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.tiny_runs import tiny, with_dropout

NAMES = ["dark", "gray", "light"]
SIDE, COUNT = 4, 26
"""The side and the number of all images: 11 for training, 5 for validation, 10 held out."""
BATCH = 3
"""The number of images that are evaluated at once. It divides none of the sets."""
SIZES = {
    # It is first, because its module has the value that the next one has when it is imported.
    "auxar_codec.decompression.DECODED_DIMS": 3 * SIDE * SIDE,
    "auxar_codec.archive.DECODED_DIMS": 1,
    "auxar_codec.archive.ENCODED_DIMS": 1,
    "auxar_codec.compression.CHUNK": 3 * SIDE * SIDE,
    "auxar.data.parquet.ROWS": 1,
    "auxar.data.stored.OWN_SIZE": 1,
    "auxar.data.stored.BATCH_BYTES": 3 * SIDE * SIDE,
    "auxar.data.stored.ROWS": 1,
    "auxar.data.writing.BATCH_VALUES": 3 * SIDE * SIDE,
    "auxar.data.writing.GROUP_ROWS": 1,
    "auxar.evaluation.likelihoods.CHUNK": 1,
    "auxar.evaluation.nearest.BATCH": 1,
    "auxar.draw.conditions.DRAWN_AT_ONCE": 1,
    "auxar.draw.likelihoods.CHUNK_PIXELS": SIDE * SIDE,
    "auxar_integers.arithmetic.PIXELS": SIDE * SIDE,
    "auxar_metrics.inception.BATCH": 1,
}
"""The constants that set how much is computed at once, and the size of one picture in the unit of each."""


@contextlib.contextmanager
def at_once(pictures: int = 1) -> Iterator[None]:
    """Sets all sizes of chunks to a number of pictures. Sizes of batches are keys of recipes and arguments."""
    with pytest.MonkeyPatch.context() as patch:
        for path, size in SIZES.items():
            module, name = path.rsplit(".", 1)
            patch.setattr(importlib.import_module(module), name, pictures * size)
        yield


def write_labeled(folder: Path, seed: int = 3) -> Path:
    """Creates a folder of PNG files whose brightness depends on the label, which a text file beside each gives."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    labels = random.permutation(np.arange(COUNT) % len(NAMES))
    for number, label in enumerate(labels):
        _save(folder / f"{number:03}.png", np.full((SIDE, SIDE), 40 + 80 * label), random)
        (folder / f"{number:03}.txt").write_text(NAMES[label])
    return folder


def write_masked(folder: Path, seed: int = 4) -> Path:
    """Creates a folder of PNG files whose pixels are bright where the mask beside each has ones."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(COUNT):
        mask = random.integers(0, 2, (SIDE, SIDE))
        _save(folder / f"{number:03}.png", 60 + 130 * mask, random)
        Image.fromarray(mask.astype(np.uint8)).save(folder / f"{number:03}.mask.png")
    return folder


def _save(path: Path, brightness: np.ndarray, random: np.random.Generator) -> None:
    slopes = random.uniform(-8, 8, (3, 2))
    values = brightness[..., None] + np.einsum("cd,dhw->hwc", slopes, np.mgrid[:SIDE, :SIDE] - SIDE / 2)
    Image.fromarray((values + random.normal(0, 3, values.shape)).clip(0, 255).astype(np.uint8)).save(path)


def combined(pictures: Path, **changes: Any) -> dict[str, Any]:
    """The table of the recipe that all runs share; `changes` as for `tiny`."""
    common = {
        "image__height": SIDE,
        "image__width": SIDE,
        "data__split": {"train": 0.6, "validation": 0.3},
        "evaluation": {"batch_size": BATCH, "train_images": 8},
        "sampling__batch_size": 2,
        "arithmetic": "integer",
        "training": {
            "steps": 14,
            "batch_size": 5,
            "accumulate": 2,
            "optimizer": {"name": "adam", "learning_rate": 0.015},
            "schedule": {"name": "exponential", "decay": 0.98},
            "clip": 4.0,
            "ema": 0.5,
            "augment": ["flip", {"name": "shift", "pixels": 1}],
            "evaluate_every": 4,
            "validation_images": 4,
            "keep_best": True,
            "patience": 4,
            "checkpoint_every": 7,
            "log_every": 1,
            "initialization_images": 8,
        },
    }
    return with_dropout(tiny(pictures, **{**common, **changes}))


def labels(pictures: Path, **changes: Any) -> dict[str, Any]:
    """The recipe with labels, the factor p(y), and a restricted decoder."""
    prior = {"name": "pixelcnn", "filters": 3, "blocks": 1, "head": "softmax", "dropout": 0.3}
    condition = {"kind": "label", "suffix": ".txt", "names": NAMES, "drop": 0.2, "prior": prior}
    condition["embedding"] = {"name": "categories", "blocks": 1, "dropout": 0.3}
    # The best weights are not the last ones.
    hasty = {"optimizer": {"learning_rate": 0.5}, "evaluate_every": 1, "patience": 1}
    factor = {"training__factor": {"condition": hasty}}
    return combined(pictures, **{"condition": condition, "stage__0__support": "restricted", **factor, **changes})


def masks(pictures: Path, **changes: Any) -> dict[str, Any]:
    """The recipe with masks and a free decoder."""
    condition = {"kind": "mask", "suffix": ".mask.png", "classes": 2, "drop": 0.2}
    return combined(pictures, **{"condition": condition, "training__optimizer__learning_rate": 0.06, **changes})


def plain(pictures: Path, **changes: Any) -> dict[str, Any]:
    """The recipe without a condition, with a free decoder."""
    return combined(pictures, **changes)


MATRIX = {"labels": labels, "masks": masks, "plain": plain}
"""The recipes of the runs, as functions of the folder with the images."""
