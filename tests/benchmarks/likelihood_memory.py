"""Measures the peak memory of a process that computes log-likelihoods, with and without gradients.

python tests/benchmarks/likelihood_memory.py --images 256
python tests/benchmarks/likelihood_memory.py --images 256 --gradients
"""

from __future__ import annotations

import argparse
import resource
from pathlib import Path

import torch

import auxar
from auxar.recipe.building import build_model

RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.toml"


def peak() -> float:
    """The largest memory of this process so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256, help="number of random images of 32×32")
    parser.add_argument("--batch-size", type=int, help="number of images that are computed at once")
    parser.add_argument("--gradients", action="store_true", help="call the chain, which keeps values for gradients")
    options = parser.parse_args()
    recipe, registry = auxar.load_recipe(RECIPE)
    model = auxar.ImageModel(build_model(recipe, registry), recipe, registry)
    images = torch.randint(0, 256, (options.images, *model.image.shape), dtype=torch.uint8)
    before = peak()
    if options.gradients:
        model.chain.log_prob(images)
    else:
        model.log_prob(images, batch_size=options.batch_size)
    print(f"{options.images} images: at most {peak():.0f} MB, and {before:.0f} MB before")


if __name__ == "__main__":
    main()
