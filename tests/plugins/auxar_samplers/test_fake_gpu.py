"""Tests that the engine `torch` keeps tensors on a GPU and reads none, with tensors that only pretend to be there.

They need a build of PyTorch with CUDA, but no GPU.
"""

import copy

import attrs
import pytest
import torch
from helpers.causal_networks import random_features, random_images
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from auxar import Adjustments, DrawSource, ForceSource, ImageSpec, Known, SampleRequest
from auxar.model import GivenView, Walk
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_pixelcnn.networks import FullNetwork, LightNetwork
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_rules import Reduced
from auxar_samplers import CachedSampler, WavefrontSampler
from auxar_samplers.compiler.program import Clock
from auxar_samplers.engines.torch import TorchEngine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="needs a build of PyTorch with CUDA"),
]

IMAGE = ImageSpec(3, height=4, width=4)
MASK = torch.arange(16).view(1, 4, 4).expand(2, -1, -1) % 3 == 0


def on_gpu(value, made):
    """Returns a copy with fake tensors on a GPU, which shares them as the original does. `made` has earlier copies."""
    if id(value) in made:
        return made[id(value)][1]
    found: object = value
    if isinstance(value, Tensor):
        found = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cuda")
    elif isinstance(value, tuple | list):
        found = type(value)(on_gpu(each, made) for each in value)
    elif isinstance(value, Walk) or (attrs.has(type(value)) and not isinstance(value, ImageSpec | Adjustments | Clock)):
        found = copy.copy(value)
        names = vars(value) if isinstance(value, Walk) else [field.name for field in attrs.fields(type(value))]
        for name in names:
            object.__setattr__(found, name, on_gpu(getattr(value, name), made))
    made[id(value)] = value, found
    return found


def source_of(network, kind):
    if kind == "forced":
        return ForceSource(random_images(2, IMAGE), IMAGE)
    known = Known(random_images(2, IMAGE), MASK) if kind.startswith("known") else None
    request = SampleRequest((0, 1), rule=Reduced(), known=known)
    if kind.endswith("restricted"):
        view = PyramidView(PyramidConfig(2), IMAGE)
        assert view.support is not None
        request = attrs.evolve(request, given=GivenView(view.support, view(random_images(2, IMAGE)), True))
    return DrawSource.of(network, request)


@pytest.mark.parametrize("kind", ["free", "restricted", "known", "known and restricted", "forced"])
@pytest.mark.parametrize("head", [LogisticMixtureHead(IMAGE, 2), SoftmaxHead(IMAGE)])
@pytest.mark.parametrize(
    ("network", "options", "sampler"),
    [(LightNetwork, {"blocks": 1}, WavefrontSampler), (FullNetwork, {"nr_resnet": 1}, CachedSampler)],
)
@torch.no_grad()
def test_all_steps_run_on_the_gpu_alone(network, options, sampler, head, kind):
    made = network(IMAGE, head, filters=2, features_channels=2, dropout=0.0, **options).double().eval()
    source, sampler = source_of(made, kind), sampler("torch")
    program = sampler.program(made, sampler.prepare(made), random_features(made, 2), 2, source.reach, None)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        copies: dict[int, tuple[object, object]] = {}
        moved = on_gpu(attrs.evolve(program, fills=()), copies)
        if kind == "forced":
            source.image = on_gpu(source.image, copies)
        run = TorchEngine(record=False).prepare(moved, on_gpu(source, copies))
    # A mode raises if a value is read, if devices are mixed, or if a tensor is not on the fake GPU.
    mode.allow_non_fake_inputs = False
    with mode:
        run()
    assert moved.image.device.type == "cuda"
