"""Tests of the evidence that a change of the code changes no result: digests of values, and their comparison."""

import json

import pytest
import tomli_w
import torch
from benchmarks import same_results
from benchmarks.same_results import digest

import auxar

FACTS = dict.fromkeys(same_results.MACHINE, "x") | {"commit": "c0ffee", "changed files": []}


@pytest.fixture
def comparison(tmp_path, capsys):
    """A function that compares two tables of digests, and returns the exit status and what is printed."""

    def compare(old, new, *options):
        (tmp_path / "old.json").write_text(json.dumps({"facts": FACTS, "digests": old}))
        (tmp_path / "new.json").write_text(json.dumps({"facts": FACTS, "digests": new}))
        status = same_results.main(["compare", *(str(tmp_path / name) for name in ("old.json", "new.json")), *options])
        return status, capsys.readouterr().out

    return compare


def test_a_digest_depends_on_the_values_and_not_on_the_library_and_the_storage():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    nearly = values.clone()
    nearly.view(torch.int32)[0, 0] += 1
    others = [values, nearly, values.double(), values.bfloat16(), values.reshape(4), values.T, -values]
    others += [values.to(torch.int32), values.view(torch.int32), torch.tensor(0.0), torch.tensor(-0.0)]
    digests = [digest(value) for value in [*others, b"1", b"2", [1.0, 2.0], [2.0, 1.0], None, True]]
    assert len(set(digests)) == len(digests)
    assert digest(values.T) == digest(values.T.contiguous()) == digest(values.numpy().T)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_files_are_equal_if_all_values_are_there_and_equal(comparison):
    values = {"kinds/a/0/weights/x": "1", "kinds/a/1/weights/x": "2"}
    assert comparison(values, values)[0] == 0
    status, text = comparison(values, values | {"kinds/a/1/weights/x": "3"})
    assert status == 1
    assert "different: 1 × kinds … weights in 1 cases, such as kinds/a/1/weights/x" in text
    fewer = {"kinds/a/0/weights/x": "1"}
    for old, new, title in [(values, fewer, "only old"), (fewer, values, "only new")]:
        status, text = comparison(old, new)
        assert status == 1
        assert f"{title}: 1 × kinds … weights in 1 cases, such as kinds/a/1/weights/x" in text
    assert comparison({}, {})[0] == 1, "nothing was compared"
    assert comparison(values, values | {"kinds/b/0/weights/x": "3"}, "--only", "/a/")[0] == 0
    assert comparison(values, values | {"kinds/b/0/weights/x": "3"}, "--leave-out", "/b/")[0] == 0


def test_the_recipes_of_all_cases_are_valid(tmp_path):
    cases = same_results.cases()
    for recipe in auxar.list_recipes():
        assert {f"recipes/{recipe.name.replace('/', '-')}/{seed}" for seed in (0, 1)} <= cases.keys()
    (tmp_path / "base.toml").write_text(tomli_w.dumps(same_results.TABLES["base"]))
    for name, case in cases.items():
        if name.endswith("/0") and not name.startswith("models/"):
            recipe, parts, _ = case.args  # type: ignore[attr-defined]
            auxar.load_recipe(tmp_path / recipe if recipe == "base.toml" else recipe, parts[-1])
