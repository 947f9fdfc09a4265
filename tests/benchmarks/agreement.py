"""Measures how often samplers that should draw the same images differ in float32, because they round differently.

    python tests/benchmarks/agreement.py RUN --images 32

Draws the same images from a run's model with the raster sampler, the native engine (at two batch sizes) and the PyTorch
engine. Prints, for pairs of these, the share of images that differ in any pixel and the share of pixels that differ.
After the first pixel that differs, all later pixels are drawn given another image, so most of the pixels that differ
follow from a single rounding difference.
"""

from __future__ import annotations

from measuring import options_of, show

import auxar
from auxar.model import Chain, Rule, Sampler
from auxar.plugins import load_plugins
from auxar.recipe.building import build_rule
from auxar_samplers import AutoSampler, RasterSampler

WAYS: dict[str, tuple[Sampler, int]] = {
    "raster, 16 at once": (RasterSampler(), 16),
    "native, 16 at once": (AutoSampler("native"), 16),
    "native, 1 at once": (AutoSampler("native"), 1),
    "torch, 16 at once": (AutoSampler("torch"), 16),
}
PAIRS = (
    ("raster, 16 at once", "native, 16 at once"),
    ("raster, 16 at once", "torch, 16 at once"),
    ("native, 16 at once", "torch, 16 at once"),
    ("native, 16 at once", "native, 1 at once"),
)


def shares(model: Chain, images: int, rule: Rule, raster: bool) -> list[dict[str, object]]:
    """Returns the shares of images and of pixels that differ, for each pair of `PAIRS`."""
    drawn = {
        name: model.sample(images, rule=rule, sampler=sampler, batch_size=batch)
        for name, (sampler, batch) in WAYS.items()
        if raster or not isinstance(sampler, RasterSampler)
    }
    found: list[dict[str, object]] = []
    for first, second in (pair for pair in PAIRS if drawn.keys() >= set(pair)):
        differs = (drawn[first] != drawn[second]).any(1)
        share = {"images": differs.flatten(1).any(1).double().mean().item(), "pixels": differs.double().mean().item()}
        found.append({"pair": f"{first} / {second}", **share})
    return found


def main() -> None:
    options = options_of(__doc__, run=str, images=32, rule="ancestral", no_raster=False)
    model = auxar.load(options.run).chain
    found = shares(model, options.images, build_rule(options.rule, load_plugins(), "--rule"), not options.no_raster)
    facts = {"images": options.images, "image": str(model.image), "rule": options.rule}
    show({**facts, "pairs": found}, options)


if __name__ == "__main__":
    main()
