"""Tests that a library is refused if its structures differ from those in Python."""

import ctypes
import logging

import pytest
import torch
from helpers.causal_networks import needs_native, sample

from auxar.errors import UserError
from auxar.model import ImageSpec, SampleRequest
from auxar_pixelcnn import components
from auxar_samplers import WavefrontSampler
from auxar_samplers.engines import UnavailableError
from auxar_samplers.engines.native import library as compiling
from auxar_samplers.engines.native import structures

pytestmark = needs_native
NAMES = [structure.__name__ for structure in structures.STRUCTURES]


@pytest.fixture
def loaded_again():
    """Makes this test and the tests after it load the library again."""
    compiling.attempt.cache_clear()
    yield
    compiling.attempt.cache_clear()


def longer(structure):
    """Returns the structure with one more field."""
    return type(structure.__name__, (ctypes.Structure,), {"_fields_": [*structure._fields_, ("more", ctypes.c_int64)]})


def test_the_librarys_structures_are_those_of_python():
    assert structures.differing(compiling.library()) == []


@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_a_library_with_another_size_is_refused_by_the_structures_name(monkeypatch, loaded_again, number):
    changed = [*structures.STRUCTURES]
    changed[number] = longer(changed[number])
    monkeypatch.setattr(structures, "STRUCTURES", tuple(changed))
    with pytest.raises(UnavailableError, match=f"structures.py differ in the structures: {NAMES[number]}$"):
        compiling.library()


def test_a_library_with_fewer_structures_is_refused(monkeypatch, loaded_again):
    monkeypatch.setattr(structures, "STRUCTURES", (*structures.STRUCTURES, longer(structures.Clock)))
    with pytest.raises(UnavailableError, match=r"structures.py differ in the structures: Clock, Operand"):
        compiling.library()


def test_without_a_library_that_fits_pytorch_samples(monkeypatch, loaded_again, caplog):
    image = ImageSpec(1, height=3, width=3, levels=3)
    network = components.light(components.LightConfig(filters=2, blocks=1), image)
    expected = sample(WavefrontSampler("torch"), network, SampleRequest((0,)))
    monkeypatch.setattr(structures, "STRUCTURES", (longer(structures.Clock), *structures.STRUCTURES[1:]))
    with caplog.at_level(logging.DEBUG, logger="auxar"):
        assert torch.equal(sample(WavefrontSampler("auto"), network, SampleRequest((0,))), expected)
    assert caplog.messages[-1] == "sampling with TorchEngine"
    with pytest.raises(UserError, match=r"^engine 'native': .* structures: Clock; use engine 'torch'"):
        sample(WavefrontSampler("native"), network, SampleRequest((0,)))
