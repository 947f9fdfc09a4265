"""Tests that the battery of invariances, which every contract check applies, finds a function that breaks one."""

import random

import attrs
import numpy as np
import pytest
import torch
from helpers.contract import alternately, before, breaks, cases, first, in_memory_order, mutant, then
from torch import nn

from auxar.testing import invariances
from auxar.testing.invariances import Function, check_invariances


class Right(nn.Module):
    """A right function of images and features, from which wrong ones are derived."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, image, features):
        return self.dropout(image.double() * 3 + features)


def right(law, forward, **edits):
    return law, mutant(Right, forward=forward, **edits)


def setting_to_zero(name):
    """An edit that writes into one of the arguments after the call."""

    def edit(self, right, image, features):
        found = right(image, features)
        {"image": image, "features": features}[name].zero_()
        return found

    return edit


def falling_asleep(mode):
    def edit(self, right, *given):
        found = right(*given)
        self.dropout.train(mode)
        return found

    return edit


def remembering(self, right, image, features):
    """Inputs are recognized by their place in memory."""
    if getattr(self, "key", None) != (key := (image.data_ptr(), image.shape, image.dtype)):
        self.key, self.kept = key, right(image, features)
    return self.kept


def contiguous(values):
    """Values with channels last, in the order of memory."""
    last = not values.is_contiguous() and values.is_contiguous(memory_format=torch.channels_last)
    return values.permute(0, 2, 3, 1).reshape(values.shape) if last else values


def of_dtype(dtype):
    return before(image=lambda image: image + (image.dtype == dtype))


FAULTS = {
    "raising": right("runs", lambda *arguments: 1 / 0),
    "writes images": right("inputs", setting_to_zero("image")),
    "writes features": right("inputs", setting_to_zero("features")),
    "seeding": right("state", first(lambda: torch.manual_seed(0))),
    "drawing": right("state", then(lambda found: nn.functional.dropout(found, 0.5))),
    "in double": right("state", first(lambda: torch.set_default_dtype(torch.float64))),
    "awake": right("mode", falling_asleep(True)),
    "alternating": right("determinism", alternately(lambda found: found + 1)),
    "random of numpy": right("determinism", then(lambda found: found + np.random.random())),
    "random of Python": right("determinism", then(lambda found: found + random.random())),
    "remembering": right("determinism", remembering),
    "of the first": right("batch", before(features=lambda features: features[:1].expand_as(features))),
    "of many": right("batch", then(lambda found: found + (len(found) > 1))),
    "of the last": right("batch", lambda self, right, x, features: right(x, features) + x.double().sum(0).argmax()),
    "image in memory": right("layout", before(image=in_memory_order)),
    "features in memory": right("layout", before(features=in_memory_order)),
    "channels last": right("layout", before(features=contiguous)),
    **{f"other in {dtype}": right("dtype", of_dtype(dtype)) for dtype in (torch.uint8, torch.int16, torch.int32)},
    "wrapping": right("dtype", before(image=lambda image: 2 * image)),
}


def function(kind, levels=256):
    module = kind().eval()
    return Function("the sum", lambda *given: {"the sum": module(*given)}, (levels,), module, 1e-12)


def inputs(levels=256):
    noise = torch.Generator().manual_seed(0)
    return torch.randint(levels, (3, 2, 3, 4), generator=noise), torch.randn(3, 2, 3, 4, generator=noise).double()


@pytest.mark.parametrize(("law", "kind"), cases(FAULTS))
def test_a_function_that_breaks_an_invariance_is_caught(law, kind):
    breaks(law, check_invariances, function(kind), *inputs())


def test_a_right_function_passes_and_its_results_are_returned():
    """Values of 300 levels do not fit into bytes, so they are not converted to them."""
    image, features = inputs(300)
    found = check_invariances(function(mutant(Right, forward=of_dtype(torch.uint8)), 300), image, features)
    assert torch.equal(found["the sum"], image.double() * 3 + features)
    rounded = attrs.evolve(function(Right), error=0.0, compute=lambda image: {"the sum": image.amax(1)})
    check_invariances(rounded, image % 256)
    breaks("batch", check_invariances, function(FAULTS["of many"][1]), *inputs(), skip=("layout", "dtype"))
    check_invariances(function(FAULTS["channels last"][1]), *inputs(), skip=("layout",))


@pytest.mark.parametrize("error", [1e-9, 1e-3])
def test_results_are_compared_on_all_devices(monkeypatch, error):
    """Up to rounding, if they are no integers."""

    def moved(self, right, device):
        self.place = device
        return right(device)

    def more_elsewhere(self, right, *given):
        return right(*given) + error * (self.place == torch.device("cpu:0"))

    monkeypatch.setattr(invariances, "devices", lambda: [torch.device("cpu"), torch.device("cpu:0")])
    kind = mutant(Right, place=None, to=moved, forward=more_elsewhere)
    if error < 1e-6:
        check_invariances(function(kind), *inputs())
    else:
        breaks("device", check_invariances, function(kind), *inputs())


def test_results_must_stay_on_the_device_of_the_inputs():
    elsewhere = then(lambda found: found.to("meta"))
    breaks("device", check_invariances, function(mutant(Right, forward=elsewhere)), *inputs())
