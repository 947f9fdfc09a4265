"""Measures how often the engines `native` and `torch` draw different images in float32, because they round differently.

    python tests/benchmarks/agreement.py RUN --images 32

Draws the same images from a run's model with both engines. Prints the share of images that differ in any pixel and the
share of pixels that differ. After the first pixel that differs, all later pixels are drawn given another image, so most
of the pixels that differ follow from a single rounding difference.
"""

from measuring import options_of, show

import auxar
from auxar_samplers import AutoSampler


def main() -> None:
    options = options_of(__doc__, run=str, images=32, rule="ancestral")
    model = auxar.load(options.run)
    first, second = (
        model.sample(options.images, rule=options.rule, sampler=AutoSampler(engine), batch_size=16).tensor
        for engine in ("native", "torch")
    )
    differs = (first != second).any(1).double()
    shares = {"images": differs.amax((1, 2)).mean().item(), "pixels": differs.mean().item()}
    show({"images": options.images, "image": str(model.image), "rule": options.rule, "differ": shares}, options)


if __name__ == "__main__":
    main()
