"""Tests of integers for factors that are given a condition."""

import pytest
import torch
from test_conditioning import CONDITIONS, chain, softmax

from auxar.errors import UserError
from auxar.model import CausalDistribution, Factor, ImageSpec, Values
from auxar.model.condition import row_spec
from auxar.testing.examples import all_images, random_images, randomized
from auxar_integers.arithmetic import IntegerArithmetic
from auxar_integers.conversion import IntegerConfig
from auxar_pixelcnn import components

IMAGE = ImageSpec(3, height=4, width=4)


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_likelihoods_given_conditions_are_nearly_those_of_floats(condition):
    model = chain(condition, IMAGE, restricted=True)
    randomized(model, 3, size=0.3)
    images, given = random_images(40, IMAGE, 1), random_images(40, condition.spec, 2)
    values = model.values(images, condition=given)
    for factor in model.factors:
        arithmetic = IntegerArithmetic(IntegerConfig())
        converted = arithmetic.convert(factor, values)
        restored = arithmetic.restore(factor, converted).eval()
        others = [given, given.flip(0), *([None] if condition.optional else [])]
        with torch.no_grad():
            floats, integers = (
                torch.stack([each(values | {"condition": value}) for value in others]) for each in (factor, restored)
            )
        scale = floats.abs().mean()
        assert (floats - integers).abs().max() < 0.01 * scale
        # The effect of the condition is larger than the difference of floats and integers.
        for of_floats, of_integers in zip(floats[1:] - floats[:1], integers[1:] - integers[:1], strict=True):
            assert (of_floats - of_integers).abs().mean() < 0.5 * of_floats.abs().mean()
        if condition.optional:
            converted.tensors["null"].fill_(2**52)
            with pytest.raises(UserError, match="can reach"):
                arithmetic.restore(factor, converted)


@pytest.mark.parametrize("name", ["label", "attributes"])
def test_the_prior_of_a_condition_is_normalized_in_integers(name):
    condition = CONDITIONS[name]
    spec = row_spec(condition)
    network = components.light(components.LightConfig(filters=3, blocks=1, head=softmax(), dropout=0.0), spec)
    factor = randomized(Factor(CausalDistribution(network), models=condition), 0).eval()
    values = Values({"condition": all_images(condition.spec)})
    arithmetic = IntegerArithmetic(IntegerConfig())
    restored = arithmetic.restore(factor, arithmetic.convert(factor, values))
    with torch.no_grad():
        floats, integers = factor(values), restored.eval()(values)
    assert integers.exp().sum().item() == pytest.approx(1, abs=1e-4)
    assert (floats - integers).abs().max() < 0.05 * floats.abs().mean()
