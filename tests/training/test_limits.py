"""Tests of the choice of limits at the end of training, and of the files that hold them."""

import json
import math

import pytest
import torch
from helpers.evaluations import with_metadata
from helpers.tiny_runs import run, tiny

import auxar
from auxar.errors import UserError
from auxar.files import read_metadata
from auxar.numerics.threads import ThreadChoice
from auxar.training.limits import MOST_COST, LimitChoice, images_for

NAME = "log_scales"
LIMITED = {"stage0": {NAME: -1.5}, "prior": {NAME: -2.0}}


def weights_of(folder, factor):
    return folder / "factors" / factor / "weights.safetensors"


def limits_of(model):
    return {factor.name: dict(factor.limits) for factor in model.chain.factors}


def written(folder):
    """The limits in the files of weights of a run."""
    entries = {name: read_metadata(weights_of(folder, name)).get("limits") for name in LIMITED}
    return {name: {} if entry is None else json.loads(entry) for name, entry in entries.items()}


@torch.no_grad()
def test_the_lowest_limits_that_cost_next_to_nothing_are_chosen(copied):
    """They are those of the file of weights. The next lower limit costs more."""
    model = auxar.load(copied)
    images = auxar.load_images(model).train
    views = model.chain.views(torch.stack([images[number] for number in range(len(images))]))
    assert written(copied) == limits_of(model)
    for factor in model.chain.factors:
        assert images_for(factor) > len(images)
        inputs, stored = factor.inputs(views)[:2], dict(factor.limits)
        values = factor.network.head.limitable[NAME]

        def cost(limit, factor=factor, inputs=inputs):
            bits = []
            for limits in ({NAME: limit}, {}):
                factor.limit(limits)
                bits.append(-factor(*inputs).mean().item() / math.log(2) / factor.image.dims)
            return bits[0] - bits[1]

        costs = [cost(value) for value in values]
        cheap = [value for value, bits in zip(values, costs, strict=True) if bits <= MOST_COST]
        assert stored == {NAME: min(cheap)}
        assert 0 < len(cheap) < len(values)
        # Any limits that a factor had before have no effect on the choice.
        factor.limit({NAME: values[-1]})
        batches = [
            tuple(None if part is None else part[rows] for part in inputs) for rows in (slice(7), slice(7, None))
        ]
        chosen = LimitChoice(factor, [(*batch, None) for batch in batches], ThreadChoice(None)).choose()
        assert factor.limits == stored
        assert chosen == {NAME: pytest.approx(costs[values.index(stored[NAME])], abs=1e-6)}


def test_a_recipe_leaves_limits_out(pictures, tmp_path):
    folder = run(tmp_path / "run", tiny(pictures, training__limits=False, training__steps=1, sampling__images=0))
    assert written(folder) == limits_of(auxar.load(folder)) == {"stage0": {}, "prior": {}}


def test_limits_go_with_the_weights_of_a_run(pictures, copied, tmp_path):
    for name, limits in LIMITED.items():
        with_metadata(weights_of(copied, name), limits=json.dumps(limits))
    model = auxar.load(copied)
    assert limits_of(model) == LIMITED
    model.save(tmp_path / "saved")
    auxar.export(copied, tmp_path / "exported")
    for folder in ("saved", "exported"):
        assert written(tmp_path / folder) == limits_of(auxar.load(tmp_path / folder)) == LIMITED
    # Weights that training starts from have no limits.
    table = tiny(pictures, training__steps=0, training__limits=False, sampling__images=0)
    table["training"]["init"] = str(copied)
    assert written(run(tmp_path / "next", table)) == {"stage0": {}, "prior": {}}


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"log_scale": -1.0}, "has no limit 'log_scale'; did you mean 'log_scales'"),
        ({NAME: 40.0}, "expected a number from -5 to 1, got 40"),
        ({NAME: "-1"}, "is damaged: in its metadata entry 'limits'"),
        ([-1.0], "is damaged: in its metadata entry 'limits'"),
    ],
)
def test_limits_that_a_head_does_not_have_are_refused(copied, limits, message):
    with_metadata(weights_of(copied, "prior"), limits=json.dumps(limits))
    with pytest.raises(UserError, match=message) as error:
        auxar.load(copied)
    assert str(weights_of(copied, "prior")) in str(error.value)
