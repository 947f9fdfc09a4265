"""Tests of the conditions that users give: values of many types, texts, and the images that they are given to."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import auxar
from auxar.draw.conditions import Conditions, as_conditions
from auxar.errors import UserError
from auxar.model import Condition, ImageSpec

ONE = {"height": 1, "width": 1}
LABEL = Condition("label", ImageSpec(1, levels=3, **ONE), ("cat", "dog", "owl"), optional=True)
ATTRIBUTES = Condition("attributes", ImageSpec(3, levels=2, **ONE), ("a", "b", "c"), optional=True)
MASK = Condition("mask", ImageSpec(1, height=2, width=3, levels=3))


def values(value: Any, condition: Condition) -> list[list[int]]:
    found = as_conditions(value, condition, None).values
    assert found is not None
    assert found.dtype == torch.int64
    return found.flatten(1).tolist()


@pytest.mark.parametrize(
    ("value", "condition", "expected"),
    [
        ("dog", LABEL, [[1]]),
        ("2", LABEL, [[2]]),
        (["owl", 0, None], LABEL, [[2], [0], [-1]]),
        (torch.tensor([2, 1], dtype=torch.uint8), LABEL, [[2], [1]]),
        (np.array([0, 1, 2])[::-1], LABEL, [[2], [1], [0]]),
        (np.array(["cat", "owl"]), LABEL, [[0], [2]]),
        ({"label": ["cat", "dog"]}, LABEL, [[0], [1]]),
        (torch.tensor([-1, 2]), LABEL, [[-1], [2]]),
        (["a", "c"], ATTRIBUTES, [[1, 0, 1]]),
        ([], ATTRIBUTES, [[0, 0, 0]]),
        ("c, b", ATTRIBUTES, [[0, 1, 1]]),
        ([["a"], []], ATTRIBUTES, [[1, 0, 0], [0, 0, 0]]),
        ([[-1, 1, 1]], ATTRIBUTES, [[0, 1, 1]]),
        ({"a": True, "b": False, "c": 1}, ATTRIBUTES, [[1, 0, 1]]),
        (torch.tensor([1, 0, 1]), ATTRIBUTES, [[1, 0, 1]]),
        (torch.tensor([[True, False, True]]), ATTRIBUTES, [[1, 0, 1]]),
        (torch.tensor([[-1, -1, -1]]), ATTRIBUTES, [[-1, -1, -1]]),
        (["label=owl,cat", "label=1"], LABEL, [[2], [0], [1]]),
        ("label=all", LABEL, [[0], [1], [2]]),
        (["dog", "none", "all"], LABEL, [[1], [-1], [0], [1], [2]]),
        ({"label": "owl,cat"}, LABEL, [[2], [0]]),
        (["attributes=a,c", "attributes="], ATTRIBUTES, [[1, 0, 1], [0, 0, 0]]),
        (["attributes=a", "none"], ATTRIBUTES, [[1, 0, 0], [-1, -1, -1]]),
        (["a,c", "b"], ATTRIBUTES, [[1, 0, 1], [0, 1, 0]]),
        (["none", "c"], ATTRIBUTES, [[-1, -1, -1], [0, 0, 1]]),
        ("", ATTRIBUTES, [[0, 0, 0]]),
    ],
    ids=str,
)
def test_values_of_many_types_are_conditions(value, condition, expected):
    assert values(value, condition) == expected


def test_masks():
    mask = np.array([[0, 1, 2], [2, 1, 0]], np.uint16)
    assert values(mask, MASK) == [[0, 1, 2, 2, 1, 0]]
    assert values(mask[:, ::-1], MASK) == [[2, 1, 0, 0, 1, 2]]
    assert values(torch.from_numpy(mask.astype(np.uint8))[None], MASK) == [[0, 1, 2, 2, 1, 0]]
    assert as_conditions(mask, MASK, None).of(range(0)).shape == (0, 1, 2, 3)
    with pytest.raises(UserError, match=r"expected integers in \[0, 3\), got -1 … 2"):
        values(mask.astype(int) - np.eye(2, 3, dtype=int), MASK)
    with pytest.raises(UserError, match="no recipe, which says how pictures are converted"):
        values(Image.fromarray(mask.astype(np.uint8)), MASK)


@pytest.mark.parametrize(
    ("value", "condition", "message"),
    [
        ("dgo", LABEL, "condition: the label 'dgo' is no class; did you mean 'dog'"),
        (3, LABEL, "condition: the label 3 is no class; expected an integer from 0 to 2"),
        ([["cat"]], LABEL, r"condition: the label \['cat'\] is no class"),
        ({"mask": 1}, LABEL, "expected the key 'label', got 'mask'"),
        (torch.tensor([1.5]), LABEL, r"expected integers in \[0, 3\), got a tensor of torch.float32"),
        (torch.tensor([3]), LABEL, r"expected integers in \[0, 3\), got 3 … 3"),
        (np.ma.array([0, 1], mask=[False, True]), LABEL, "condition: expected an array without a mask"),
        (["d"], ATTRIBUTES, "the attribute 'd' is unknown"),
        ({"a": 1}, ATTRIBUTES, "the attribute 'b' is missing"),
        ([[1, 0]], ATTRIBUTES, "there are 2 attributes; expected 3"),
        ([[1, 0, 5]], ATTRIBUTES, "the attribute 'c' is 5; expected true or false"),
        (np.array([-1, -1, -1]), ATTRIBUTES, r"expected integers in \[0, 2\), got -1"),
        (np.array([2**64 - 1], np.uint64), LABEL, r"expected integers in \[0, 3\), got -1"),
        (torch.tensor([-1, 1, 1]), ATTRIBUTES, r"expected integers in \[0, 2\), got -1 … 1"),
        (None, MASK, "this model requires a condition"),
        (torch.zeros(2, 1, 8, 8, device="meta"), MASK, "condition: expected a dense tensor, got a sparse, nested, "),
        (torch.quantize_per_tensor(torch.ones(2, 1, 8, 8), 1.0, 0, torch.quint8), MASK, "condition: expected a dense "),
        ("", MASK, "condition: expected a path, got ''"),
        ("no.png", MASK, "condition: there is no file or folder no.png"),
        ([], MASK, "expected at least one condition, got an empty list"),
        (torch.zeros((0, 1, 2, 3), dtype=torch.int64), MASK, "expected at least one condition"),
        (3, MASK, "expected a picture, its path, or a tensor of integers"),
        (Conditions(torch.full((1, 1, 1, 1), 9), ("x",)), LABEL, "got 9 … 9"),
        ("label=none", LABEL, "condition: the label 'none' is no class"),
        ("mask=a.png", LABEL, "condition: expected label=NAME or none, .* of the kind 'label', got 'mask=a.png'"),
        ("lable=cat", LABEL, "condition: expected label=NAME or none, .* got 'lable=cat'"),
        (["label=cat"], ATTRIBUTES, "condition: expected attributes=NAME,NAME or none, .* got 'label=cat'"),
        ("all", ATTRIBUTES, "condition: the attribute 'all' is unknown"),
        ("label=cat", MASK, "condition: expected mask=FILE, because .* of the kind 'mask', got 'label=cat'"),
        ("none", MASK, "condition: this model requires a condition"),
        ("label=cat", None, "condition: this model has no condition"),
    ],
    ids=str,
)
def test_wrong_values_are_one_error(value, condition, message):
    with pytest.raises(UserError, match=message):
        as_conditions(value, condition, None)


def test_a_class_may_be_named_none_or_all():
    """The name of a class comes before the other meanings of a text. Python's None is always the null condition."""
    label = Condition("label", ImageSpec(1, levels=4, **ONE), ("none", "all", "a,b", "label=c"), optional=True)
    assert values(["label=none", "label=all", "none", "all", None], label) == [[0], [1], [0], [1], [-1]]
    assert values(["label=a,b", "a,b", "label=c", "label=label=c", "none,all"], label) == [[2], [2], [3], [3], [0], [1]]


def test_an_attribute_may_have_a_name_with_a_comma():
    attributes = Condition("attributes", ImageSpec(3, levels=2, **ONE), ("a,b", "none", "c=d"), optional=True)
    assert values(["a,b", "c=d"], attributes) == [[1, 0, 1]]
    assert values("none", attributes) == [[0, 1, 0]]
    assert values(["a,b", "none", None], attributes) == [[1, 0, 0], [0, 1, 0], [-1, -1, -1]]


@pytest.mark.parametrize("drop", [0.0, 0.1])
def test_likelihoods_need_a_condition_and_draws_take_all_classes(drop):
    model = auxar.build(
        "quickstart", ["condition={ kind='label', column='label', names=['a', 'b'] }", f"condition.drop={drop}"]
    )
    drawn = model.sample(2, rule="map")
    assert torch.equal(drawn.tensor, model.sample(2, rule="map", condition=["a", "b"]).tensor)
    for method in (model.log_prob, model.log_probs, model.bits_per_dim, model.pixel_bits):
        with pytest.raises(UserError, match=r"^condition: this model (is given a condition of the kind|requires)"):
            method(drawn)
    if drop:
        assert torch.equal(model.log_prob(drawn, condition="none"), model.log_prob(drawn, condition=[None]))
