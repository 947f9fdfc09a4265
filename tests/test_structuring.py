"""Tests of the strict converter for recipes and records: types are exact, and every error names its place."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.recipe.structuring import RECIPES, TYPES
from auxar.runs.records import RECORDS
from auxar.structuring import Hook, Misfit, StrictConverter

BOTH = pytest.mark.parametrize("converter", [RECIPES, RECORDS], ids=["recipes", "records"])


@attrs.frozen
class Inner:
    number: int
    share: float = 0.5


@attrs.frozen
class Outer:
    inner: Inner
    name: str = "x"
    on: bool = False
    kind: Literal["a", "b", 3] = "a"
    several: list[Inner] = attrs.Factory(list)
    pair: tuple[int, float] = (1, 2.0)
    names: tuple[str, ...] = ()
    by_name: dict[str, Inner | None] = attrs.Factory(dict)
    counts: Mapping[str, int] = attrs.Factory(dict)
    perhaps: int | None = None
    file: Path | None = None


FULL = {
    "inner": {"number": 3, "share": 1},
    "name": "y",
    "on": True,
    "kind": 3,
    "several": [{"number": 1, "share": 0.25}],
    "pair": [4, 5],
    "names": ["a", "b"],
    "by_name": {"k": {"number": 2, "share": 0.5}, "none": None},
    "counts": {"many": 2**62},
    "perhaps": 7,
    "file": "images/a.png",
}


def problems(converter: StrictConverter, value: Any, kind: Any = Outer, path: str = "") -> list[str]:
    with pytest.raises(Misfit) as caught:
        converter.structure(value, kind, path)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


def with_inner(**changes: Any) -> dict[str, Any]:
    return {"inner": {"number": 1}, **changes}


@BOTH
def test_values_of_the_right_types_are_read_and_written_back(converter):
    found = converter.structure(FULL, Outer)
    assert found == Outer(
        inner=Inner(3, 1.0),
        name="y",
        on=True,
        kind=3,
        several=[Inner(1, 0.25)],
        pair=(4, 5.0),
        names=("a", "b"),
        by_name={"k": Inner(2), "none": None},
        counts={"many": 2**62},
        perhaps=7,
        file=Path("images/a.png"),
    )
    assert type(found.inner.share) is type(found.pair[1]) is float
    assert converter.structure(converter.unstructure(found), Outer) == found
    assert converter.structure(with_inner(), Outer) == Outer(Inner(1))


@BOTH
@pytest.mark.parametrize(
    ("changes", "beginning"),
    [
        ({"inner": 3}, "inner: expected a table"),
        ({"inner": {}}, "inner.number: this key is required"),
        ({"inner": {"number": True}}, "inner.number: expected int, got "),
        ({"inner": {"number": 1.0}}, "inner.number: expected int, got "),
        ({"inner": {"number": 1, "share": "1"}}, "inner.share: expected float, got "),
        ({"name": 1}, "name: expected str, got "),
        ({"on": 1}, "on: expected bool, got "),
        ({"kind": "c"}, "kind: expected one of a, b, 3, got "),
        ({"kind": 3.0}, "kind: expected one of a, b, 3, got "),
        ({"several": {}}, "several: expected a list"),
        ({"several": [{"number": 1}, 2]}, "several[1]: expected a table"),
        ({"several": [{"number": 1}, {"number": None}]}, "several[1].number: expected int, got "),
        ({"pair": [1]}, "pair: expected a list of 2 entries, got 1: [1]"),
        ({"pair": [1, "2"]}, "pair[1]: expected float, got "),
        ({"names": "ab"}, 'names: expected a list of strings, ["…", …], got '),
        ({"names": ["a", 1]}, 'names: expected a list of strings, ["…", …], got '),
        ({"by_name": []}, "by_name: expected a table"),
        ({"by_name": {"k": {"number": "1"}}}, "by_name['k'].number: expected int, got "),
        ({"counts": {"k": False}}, "counts['k']: expected int, got "),
        ({"perhaps": "1"}, "perhaps: expected int, got "),
        ({"perhaps": -(2**63) - 1}, "perhaps: expected a"),
        ({"file": 3}, "file: expected str, got "),
        ({"file": ""}, "file: expected the path of a file or folder, got ''"),
    ],
)
def test_a_value_of_another_type_is_named_with_its_path(converter, changes, beginning):
    if converter is RECIPES:  # Recipes are written by hand, so their errors name types in words.
        kind = beginning.partition("expected ")[2].partition(",")[0]
        beginning = beginning.replace(f"expected {kind},", f"expected {TYPES.get(kind, kind)},")
    (problem,) = problems(converter, with_inner(**changes))
    assert problem.startswith(beginning)
    (problem,) = problems(converter, with_inner(**changes), path="top[2]")
    assert problem.startswith(f"top[2].{beginning}")


@BOTH
def test_all_mistakes_are_told(converter):
    assert len(problems(converter, {"inner": {"number": "1", "share": "2"}, "on": 3, "name": 4})) == 4


def test_recipes_refuse_unknown_keys_and_records_ignore_them():
    value = with_inner(nam="z", another=1)
    assert RECORDS.structure(value, Outer) == Outer(Inner(1))
    (problem,) = problems(RECIPES, value)
    assert problem.startswith("unknown key 'another'; did you mean 'inner'? (known: by_name, ")
    assert "; unknown key 'nam'; did you mean 'name'? (known: " in problem


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_records_may_hold_numbers_that_are_not_finite(value):
    found = RECORDS.structure({"number": 1, "share": value}, Inner).share
    assert found == value or value != value
    assert problems(RECIPES, {"number": 1, "share": value}, Inner) == [f"share: expected a finite number, got {value}"]


def test_a_recipe_names_the_types_of_wrong_values():
    assert problems(RECORDS, with_inner(name=3)) == ["name: expected str, got 3"]
    assert problems(RECIPES, with_inner(name=3)) == [
        'name: expected a string, got the integer 3; write a string in quotes: "3"'
    ]


@BOTH
def test_messages_have_no_control_characters(converter):
    (problem,) = problems(converter, with_inner(kind="\x1b[2J\n"))
    assert problem.isprintable()


@attrs.frozen
class Choice:
    """A name with options, like a recipe's choice of a component."""

    name: str
    options: Inner


