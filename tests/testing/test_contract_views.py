"""Tests that every contract check of views fails for a view that breaks its law."""

import attrs
import pytest
import torch
from helpers.contract import alternately, before, breaks, cases, mutant, setting, then

from auxar.errors import UserError
from auxar.model import ImageSpec, Interval, Known, View
from auxar.testing import ContractError, check_view
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_pyramid import PyramidConfig, PyramidView


class Darkest(View):
    """A correct view, the minimum over channels, from which the broken ones are derived."""

    def __init__(self, config, image):
        self.image = image
        self.view = attrs.evolve(image, channels=1)

    def __call__(self, image):
        return image.amin(1, keepdim=True)


def darkest(law, call=None, **edits):
    """The darkest view with other values, or with other edits."""
    return law, mutant(Darkest, **edits | ({"__call__": call} if call else {}))


def claiming(call=None, **edits):
    """A view that is wrongly said to be monotone."""
    return darkest("monotone", call, monotone=True, **edits)


def known(law, values=lambda values: values, mask=lambda mask: mask):
    """A view whose known values and mask are changed."""
    return darkest(law, known=lambda self, right, found: Known(values(self(found.filled())), mask(found.mask)))


class Striped(Darkest):
    """The darkest value in even rows, and the brightest one in odd rows."""

    any_size = True
    stride = (2, 1)

    def at(self, image):
        return type(self)(None, image)

    def __call__(self, image):
        odd = torch.arange(image.shape[2]).view(-1, 1) % 2
        return torch.where(odd == 1, image.amax(1, keepdim=True), image.amin(1, keepdim=True))


# Faults in values


def filled_up(self, right, image):
    return right(image) if len(image) else image.new_zeros(1, *self.view.shape)


def first_of_many(found):
    return torch.cat([found[:4], found[:1].expand(max(0, len(found) - 4), -1, -1, -1)])


def falling(self, right, image):
    return image.bitwise_not().amax(dim=1, keepdim=True) % self.image.levels


def jumps_at_the_corner(self, right, image):
    """The value rises by two for one rise of the last pixel, from the second highest value to the highest."""
    found, levels = right(image), self.image.levels
    if levels > 3:
        corner = found[:, :, -1, -1]
        found[:, :, -1, -1] = torch.where(corner == levels - 2, levels - 3, corner)
    return found


# Faults in known pixels


def writes_known(self, right, found):
    kept = Known(self(found.filled()), found.mask.clone())
    found.mask.zero_()
    return kept


def known_in_memory(mask):
    return mask.as_strided(mask.shape, (mask.stride(0), mask.shape[2], 1))


def unexchanged(self, right, found):
    """Limits are passed on, but their ends are not exchanged."""
    kept = right(found)
    if found.limits is None:
        return kept
    return attrs.evolve(kept, limits=Interval(self(found.limits.low), self(found.limits.high)))


def no_limits(self, right, found):
    assert found.limits is None
    return right(found)


def rude(self, right, config, image):
    right(config, image)
    if image.height % 2:
        raise ValueError("odd")


def picky(*arguments):
    raise UserError("never")


VIEWS = {
    "no view": ("spec", lambda config, image: "view"),
    "without a spec": darkest("spec", __init__=setting(view=None)),
    "another image": darkest("spec", __init__=setting(image=lambda view: attrs.evolve(view.image, levels=1000))),
    "counts": darkest("determinism", alternately(torch.zeros_like)),
    "filled up": darkest("shape", filled_up),
    "channels": darkest("shape", __init__=setting(view=lambda view: view.image)),
    "out of range": darkest("range", then(lambda found: found + 1)),
    "widened": darkest("dtype", then(torch.Tensor.long)),
    "first of many": darkest("batch", then(first_of_many)),
    "rude": darkest("build", __init__=rude),
    "picky": darkest("build", __init__=picky),
    "falling": claiming(falling),
    "jumps at the corner": claiming(jumps_at_the_corner),
    "known in bytes": known("known", mask=torch.Tensor.byte),
    "known floats": known("known", values=torch.Tensor.double),
    "guessing": known("known", mask=torch.ones_like),
    "ignorant": known("known", mask=torch.zeros_like),
    "known of the first": known("known", mask=lambda mask: mask[:1].expand_as(mask)),
    "known in few columns": known("known", mask=lambda mask: mask | (torch.arange(mask.shape[2]) >= 16)),
    "known in memory": known("known", mask=known_in_memory),
    "writes known": darkest("inputs", known=writes_known),
    "unexchanged": darkest("known", lambda self, right, image: self.image.levels - 1 - right(image), known=unexchanged),
    "no limits": darkest("runs", known=no_limits),
    "shifted by a row": ("stride", mutant(Striped, stride=(1, 1))),
}


def test_a_right_view_passes():
    check_view(mutant(Darkest, monotone=True), None)
    check_view(Striped, None)
    check_view(Darkest, None, images=[ImageSpec(4, height=2, width=3, levels=7)])


@pytest.mark.parametrize(("law", "view"), cases(VIEWS))
def test_a_broken_view_is_caught_by_the_law_it_breaks(law, view, request):
    if law not in ("dtype", "batch"):  # The first example that breaks these laws breaks other laws, too.
        request.getfixturevalue("first_example")
    breaks(law, check_view, view, None)


def test_the_smallest_counterexample_is_shown():
    def late(self, right, image):
        return right(image) + (image.sum((1, 2, 3), keepdim=True) > 700)

    found = breaks("range", check_view, mutant(Darkest, __call__=late), None, images=[ImageSpec(1, height=2, width=2)])
    assert "input = " in found
    assert "255" in found


def test_a_view_that_fails_for_a_single_image_is_shown_this_image():
    in_pairs = before(image=lambda image: image.view(-1, 2, *image.shape[1:]).flatten(0, 1))
    message = r"^runs: the view failed with RuntimeError: .*\n  input = \[\[\[\[\d\]\]\]\]"
    with pytest.raises(ContractError, match=message):
        check_view(mutant(Darkest, __call__=in_pairs), None, images=[ImageSpec(1, height=1, width=1, levels=2)])


def test_a_size_that_was_asked_for_must_be_accepted():
    with pytest.raises(ContractError, match="never"):
        check_view(VIEWS["picky"][1], None, images=[ImageSpec(height=2, width=2)])


# Faults in the views that ship


def pyramid(law, factor=2, **edits):
    return law, mutant(PyramidView, **edits), PyramidConfig(factor)


def grayscale(law, levels, **edits):
    return law, mutant(GrayscaleView, **edits), GrayscaleConfig(levels)


def white_sums(self, right, view):
    """The sums of squares just below white include a sum that is too large by one."""
    lowest, highest = right(view)
    return lowest, highest + (view.flatten(1) == self.image.levels - 2).to(torch.int64)


def turned_squares(found):
    """The groups of sub-pixels are those of the transposed image, if it is not square."""
    number, weight = found
    turned = number.mT.reshape(number.shape) if number.shape[1] != number.shape[2] else number
    return turned, weight


SHIPPED = {
    "sums below white": pyramid("support", _sums=white_sums),
    "turned squares": pyramid("support", _blocks=then(turned_squares)),
    "blue first": grayscale("support", 4, __call__=before(image=lambda image: image.flip(1))),
    "shifted by a pixel": pyramid("stride", stride=property(lambda self: (1, 2))),
}


@pytest.mark.parametrize(("law", "view", "config"), cases(SHIPPED))
@pytest.mark.usefixtures("first_example")
def test_a_fault_in_a_shipped_view_is_caught(law, view, config):
    breaks(law, check_view, view, config)
