"""Tests of the strict converter for recipes and records: types are exact, and every error names its place."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxar.recipe.structuring import RECIPES
from auxar.runs.records import RECORDS
from auxar.structuring import Misfit, StrictConverter

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
        ({"inner": {"number": True}}, "inner.number: expected an integer, got "),
        ({"inner": {"number": 1, "share": "1"}}, "inner.share: expected a number, got "),
        ({"name": 1}, 'name: expected a string, got the integer 1; write a string in quotes: "1"'),
        ({"on": 1}, "on: expected a boolean, got the integer 1"),
        ({"kind": "c"}, "kind: expected one of a, b, 3, got "),
        ({"kind": 3.0}, "kind: expected one of a, b, 3, got "),
        ({"several": {}}, "several: expected a list"),
        ({"several": [{"number": 1}, 2]}, "several[1]: expected a table"),
        ({"pair": [1]}, "pair: expected a list of 2 entries, got 1: [1]"),
        ({"pair": [1, "2"]}, "pair[1]: expected a number, got "),
        ({"names": ["a", 1]}, 'names: expected a list of strings, ["…", …], got '),
        ({"by_name": []}, "by_name: expected a table"),
        ({"by_name": {"k": {"number": "1"}}}, "by_name['k'].number: expected an integer, got "),
        ({"perhaps": "1"}, "perhaps: expected an integer, got "),
        ({"perhaps": -(2**63) - 1}, "perhaps: expected a"),
        ({"file": ""}, "file: expected the path of a file or folder, got ''"),
    ],
)
def test_a_value_of_another_type_is_named_with_its_path(converter, changes, beginning):
    (problem,) = problems(converter, with_inner(**changes))
    assert problem.startswith(beginning)
    (problem,) = problems(converter, with_inner(**changes), path="top[2]")
    assert problem.startswith(f"top[2].{beginning}")


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
