"""Measures how many samples of a run fall apart, and how many have stray pixels, beside held-out images.

    python tests/benchmarks/stability.py RUN --images 64

The *energy* of a region of 16×16 pixels (or of the whole image if it is smaller) is the mean of |a − b − c + d| / 2
over its blocks of 2×2 pixels a b c d, in levels: it is large in noise. Its *excess* is its energy minus the energy of
the same region at half the resolution: it is large in checkerboards. An image counts as *fallen* if one of its regions
has an energy or an excess more than 1.5 times as far above the median of real images as their largest value. The real
images are the held-out ones and as many training images as there are samples. A pixel counts as *saturated* if
its largest and its smallest channel differ by more than half of the range; in samples, such pixels in row 0 come from
mixture components of small weight.

Prints a table with a line for the held-out images, for exact samples of the whole model (`ancestral`), for samples
given the views of held-out images, for both without the limits of log-scales, and for other rules. All have the same
noise. The columns are the number of fallen images, the median and the largest energy and excess of an image (those of
its region with the most), and the shares of saturated pixels in row 0 and in the whole image, with standard errors
over images.

With `--patches`, wrong pixels are put into the views of held-out images that the prior models: 4×4 pixels whose values
are moved by ±64 at the end of the upper half of the rows. The prior draws the lower half. The energy is that of the
rows 5 to 10 below the patch. The prior's images need at least 20 rows.
"""

from pathlib import Path

import attrs
import torch
from measuring import options_of
from torch import Tensor

import auxar
from auxar.numerics.energy import energies, fallen

COLUMNS = (
    "",
    "images",
    "fallen",
    "energy: median",
    "largest",
    "excess: median",
    "largest",
    "saturated in row 0",
    "saturated",
)
HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"
PATCH, MOVED = 4, 64
BELOW = slice(PATCH, PATCH + 6)
"""The rows of the lower half in which the effect of a patch is measured."""


def line(name: str, images: Tensor, levels: int, real: Tensor) -> str:
    """A line of the table, for images (b, c, h, w), beside the energies of real images."""
    energy = energies(images)
    saturated = (images.amax(1) - images.amin(1) > (levels - 1) / 2).double()
    shares = [100 * part.flatten(1).mean(1) for part in (saturated[:, 0], saturated)]
    cells = [f"{fallen(energy, real).sum()} of {len(energy)}"]
    cells += [f"{value:.1f}" for column in energy.T for value in (column.median(), column.max())]
    cells += [f"{share.mean():.2f} ± {share.std() / len(share) ** 0.5:.2f} %" for share in shares]
    return f"| {' | '.join([name, f'{len(images):,}', *cells])} |"


@torch.no_grad()
def with_patches(model: auxar.ImageModel, views: Tensor, *, patched: bool) -> Tensor:
    """Rows 5 to 10 that the prior draws below the upper half of `views`, which may end with a patch."""
    prior, half = model.chain.factors[-1], views.shape[2] // 2
    values, column = views.clone(), views.shape[3] // 2 - PATCH // 2
    if patched:
        signs = torch.randint(2, (len(views), views.shape[1], PATCH, PATCH), generator=torch.Generator().manual_seed(0))
        values[:, :, half - PATCH : half, column : column + PATCH] += MOVED * (2 * signs - 1)
    mask = (torch.arange(views.shape[2]) < half)[None, :, None].expand(len(views), *views.shape[2:])
    known = auxar.Known(values.clamp(0, prior.image.levels - 1), mask)
    request = auxar.SampleRequest(tuple(range(len(views))), depth=prior.depth, known=known)
    assert model.chain.sampler is not None
    return prior.given(auxar.Values()).draw(request, model.chain.sampler)[:, :, half:][:, :, BELOW]


def main() -> None:
    options = options_of(
        __doc__, run=Path, images=64, rules=["map"], min_weights=[0.0, 0.05], batch_size=64, patches=False
    )
    limited = auxar.load(options.run, device="cpu")
    models = {"": limited, " without limits": attrs.evolve(limited, chain=limited.chain.without_limits())}
    data = auxar.load_images(limited)
    heldout, training = (part.spaced_examples(options.images)["image"].long() for part in (data.heldout, data.train))
    images = {"held-out images": heldout}
    real = torch.cat([energies(heldout), energies(training)])
    if options.patches:
        views = limited.chain.by_depth(limited.chain.values(heldout))[-1]
        images = {"held-out images": views[:, :, views.shape[2] // 2 :][:, :, BELOW]}
        real = energies(images["held-out images"])
        for name, model in models.items():
            images |= {f"drawn{name}": with_patches(model, views, patched=False)}
            images |= {f"drawn below a patch{name}": with_patches(model, views, patched=True)}
    print(HEADER)
    levels = limited.image.levels
    for name, values in images.items():
        print(line(name, values, levels, real), flush=True)
    if options.patches:
        return
    draws = {"batch_size": options.batch_size, "progress": False}
    for name, model in models.items():
        drawn = model.sample(options.images, rule="ancestral", **draws).tensor
        print(line(f"ancestral{name}", drawn, levels, real), flush=True)
        if len(model.factors) > 1:
            views = model.chain.values(heldout)["view1"]
            drawn = model.draw_given(views, draws=1, rule="ancestral", **draws).tensor.flatten(0, 1)
            print(line(f"given held-out views{name}", drawn, levels, real), flush=True)
    for rule in [f"{name}:min_weight={weight}" for name in options.rules for weight in options.min_weights]:
        print(line(rule, limited.sample(options.images, rule=rule, **draws).tensor, levels, real), flush=True)


if __name__ == "__main__":
    main()
