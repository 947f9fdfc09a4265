"""Tests that every contract check of views fails for a view that breaks its law."""

import attrs
import pytest
import torch
from helpers.contract import tells

from auxar.errors import UserError
from auxar.model import ImageSpec, Interval, Known, View
from auxar.testing import ContractError, check_view, invariances


class Darkest(View):
    """A correct view, the minimum over channels, from which the broken ones are derived."""

    def __init__(self, config, image):
        self.image = image
        self.view = attrs.evolve(image, channels=1)

    def __call__(self, image):
        return image.amin(1, keepdim=True)


class Random(Darkest):
    def __call__(self, image):
        return torch.where(torch.rand(image[:, :1].shape) < 0.5, image[:, :1], image[:, -1:] * 0)


class Counting(Darkest):
    calls = 0

    def __call__(self, image):
        self.calls += 1
        return super().__call__(image) * (self.calls % 2)


class Range(Darkest):
    def __call__(self, image):
        return super().__call__(image) + 1


class Widened(Darkest):
    def __call__(self, image):
        return super().__call__(image).long()


class Overflowing(Darkest):
    def __call__(self, image):
        return (image[:, :1] + image[:, -1:]) // 2


class Mixing(Darkest):
    def __call__(self, image):
        gray = super().__call__(image)
        return torch.minimum(gray, gray.flip(0))


class Resized(Darkest):
    def __call__(self, image):
        return super().__call__(image)[:, :, :1]


class Channels(Darkest):
    def __init__(self, config, image):
        super().__init__(config, image)
        self.view = image


class Forgetful(Darkest):
    def __init__(self, config, image):
        super().__init__(config, image)
        self.image = attrs.evolve(image, levels=image.levels + 1)


class Writing(Darkest):
    def __call__(self, image):
        image[:, 0] = image.amin(1)
        return image[:, :1].clone()


class Strided(Darkest):
    def __call__(self, image):
        height, width = self.image.height, self.image.width
        flat = image.as_strided((len(image), height * width), (image.stride(0), 1))
        return flat.clone().view(-1, 1, height, width)


class Guessing(Darkest):
    def known(self, known):
        return Known(self(known.filled()), torch.ones_like(known.mask))


class Ignorant(Darkest):
    def known(self, known):
        return Known(self(known.filled()), torch.zeros_like(known.mask))


class Rising(Darkest):
    monotone = True


class Falling(Rising):
    def __call__(self, image):
        return image.bitwise_not().amax(dim=1, keepdim=True) % self.image.levels


class Jumping(Rising):
    """A view that claims to be monotone, but whose values may rise by two if a sub-pixel rises by one."""

    def __call__(self, image):
        return super().__call__(image) // 2 * 2


class JumpsAtTheCorner(Rising):
    """A view whose value rises by two for one rise of the last pixel, from the second highest value to the highest."""

    def __call__(self, image):
        found = super().__call__(image)
        levels = self.image.levels
        if levels > 3:
            corner = found[:, :, -1, -1]
            found[:, :, -1, -1] = torch.where(corner == levels - 2, levels - 3, corner)
        return found


class Reseeding(Darkest):
    """A view with noise from a seed of its own, which resets the noise of everything else."""

    def __call__(self, image):
        torch.manual_seed(0)
        noise = torch.rand(self.image.height, self.image.width) < 0.5
        return torch.where(noise, super().__call__(image), image[:, :1])


class KnownOfTheFirst(Darkest):
    """A view that marks the pixels known that are known in the first image."""

    def known(self, known):
        return Known(self(known.filled()), known.mask[:1].expand_as(known.mask))


class KnownWithLimits(Darkest):
    """A view whose known pixels come with limits that exclude possible values."""

    def known(self, known):
        values = self(known.filled())
        return Known(values, known.mask, Interval(values, values))


class KnownFloats(Darkest):
    def known(self, known):
        return Known(self(known.filled()).double(), known.mask)


class KnownWrites(Darkest):
    """A view that changes the known pixels of the image."""

    def known(self, known):
        found = Known(self(known.filled()), known.mask.clone())
        known.mask.zero_()
        return found


class KnownInMemory(Darkest):
    """A view that reads the mask in the order of memory."""

    def known(self, known):
        mask = known.mask.as_strided(known.mask.shape, (known.mask.stride(0), self.image.width, 1))
        return Known(self(known.filled()), mask)


class Negative(Darkest):
    """A view that passes on limits, but does not exchange their ends."""

    def __call__(self, image):
        return self.image.levels - 1 - super().__call__(image)

    def known(self, known):
        found = super().known(known)
        if known.limits is None:
            return found
        return attrs.evolve(found, limits=Interval(self(known.limits.low), self(known.limits.high)))


class RefusesLimits(Darkest):
    def known(self, known):
        assert known.limits is None
        return super().known(known)


class FirstOfMany(Darkest):
    """A view that is right for the first 4 images of a batch."""

    def __call__(self, image):
        found = super().__call__(image)
        return torch.cat([found[:4], found[:1].expand(max(0, len(found) - 4), -1, -1, -1)])


class KnownInFewColumns(Darkest):
    """A view that marks all pixels beyond the sixteenth column as known."""

    def known(self, known):
        return Known(self(known.filled()), known.mask | (torch.arange(self.image.width) >= 16))