@attrs.frozen
class Chooser:
    choice: Choice
    others: tuple[Choice, ...] = ()


def test_a_hook_reads_types_in_its_own_way_and_its_errors_have_their_path():
    known = {"inner": Inner}

    def read(value: Any, kind: Any) -> Choice:
        if value["name"] not in known:
            raise UserError(f"nothing is named {value['name']}")
        options = {key: entry for key, entry in value.items() if key != "name"}
        return Choice(value["name"], converter.structure(options, known[value["name"]]))

    def write(choice: Choice) -> dict[str, Any]:
        return {"name": choice.name, **converter.unstructure(choice.options)}

    hook = Hook(lambda kind: kind is Choice, read, write)
    converter = StrictConverter(unknown_keys="refused", finite=True, hooks=[hook])
    table = {"choice": {"name": "inner", "number": 1}, "others": [{"name": "inner", "number": 2, "share": 1.5}]}
    found = converter.structure(table, Chooser, "prior")
    assert found == Chooser(Choice("inner", Inner(1)), (Choice("inner", Inner(2, 1.5)),))
    assert converter.structure(converter.unstructure(found), Chooser, "prior") == found
    for wrong, message in (
        ({"name": "outer"}, "nothing is named outer"),
        ({"name": "inner", "number": "2", "shar": 1}, "number: expected int, got '2'"),
    ):
        with pytest.raises(Misfit) as caught:
            converter.structure({"choice": table["choice"], "others": [wrong]}, Chooser, "prior")
        assert caught.value.problems[0] == (
            f"prior.others[0].{message}" if ": " in message else f"prior.others[0]: {message}"
        )
    assert "prior.others[0]: unknown key 'shar'; did you mean 'share'?" in str(caught.value)
    # Without the hook, `Choice` is read like any other class.
    with pytest.raises(Misfit, match="unknown key 'number'"):
        StrictConverter(unknown_keys="refused", finite=True).structure(table, Chooser, "prior")


@BOTH
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FULL, "number", "z"]), inner),
        max_leaves=8,
    )
)
def test_any_value_is_read_or_is_a_misfit(converter, value):
    with contextlib.suppress(Misfit):
        assert isinstance(converter.structure(value, Outer), Outer)
        return
    assert all(problem.isprintable() for problem in problems(converter, value))


def test_the_converter_is_low_in_the_order_of_imports():
    text = (Path(__file__).parents[1] / "auxar" / "structuring.py").read_text()
    imports = [line for line in text.splitlines() if line.startswith(("import auxar", "from auxar"))]
    assert imports == ["from auxar.errors import did_you_mean, one_line, shown"]
