"""Tests of options that name a component: their form, and mistakes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
import tomli_w
from helpers.tiny_runs import TINY, changed

from auxar.errors import UserError
from auxar.model import Chain
from auxar.plugins import Registry
from auxar.recipe import recipe_text
from auxar.recipe.building import build_model
from auxar.recipe.choices import named_options, structure_options
from auxar.recipe.loading import parse_recipe
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead

MIXTURE = {"name": "logistic_mixture", "components": 2}
NETWORKS = {"pixelcnn": {"filters": 4}, "pixelcnn++": {"filters": 2, "nr_resnet": 1}, "transformer": {"width": 4}}


def table_of(prior: dict[str, Any], sampler: Any = "auto") -> str:
    return tomli_w.dumps(changed(tomllib.loads(TINY), prior=prior, sampling__sampler=sampler))


def parsed(*arguments: Any) -> Any:
    return parse_recipe(table_of(*arguments), Path("."))[0]


def refusal(*arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        parsed(*arguments)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    return said


# The form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("short", "full"),
    [
        ({}, {"head": {"name": "logistic_mixture", "components": 10}}),
        ({"head": "logistic_mixture"}, {"head": {"name": "logistic_mixture", "components": 10}}),
        ({"head": {"name": "logistic_mixture"}}, {"head": {"name": "logistic_mixture", "components": 10}}),
        ({"head": "softmax"}, {"head": {"name": "softmax"}}),
    ],
)
def test_defaults_of_a_head_are_filled_in(network, short, full):
    options = {"name": network, **NETWORKS[network]}
    assert parsed({**options, **short}) == parsed({**options, **full})


@pytest.mark.parametrize(("head", "kind"), [(MIXTURE, LogisticMixtureHead), ("softmax", SoftmaxHead)])
def test_a_resolved_recipe_is_read_back_and_builds_that_head(head, kind):
    text = table_of({"name": "pixelcnn", "filters": 4, "head": head}, {"name": "auto", "engine": "torch"})
    recipe, _ = parse_recipe(text, Path("."))
    again, registry = parse_recipe(recipe_text(recipe), Path("."))
    assert again == recipe
    model = build_model(again, registry, on="meta")
    assert type(model.factors[-1].distribution.network.head) is kind
    assert isinstance(model, Chain)
    [stage, _] = model.factors
    assert type(stage.distribution.network.head) is LogisticMixtureHead
    assert stage.distribution.network.head.components == 2


@pytest.mark.parametrize("value", ["softmax", "{ name = 'softmax' }"])
def test_a_head_is_set_on_the_command_line(value):
    table = tomllib.loads(TINY)
    table["stage"][0]["decoder"] = {"name": "pixelcnn", "head": MIXTURE}
    recipe, _ = parse_recipe(tomli_w.dumps(table), Path("."), [f"stage[0].decoder.head={value}"])
    assert recipe.stage[0].decoder.options["head"] == {"name": "softmax"}


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "sofmax"}, "prior.head: no head is named 'sofmax'; did you mean 'softmax'? (known: "),
        ({"head": "zz"}, "prior.head: no head is named 'zz' (known: logistic_mixture, softmax)"),
        ({"head": 3}, "prior.head: expected a head, "),
        ({"head": True}, "prior.head: expected a head, "),
        ({"head": ["softmax"]}, "prior.head: expected a head, "),
        ({"head": {"component": 3}}, "prior.head: unknown key 'component'; did you mean 'components'?"),
        ({"head": ""}, "prior.head: no head is named ''"),
        ({"head": "h" * 10_000}, "prior.head: expected a head name of at most 100 printable characters, got 'hhh"),
        (
            {"head": {"name": "a\x1b[2J"}},
            r"prior.head: expected a head name of at most 100 printable characters, got 'a\x1b[2J'",
        ),
        ({"head": {"name": 3}}, "prior.head: a head needs the key `name` with a string: "),
        (
            {"head": {**MIXTURE, "components": "many"}},
            "prior.head.components: expected an integer, got the string 'many'",
        ),
        ({"head": {**MIXTURE, "components": 2.5}}, "prior.head.components: expected an integer, got the float 2.5"),
        ({"head": {**MIXTURE, "components": 0}}, "prior.head: components must be "),
        ({"head": {**MIXTURE, "components": 1025}}, "prior.head: components must be at most 1024, got 1025"),
        ({"head": {**MIXTURE, "componets": 3}}, "prior.head: unknown key 'componets'; did you mean 'components'?"),
        ({"head": {"name": "softmax", "components": 3}}, "prior.head: unknown key 'components'"),
        ({"head": "logistic_mixture", "components": 3}, "prior: unknown key 'components'"),
        ({"heed": "softmax"}, "prior: unknown key 'heed'"),
    ],
)
def test_a_wrong_head_is_one_error_at_its_key(network, options, message):
    assert refusal({"name": network, **NETWORKS[network], **options}).startswith(message)


def test_a_wrong_head_of_a_stage_is_named_by_the_stage():
    table = changed(tomllib.loads(TINY), stage__0__decoder={"name": "pixelcnn", "head": "sofmax"})
    with pytest.raises(UserError, match=r"^stage\[0\]\.decoder\.head: no head is named 'sofmax'; did you mean"):
        parse_recipe(tomli_w.dumps(table), Path("."))


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("nativ", "sampling.sampler.engine: no engine is named 'nativ'; did you mean 'native'?"),
        ("zz", "sampling.sampler.engine: no engine is named 'zz' (known: auto, native, torch)"),
        (3, "sampling.sampler.engine: expected an engine, "),
        ({"name": "torch", "threads": 3}, "sampling.sampler.engine: unknown key 'threads'"),
        ({"name": "auto", "threads": 3}, "sampling.sampler.engine: unknown key 'threads'"),
        ({"threads": 3}, "sampling.sampler.engine: unknown key 'threads'"),
    ],
)
@pytest.mark.parametrize("sampler", ["auto", "wavefront", "cached"])
def test_a_wrong_engine_is_one_error_at_its_key(sampler, engine, message):
    assert refusal({"name": "pixelcnn"}, {"name": sampler, "engine": engine}).startswith(message)


def test_raster_has_no_engine():
    said = refusal({"name": "pixelcnn"}, {"name": "raster", "engine": "torch"})
    assert said.startswith("sampling.sampler: unknown key 'engine'")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", ("a", {})),
        ({"name": "a"}, ("a", {})),
        ({"name": "a", "x": 1, "y": [2]}, ("a", {"x": 1, "y": [2]})),
    ],
)
def test_a_component_is_written_by_its_name_or_as_a_table(value, expected):
    assert named_options(value, "key", "head") == expected


def test_any_config_may_have_options_that_name_a_component():
    """Any class with `from_recipe` and `to_recipe` can be the type of an option."""
    known, other = Registry({}, {}), Registry({}, {})

    @attrs.frozen
    class Loud:
        text: str

        @classmethod
        def from_recipe(cls, value: Any, registry: Any, path: str) -> Any:
            if registry is not known:
                raise UserError(f"{path}: no")
            return cls(f"{value} at {path}".upper())

        def to_recipe(self) -> Any:
            return self.text.lower()

    @attrs.frozen
    class Config:
        first: Loud
        second: Loud = attrs.field(factory=lambda: Loud("default"))
        third: int = 3

    Config.__annotations__ = {"first": Loud, "second": Loud, "third": int}
    found = structure_options({"first": "a", "third": 4}, Config, "stage", known)
    assert found == Config(Loud("A AT STAGE.FIRST"), Loud("DEFAULT AT STAGE.SECOND"), 4)
    with pytest.raises(UserError, match=r"^stage\.first: no"):
        structure_options({"first": "a"}, Config, "stage", other)
    with pytest.raises(UserError, match="first"):
        structure_options({}, Config, "stage", known)
    with pytest.raises(UserError, match=r"^stage: expected a table"):
        structure_options(3, Config, "stage", known)
