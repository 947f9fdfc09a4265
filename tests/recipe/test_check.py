"""Tests of `auxar.check`, whose result is also given where the recipe cannot run."""

import logging

import pytest

import auxar


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.path=./nowhere", "data.path: "),
        *((f"data.path={file}", f"data.path: {file} is a file; expected") for file in ("/dev/zero", __file__)),
        ("training.init=nope", "training.init: "),
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
