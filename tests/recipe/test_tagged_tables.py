"""Components that are chosen by name with options: in tables, in texts, and of kinds that plugins add."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import tomli_w
import torch
from helpers.installed import install_components
from helpers.tiny_runs import said, tiny, write

import auxar
from auxar.recipe.loading import parse_recipe
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_rules import ByDepth, Reduced

TORCH = {"name": "torch", "record": True}


@attrs.frozen
class Warm:
    """Warm colors."""

    red: int = 3


WARM = auxar.Component("palette", "warm", Warm)


class PaletteChoice(auxar.Choice):
    kind = "palette"


@attrs.frozen
class Painted:
    """The view `pyramid`, painted."""

    palette: PaletteChoice = attrs.field(factory=lambda: PaletteChoice(WARM, Warm()))


def painted(config: Painted, image: auxar.ImageSpec) -> PyramidView:
    return PyramidView(PyramidConfig(factor=config.palette.build().red - 1), image)


def sampler(recipe, *settings):
    return auxar.load_recipe(recipe, settings).sampling.sampler


@pytest.fixture
def recipe(pictures, tmp_path):
    return write(tmp_path / "recipes" / "tiny.toml", tiny(pictures))


def test_an_option_is_added_to_the_component_that_is_chosen(recipe):
    assert sampler(recipe, "sampling.sampler=cached", "sampling.sampler.engine=torch").options == {"engine": TORCH}
    with pytest.raises(auxar.UserError, match=r"cached: it replaces sampling\.sampler\.engine=torch, which is given"):
        sampler(recipe, "sampling.sampler.engine=torch", "sampling.sampler=cached")


def test_a_text_with_options_is_the_same_as_a_table_and_a_table_without_a_name_has_options_of_the_default(recipe):
    found = sampler(recipe, "sampling.sampler=cached:engine=torch")
    assert found == sampler(recipe, "sampling.sampler={ name = 'cached', engine = 'torch' }")
    assert found.build().engine.name == "torch"
    assert sampler(recipe, "sampling.sampler={ engine = 'torch' }") == sampler(
        recipe, "sampling.sampler=auto:engine=torch"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cached:", "expected NAME:option=value,option=value with different options, got 'cached:'"),
        ("cached:engine", "expected NAME:option=value"),
        ("cached:engine=torch,engine=native", "with different options"),
        ("cached:threads=1", "sampling.sampler: unknown key 'threads'"),
        (":engine=torch", "no sampler is named ''"),
    ],
)
def test_a_text_with_wrong_options_is_refused(recipe, text, message):
    with pytest.raises(auxar.UserError, match="sampler") as error:
        sampler(recipe, f"sampling.sampler={text}")
    assert message in str(error.value)


def test_a_plugin_adds_a_kind_of_components(recipe, monkeypatch):
    install_components(monkeypatch, WARM, auxar.Component("view", "painted", Painted, painted), kinds=["palette"])
    setting = "stage[0].view={ name = 'painted', palette = 'warm' }"
    found = auxar.load_recipe(recipe, [setting])
    assert found.stage[0].view.options == {"palette": {"name": "warm", "red": 3}}
    assert (found.registry.kinds[-1], found.registry.names("palette")) == ("palette", ["warm"])
    with pytest.raises(auxar.UserError, match=r"palette: no palette is named 'war'; did you mean 'warm'"):
        auxar.load_recipe(recipe, [setting, "stage[0].view.palette=war"])


def test_a_table_of_a_setting_without_a_name_changes_the_component_that_is_chosen(recipe):
    def optimizer(*settings):
        return auxar.load_recipe(recipe, settings).training.optimizer

    found = optimizer("training.optimizer=adamw", "training.optimizer={ learning_rate = 0.5 }")
    assert (found.name, found.options["learning_rate"]) == ("adamw", 0.5)
    found = optimizer("training.optimizer=adamw:weight_decay=0.5", "training.optimizer={ learning_rate = 0.5 }")
    assert (found.options["weight_decay"], found.options["learning_rate"]) == (0.5, 0.5)


MIXTURE = {"name": "logistic_mixture", "components": 2}


def refusal(**changes: Any) -> str:
    """Returns the error of the tiny recipe, in one line."""
    (line,) = said(parse_recipe, tomli_w.dumps(tiny(Path("x"), **changes)), Path(".")).splitlines()
    return line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "sofmax"}, "prior.head: no head is named 'sofmax'; did you mean 'softmax'? (known: "),
        ({"head": {"component": 3}}, "prior.head: unknown key 'component'; did you mean 'components'?"),
        ({"head": "h" * 10_000}, f"prior.head: no head is named '{'h' * 57}...{'h' * 58}' (known: "),
        ({"head": {"name": 3}}, "prior.head: a head needs the key `name` with a string: "),
        ({"head": {**MIXTURE, "components": 2.5}}, "prior.head.components: expected an integer, got the float 2.5"),
        ({"head": "logistic_mixture", "components": 3}, "prior: unknown key 'components'"),
    ],
)
def test_a_wrong_nested_choice_is_one_error_at_its_key(options, message):
    assert refusal(prior={"name": "pixelcnn", "filters": 4, **options}).startswith(message)


def test_a_nested_choice_is_named_by_its_place():
    message = "no head is named 'sofmax'; did you mean 'softmax'?"
    assert refusal(stage__0__decoder__head="sofmax").startswith(f"stage[0].decoder.head: {message}")
    for sampler, message in (
        ({"name": "auto", "engine": "nativ"}, ".engine: no engine is named 'nativ'; did you mean 'native'?"),
        ({"name": "wavefront", "engine": {"threads": 3}}, ".engine: unknown key 'threads'"),
        ({"name": "raster", "engine": "torch"}, ": unknown key 'engine'"),
    ):
        assert refusal(sampling__sampler=sampler).startswith(f"sampling.sampler{message}")


def test_options_of_a_nested_choice_without_a_name_are_those_of_its_default(recipe):
    settings = ["sampling.rule=by_depth", "sampling.rule.fine.reduction=0.2"]
    assert auxar.load_recipe(recipe, settings).sampling.draw_rule() == ByDepth(Reduced(0.2))


def test_python_takes_samplers_and_rules_as_tables_and_texts():
    model = auxar.build("quickstart", ["image.height=8", "image.width=8"])
    expected = model.sample(1, rule=Reduced(0.5))
    table = {"name": "reduced", "reduction": 0.5}
    for sampler in ("cached:engine=torch", {"name": "cached", "engine": "torch"}):
        assert torch.equal(model.sample(1, rule=table, sampler=sampler).tensor, expected.tensor)
    wrong: Any = {"name": "reduced", 3: 4}
    with pytest.raises(auxar.UserError, match="rule: expected a rule whose options have names, got"):
        model.sample(1, rule=wrong)