class JumpsInAColumn(Darkest):
    """A view that claims to be monotone, but whose values rise by two in one column."""

    monotone = True

    def __init__(self, config, image):
        super().__init__(config, image)
        self.view = attrs.evolve(self.view, levels=2 * image.levels)

    def __call__(self, image):
        found = super().__call__(image)
        found[..., 13:14] *= 2
        return found


class Rude(Darkest):
    def __init__(self, config, image):
        super().__init__(config, image)
        if image.height % 2:
            raise ValueError("odd")


class Picky(Darkest):
    def __init__(self, config, image):
        raise UserError("never")


class Failing(Darkest):
    def __call__(self, image):
        return super().__call__(image) // int(image.max())


def no_view(config, image):
    return "view"


class WithoutSpec(Darkest):
    def __init__(self, config, image):
        super().__init__(config, image)
        self.view = None  # type: ignore[assignment]


class CountsFours(Darkest):
    """A view that changes between calls with four images."""

    calls = 0

    def __call__(self, image):
        self.calls += len(image) == 4
        return super().__call__(image) * (self.calls % 2 if len(image) == 4 else 1)


class FilledUp(Darkest):
    """A view that returns an image for an empty batch."""

    def __call__(self, image):
        found = super().__call__(image)
        return found if len(image) else found.new_zeros(1, *self.view.shape)


class InDouble(Darkest):
    """A view that changes how all other code computes."""

    def __call__(self, image):
        torch.set_default_dtype(torch.float64)
        return super().__call__(image)


class KnownInBytes(Darkest):
    def known(self, known):
        return Known(self(known.filled()), known.mask.byte())


class KnownByChannel(Darkest):
    def known(self, known):
        return Known(self(known.filled()), known.mask[:, None])


class KnownColumn(Darkest):
    def known(self, known):
        return Known(self(known.filled())[..., :1], known.mask)


VIEWS = {
    no_view: "spec",
    WithoutSpec: "spec",
    CountsFours: "determinism",
    FilledUp: "shape",
    InDouble: "state",
    KnownInBytes: "known",
    KnownByChannel: "known",
    KnownColumn: "known",
    Random: "state",
    Counting: "determinism",
    Range: "range",
    Widened: "dtype",
    Overflowing: "dtype",
    Mixing: "batch",
    Resized: "shape",
    Channels: "shape",
    Forgetful: "spec",
    Writing: "inputs",
    Strided: "layout",
    Guessing: "known",
    Ignorant: "known",
    Falling: "monotone",
    Jumping: "monotone",
    JumpsAtTheCorner: "monotone",
    Reseeding: "state",
    KnownOfTheFirst: "known",
    KnownWithLimits: "known",
    KnownFloats: "known",
    KnownWrites: "inputs",
    KnownInMemory: "known",
    Negative: "known",
    RefusesLimits: "runs",
    FirstOfMany: "batch",
    KnownInFewColumns: "known",
    JumpsInAColumn: "monotone",
    Rude: "build",
    Picky: "build",
    Failing: "runs",
}


def test_a_right_view_passes():
    check_view(Darkest, None)
    check_view(Rising, None)
    check_view(Darkest, None, images=[ImageSpec(4, height=2, width=3, levels=7)])


@pytest.mark.parametrize(("view", "message"), VIEWS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_view_is_caught_by_the_law_it_breaks(view, message, request):
    if view not in (Widened, Mixing):  # The messages of these name a detail of the smallest example.
        request.getfixturevalue("first_example")
    with pytest.raises(ContractError) as error:
        check_view(view, None)
    tells(error, message)


def test_the_smallest_counterexample_is_shown():
    class Late(Darkest):
        def __call__(self, image):
            return super().__call__(image) + (image.sum((1, 2, 3), keepdim=True) > 700)

    with pytest.raises(ContractError, match=r"image = ") as error:
        check_view(Late, None, images=[ImageSpec(1, height=2, width=2)])
    assert "255" in str(error.value)


def test_a_view_that_fails_for_a_single_image_is_shown_this_image():
    class InPairs(Darkest):
        def __call__(self, image):
            return super().__call__(image.view(-1, 2, *image.shape[1:]).flatten(0, 1))

    image = ImageSpec(1, height=1, width=1, levels=2)
    message = r"^runs: the view failed with RuntimeError: .*\n  input = \[\[\[\[\d\]\]\]\]"
    with pytest.raises(ContractError, match=message):
        check_view(InPairs, None, images=[image])


def test_a_view_must_stay_on_the_device_of_the_image(monkeypatch):
    class OnTheCpu(Darkest):
        def __call__(self, image):
            return torch.zeros(len(image), *self.view.shape, dtype=image.dtype)

    monkeypatch.setattr(invariances, "devices", lambda: [torch.device("cpu"), torch.device("meta")])
    with pytest.raises(ContractError) as error:
        check_view(OnTheCpu, None, images=[ImageSpec(1, height=1, width=1)])
    tells(error, "device")


def test_a_size_that_was_asked_for_must_be_accepted():
    with pytest.raises(ContractError, match="never"):
        check_view(Picky, None, images=[ImageSpec(height=2, width=2)])
