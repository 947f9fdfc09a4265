"""Tests of models that are given a condition: p(X, X̂ | y) = p(X̂ | y) p(X | X̂, y), and p(y) if it is modeled."""

import itertools
import math
from typing import Any

import pytest
import torch
from helpers.values import values_of
from hypothesis import given, settings
from hypothesis import strategies as st

import auxar
from auxar.errors import UserError
from auxar.model import CausalDistribution, Chain, Condition, Conditioning, Factor, ImageSpec
from auxar.model.condition import row_spec
from auxar.testing import check_conditions
from auxar.testing.examples import all_images, random_images, randomized
from auxar_heads import logistic_mixture
from auxar_pixelcnn import components
from auxar_pixelcnn.condition import CategoriesEmbedding, PixelsEmbedding
from auxar_pyramid import PyramidConfig, PyramidView

IMAGE = ImageSpec(1, height=2, width=2, levels=2)
ONE = {"height": 1, "width": 1}
CONDITIONS = {
    "label": Condition("label", ImageSpec(1, levels=5, **ONE)),
    "label, optional": Condition("label", ImageSpec(1, levels=3, **ONE), optional=True),
    "attributes": Condition("attributes", ImageSpec(3, levels=2, **ONE), ("a", "b", "c"), optional=True),
    "mask": Condition("mask", ImageSpec(1, height=2, width=2, levels=3)),
    "image": Condition("image", ImageSpec(3, height=2, width=2, levels=256), optional=True),
    "larger image": Condition("image", ImageSpec(1, height=4, width=8, levels=7)),
}
LIGHT = components.LightConfig(filters=4, blocks=1, head=logistic_mixture(2), dropout=0.0)


def embedding(condition: Condition, image: ImageSpec) -> auxar.Embedding:
    kind = PixelsEmbedding if condition.kind == "image" else CategoriesEmbedding
    return kind(condition.spec, image, filters=3, blocks=0 if condition.is_vector else 1, dropout=0.0)


def prior(condition: Condition, image: ImageSpec) -> Chain:
    conditioning = Conditioning(condition, embedding(condition, image))
    network = components.light(LIGHT, image, conditioning.features_channels)
    return Chain([Factor(CausalDistribution(network), conditioning=conditioning)])


def chain(condition: Condition, image: ImageSpec = IMAGE, *, restricted: bool = False, modeled: bool = False) -> Chain:
    """A chain of one pyramid view, whose factors are given the condition."""
    view = PyramidView(PyramidConfig(2), image)
    own = components.EmbeddingConfig(filters=3, blocks_per_group=1, dropout=0.0)
    features = components.embedding(own, view.view, image)
    conditioning = Conditioning(condition, embedding(condition, image))
    channels = features.features_channels + conditioning.features_channels
    decoder = CausalDistribution(components.light(LIGHT, image, channels))
    stage = Factor(decoder, view=view, embedding=features, restricted=restricted, conditioning=conditioning)
    of_condition = None
    if modeled:
        config = components.LightConfig(filters=3, blocks=1, head=softmax(), dropout=0.0)
        of_condition = Factor(CausalDistribution(components.light(config, row_spec(condition))), models=condition)
    return Chain([stage, prior(condition, view.view)], of_condition)


def modeled(condition: Condition, seed: int) -> Factor:
    """The factor p(y) of a chain with random weights."""
    model = chain(condition, modeled=True)
    randomized(model, seed)
    assert model.condition_factor is not None
    return model.condition_factor


def softmax() -> auxar.HeadChoice:
    return auxar.HeadChoice.from_recipe("softmax", auxar.load_plugins(), "head")


@pytest.mark.parametrize("restricted", [False, True], ids=["free", "restricted"])
@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_models_with_a_condition_fulfil_their_contract(condition, restricted):
    check_conditions(chain(condition, restricted=restricted))


PAIR = Condition("image", ImageSpec(1, height=2, width=2, levels=2))
"""The condition of a pair of images, both of which can be enumerated."""


@settings(deadline=None, max_examples=8)
@given(condition=st.sampled_from([CONDITIONS["label"], CONDITIONS["attributes"], PAIR]), seed=st.integers(0, 2**20))
def test_the_joint_probabilities_of_images_and_conditions_sum_to_one(condition, seed):
    model = randomized(chain(condition, restricted=True, modeled=True), seed)
    factor = model.condition_factor
    assert factor is not None
    images, conditions = all_images(IMAGE), all_images(condition.spec)
    with torch.no_grad():
        log_y = factor(values_of(factor, conditions))
        assert math.isclose(log_y.exp().sum().item(), 1, abs_tol=1e-9)
        given_y = [model.log_prob(images, condition=y.expand(len(images), *y.shape)) for y in conditions]
        total = (torch.stack(given_y, 1) + log_y).exp().sum().item()
    assert math.isclose(total, 1, abs_tol=1e-9)


def test_a_new_model_predicts_the_frequencies_of_the_conditions_of_a_batch():
    condition = CONDITIONS["label, optional"]
    model = chain(condition, modeled=True)
    labels = torch.tensor([1, -1, 1, 1, 2, 1, -1, -1]).view(8, 1, 1, 1)
    model.initialize(random_images(8, IMAGE, 0), condition=labels)
    assert model.condition_factor is not None
    with torch.no_grad():
        p = model.condition_factor(values_of(model.condition_factor, all_images(condition.spec))).exp()
    assert p.tolist() == pytest.approx([1 / 8, 5 / 8, 2 / 8])


