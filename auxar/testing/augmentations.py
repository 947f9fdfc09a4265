"""The contract of augmentations."""

import functools
from collections.abc import Sequence

from torch import Tensor

from auxar.model import Augmentation, ImageSpec
from auxar.testing.examples import NETWORK_SPECS, random_images
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import accepts, broken, calling, check_equal, check_options, check_range, check_tensor, runs

IMAGES = 5
"""Number of images of each shape."""
MOST = 30
"""Approximate maximum number of variants that are checked."""


def check_augmentation(augmentation: Augmentation, *, images: Sequence[ImageSpec] | None = None) -> None:
    """Checks the variants that an augmentation computes of random images.

    By default, images of several small shapes and ranges are tried, and those that the augmentation refuses with
    `UserError` are skipped. It must accept all of the given `images`. Raises `ContractError` if a law is broken:

    - `options`: no option is a path of a file, because runs do not keep files
    - `variants`: the number of variants is a positive integer, the same each time
    - `identity`: variant 0 is the image itself
    - `shape`, `dtype`, `range`: a variant has the shape, the dtype and the range of the images
    - `determinism`, `batch`, `layout`, `device`: a variant of an image depends on its values and the number alone
    - `dtype`: its values do not depend on the dtype
    - `inputs`: the augmentation does not change its arguments
    - `state`: nothing that other code shares is changed, so the variant is not drawn by the augmentation itself
    - `runs`: nothing else fails
    """
    check_options(augmentation)
    with runs("variants"):
        specs = images or [spec for spec in NETWORK_SPECS if accepts(functools.partial(augmentation.variants, spec))]
    if not specs:
        broken("runs", "the augmentation accepts none of the default images; pass supported ones with images=[…]")
    for spec in specs:
        with calling("variants"):
            count, again = augmentation.variants(spec), augmentation.variants(spec)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1 or count != again:
            broken("variants", f"expected an integer of at least 1, the same each time, got {count} and {again}")
        for variant in {*range(0, count, -(-count // MOST)), count - 1}:
            _check(augmentation, variant, spec)


def _check(augmentation: Augmentation, variant: int, spec: ImageSpec) -> None:
    def compute(values: Tensor) -> Results:
        found = augmentation(values, variant)
        check_tensor("a variant", found, values.shape, values.dtype, variant=variant)
        check_range("a variant", found, spec.levels, variant=variant)
        return {f"variant {variant}": found}

    values = random_images(IMAGES, spec, 0)
    found = check_invariances(Function("the augmentation", compute, (spec.levels,)), values)
    if variant == 0:
        check_equal("identity", "variant 0 must be the image itself", found["variant 0"], values)
