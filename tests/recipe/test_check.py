"""Tests of `auxar.check`, whose result is also given where the recipe cannot run."""

import logging

import pytest

import auxar
from auxar import UserError


def test_costs_are_those_of_the_factors():
    found = auxar.check("quickstart", settings=["training.precision=bf16"])
    recipe, registry = auxar.load_recipe("quickstart", ["training.precision=bf16"])
    assert found.factors == auxar.factor_costs(recipe, registry)
    assert (found.recipe, found.precision, found.mistake) == ("quickstart", "bf16", None)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.path=./nowhere", "data.path: "),
        ('training.trackers=["tensorbord"]', "training.trackers: Accelerate has no tracker named 'tensorbord'"),
    ],
)
def test_a_mistake_of_this_machine_is_beside_the_costs(setting, message):
    found = auxar.check("quickstart", settings=[setting])
    assert len(found.factors) == 3
    assert str(found.mistake).startswith(message)


def test_a_name_that_may_be_on_the_hub_is_logged(caplog):
    caplog.set_level(logging.INFO, "auxar")
    assert auxar.check("quickstart", settings=["data.path=some/photos"]).mistake is None
    assert "'some/photos' is no file or folder on this machine: `auxar run` looks for it on the" in caplog.text


def test_a_wrong_recipe_has_no_result():
    with pytest.raises(UserError, match="training: unknown key 'step'"):
        auxar.check("quickstart", settings=["training.step=1"])
    with pytest.raises(UserError, match=r"^recipe: expected a path"):
        auxar.check(None)  # type: ignore[arg-type]