def test_attributes_are_predicted_from_those_before_them():
    condition = CONDITIONS["attributes"]
    factor, y = modeled(condition, 5), all_images(condition.spec)
    with torch.no_grad():
        p = factor(values_of(factor, y)).exp().view(2, 2, 2)
    independent = torch.einsum("a,b,c->abc", p.sum((1, 2)), p.sum((0, 2)), p.sum((0, 1)))
    assert not torch.allclose(p, independent, atol=1e-3)


def test_the_null_condition_has_weights_of_its_own():
    condition = CONDITIONS["label, optional"]
    model = randomized(chain(condition), 1).eval()
    images = random_images(4, IMAGE, 1)
    null = model.log_prob(images, condition=condition.nulls(4)).detach()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "conditioning.embedding" in name:
                parameter.add_(1)
    assert torch.equal(model.log_prob(images).detach(), null)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("conditioning.null"):
                parameter.add_(1)
    assert not torch.allclose(model.log_prob(images).detach(), null)


def test_no_value_of_a_larger_condition_is_lost():
    spec = ImageSpec(1, height=4, width=6, levels=3)
    found = randomized(CategoriesEmbedding(spec, ImageSpec(1, height=2, width=2), filters=5, blocks=0, dropout=0.0), 0)
    base = torch.zeros((1, *spec.shape), dtype=torch.int64)
    for row, column in itertools.product(range(4), range(6)):
        changed = base.clone()
        changed[0, 0, row, column] = 1
        different = (found(changed) != found(base)).any(1)[0]
        assert different.nonzero().tolist() == [[row // 2, column // 3]]


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="whole multiples"):
        CategoriesEmbedding(ImageSpec(1, height=3, width=3), IMAGE, filters=2, blocks=0, dropout=0.0)
    with pytest.raises(UserError, match="at most 65,536 categories"):
        CategoriesEmbedding(ImageSpec(1, levels=2**17, **ONE), IMAGE, filters=2, blocks=0, dropout=0.0)


def test_a_condition_of_the_wrong_form_is_refused():
    label, optional = prior(CONDITIONS["label"], IMAGE), prior(CONDITIONS["label, optional"], IMAGE)
    plain = Chain([Factor(CausalDistribution(components.light(LIGHT, IMAGE)))])
    images, none = random_images(2, IMAGE, 0), torch.zeros(2, 1, 1, 1, dtype=torch.int64)
    for call, condition, message in (
        (label.log_prob, None, "requires a condition"),
        (label.log_prob, none[..., 0, 0], r"expected shape \(b, 1, 1, 1\)"),
        (label.bits_per_dim, none + 5, r"expected integers in \[0, 5\)"),
        (label.bits_per_dim, none - 1, "not trained with the null condition"),
        (label.log_prob, none[[0, 0, 0]], "condition: expected a row for each of the 2 of image, got 3"),
        (optional.log_prob, None, "prior: training needs the condition of each image; -1 is the null condition"),
        (plain.bits_per_dim, none, "has no condition"),
        (plain.log_prob, none, "condition: this model has no condition; leave it out"),
    ):
        with pytest.raises(UserError, match=message):
            call(images, condition=condition)
    assert optional.eval().bits_per_dim(images).shape == (2,)


def test_factors_with_different_conditions_are_refused():
    first, second = chain(CONDITIONS["label"]), chain(CONDITIONS["label, optional"])
    with pytest.raises(UserError, match="different conditions"):
        Chain([*first.factors[:-1], second.factors[-1]])
    with pytest.raises(UserError, match="no condition, so the condition cannot be modeled"):
        Chain([Factor(CausalDistribution(components.light(LIGHT, IMAGE)))], modeled(CONDITIONS["label"], 0))
    with pytest.raises(UserError, match="with the condition y of the other factors"):
        Chain(list(first.factors), modeled(CONDITIONS["attributes"], 0))
    wrong: Any = prior(CONDITIONS["label"], IMAGE)
    with pytest.raises(UserError, match="with the condition y of the other factors"):
        Chain(list(first.factors), wrong)
    with pytest.raises(UserError, match="the prior of the condition is over"):
        Factor(CausalDistribution(components.light(LIGHT, IMAGE)), models=CONDITIONS["label"])
    with pytest.raises(UserError, match="pass it as condition_factor"):
        Chain([modeled(CONDITIONS["label"], 0)])
    optional = modeled(CONDITIONS["label, optional"], 0)
    for missing in (None, CONDITIONS["label, optional"].nulls(2)):
        with pytest.raises(UserError, match="the condition of each image is required, not the null condition"):
            optional(values_of(optional, missing))


def test_the_condition_of_a_label_has_one_pixel():
    with pytest.raises(UserError, match="has one pixel, got 2×2×1"):
        Condition("label", IMAGE)
    with pytest.raises(UserError, match="expected one of label, attributes, mask, image"):
        Condition("text", IMAGE)  # type: ignore[arg-type]
