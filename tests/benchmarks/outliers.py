"""Measures how well the scores of `auxar score` tell images of other data sets from a model's own held-out images.

    python tests/benchmarks/outliers.py emoji32 cifar10=FOLDER/test.parquet faces=FOLDER/test.parquet

Each data set is a parquet file with pictures of the model's size. For each, the area under the ROC curve (AUROC) is the
probability that one of its images has a larger score than a held-out image: 0.5 if the score says nothing, and below if
it finds the other images more usual than the model's own.
"""

import io

import numpy as np
import pyarrow.parquet
import torch
from measuring import heldout_images, options_of, show
from PIL import Image

import auxar
from auxar.evaluation.codecs import codec_bits_per_dim


def pictures(file: str, count: int) -> list[Image.Image]:
    """Returns evenly spaced pictures of a parquet file."""
    table = pyarrow.parquet.read_table(file)
    (column,) = [name for name in table.column_names if name in ("image", "img")]
    numbers = np.linspace(0, len(table) - 1, min(count, len(table))).round().astype(int)
    return [Image.open(io.BytesIO(table[column][int(number)]["bytes"].as_py())) for number in numbers]


def scores(model: auxar.ImageModel, images: torch.Tensor) -> dict[str, np.ndarray]:
    """Returns the two scores of images."""
    bits = model.bits_per_dim(images).numpy()
    stored = np.array([codec_bits_per_dim(image) for image in images])
    return {"bits/dim": bits, "difference": bits - stored}


def auroc(outliers: np.ndarray, inliers: np.ndarray) -> float:
    """Returns the probability that an outlier has the larger score; equal scores count half."""
    pairs = outliers[:, None] - inliers[None]
    return float((pairs > 0).mean() + (pairs == 0).mean() / 2)


def main() -> None:
    """Prints one JSON object."""
    sets = {"positional": True, "nargs": "+", "metavar": "NAME=FILE"}
    options = options_of(__doc__, run=str, sets=sets, images=500)
    model = auxar.load(options.run)
    own = scores(model, heldout_images(model, options.images))
    found: dict[str, object] = {"heldout": {name: float(values.mean()) for name, values in own.items()}}
    for each in options.sets:
        name, _, file = each.partition("=")
        others = scores(model, model.prepare(pictures(file, options.images)))
        found[name] = {
            "images": len(others["bits/dim"]),
            "mean": {score: float(values.mean()) for score, values in others.items()},
            "auroc": {score: auroc(values, own[score]) for score, values in others.items()},
        }
    show({"run": options.run, **found}, options)


if __name__ == "__main__":
    main()
