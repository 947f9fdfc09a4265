"""Tests that damaged and unsuitable files of a run are named by one sentence, and that nothing is changed then."""

import importlib.metadata
import json
import math
import operator
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.evaluations import with_metadata
from helpers.installed import install_components
from helpers.tiny_runs import run, said, snapshot, tiny
from torch import Tensor

import auxar
from auxar.files import read_json, read_tensors, write_json, write_tensors
from auxar.model import checks
from auxar.plugins import Component
from auxar.report import write_report
from auxar.runs.format import FORMAT
from auxar_grayscale import GrayscaleConfig, GrayscaleView

VERSION = importlib.metadata.version("auxar")
PRIOR, STAGE = (f"factors/{name}/weights.safetensors" for name in ("prior", "stage0"))
DRAWN = "samples/samples.json"
Damage = Callable[[Path], Any]


def holding(content: bytes | str) -> Damage:
    return lambda file: file.write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def replaced(old: str, new: str) -> Damage:
    return lambda file: file.write_text(file.read_text().replace(old, new))


def entry(key: str, value: str | None = None) -> Damage:
    """Gives an entry of the metadata another value, or removes it."""
    return lambda file: with_metadata(file, **{key: value})


def exported(damage: Damage) -> Damage:
    """Removes the checkpoints, which exported runs do not have, and then damages a file."""
    return lambda file: (*map(Path.unlink, file.parents[1].glob("*/training-*")), damage(file))


def first(change: Callable[[Tensor], Tensor]) -> Damage:
    """Changes the first tensor."""

    def damage(file: Path) -> None:
        tensors, metadata = read_tensors(file)
        name = min(tensors)
        write_tensors(file, {**tensors, name: change(tensors[name])}, metadata)

    return damage


def without(end: str) -> Damage:
    """Cuts off a text file before some words."""
    return lambda file: file.write_text(file.read_text().partition(end)[0])


def another_version(found: int) -> Damage:
    def damage(file: Path) -> None:
        versions = json.loads(read_tensors(file)[1]["versions"])
        assert versions["CausalConv2d"] == 2
        entry("versions", json.dumps({**versions, "CausalConv2d": found}))(file)

    return damage


VERBS: dict[str, Callable[[Path], Any]] = {
    "load": auxar.load,
    "evaluate": auxar.evaluate,
    "sample": lambda folder: auxar.sample(folder, images=1),
    "integers": auxar.integers,
    "figures": lambda folder: auxar.figures(folder, rows=1),
    "report": write_report,
    "compare": lambda folder: auxar.compare([folder]),
    "run": lambda folder: auxar.run(folder / "recipe.toml", out=folder),
}
CUT_OFF = (
    ": the file is cut off: a run's recipe ends with the table [arithmetic]; restore it, for example from the text"
)
OTHER_VERSION = (
    "was trained with version {} of the network's CausalConv2d, but this auxar has version 2, which computes other "
    "values from the same weights; use the auxar that trained it, or train the factor in a new folder (--out)"
)
UNTRAINED = "is missing: factor stage0 is not trained; train it with `auxar run` and the run's recipe"
UNUSABLE = "cannot be used: its tensor distribution.network.out.bias has"
TABLE: list[tuple[str, Damage, str, str]] = [
    (STAGE, Path.unlink, "load", UNTRAINED),
    *((PRIOR, damage, "load", "is damaged: ") for damage in (cut, holding(b""), holding(b"garbage"))),
    (PRIOR, flipped, "sample", "is damaged: its content does not match its checksum; delete this file"),
    (PRIOR, exported(flipped), "load", "is damaged: its content does not match its checksum; get the model again"),
    (STAGE, exported(Path.unlink), "load", f"{UNTRAINED}, or, if the model was exported, get the model again"),
    (PRIOR, first(lambda values: values[None]), "load", "does not belong to factor prior of this recipe: 1 tensor(s)"),
    *(
        (
            PRIOR,
            first(operator.methodcaller("to", kind)),
            "load",
            f"{UNUSABLE} the type {kind}; expected to",
        )
        for kind in (torch.int32, torch.bool, torch.complex64, torch.float8_e4m3fn)
    ),
    *(
        (
            PRIOR,
            first(operator.methodcaller("fill_", value)),
            verb,
            f"{UNUSABLE} values that are not fin",
        )
        for value, verb in ((math.nan, "load"), (math.inf, "sample"), (-math.inf, "integers"))
    ),
    (STAGE, lambda file: shutil.copy(file.parents[1] / "prior" / file.name, file), "load", "does not belong to factor"),
    (PRIOR, entry("recipe"), "load", "is damaged: its metadata entry 'recipe' is missing"),
    (STAGE, entry("history"), "evaluate", "is damaged: its metadata entry 'history' is missing"),
    (STAGE, entry("history", "["), "evaluate", "is damaged: in its metadata entry 'history', it is not valid JSON"),
    (STAGE, entry("trained_steps", '"4"'), "run", "is damaged: its metadata entry 'trained_steps' is no number"),
    *(
        (STAGE, entry(key, text), "evaluate", f"is damaged: its metadata entry '{key}' is no number of steps")
        for key, text in (("step", "1e9"), ("trained_steps", "9" * 5000), ("complete_at", "-1"))
    ),
    (PRIOR, entry("versions"), "load", "is damaged: its metadata entry 'versions' is missing"),
    (PRIOR, entry("versions", "[]"), "load", "is damaged: in its metadata entry 'versions', expected a"),
    *((PRIOR, another_version(found), verb, OTHER_VERSION.format(found)) for found, verb in ((1, "load"), (3, "run"))),
    *(("recipe.toml", holding(text), "load", ": ") for text in (b"", b"[[[", b"\xff", b"[data]\npath = 3\n")),
    *(("recipe.toml", without(text), "sample", CUT_OFF) for text in ("[sampling]", 'name = "float"')),
    ("recipe.toml", without('name = "float"'), "load", CUT_OFF),
    ("evaluation.safetensors", holding(b"garbage"), "compare", "is damaged: "),
    *(
        ("evaluation.safetensors", first(change), "compare", "is damaged: its tensor codecs.")
        for change in (lambda nats: nats[:, :0], lambda nats: nats[:0], lambda nats: nats[0], lambda nats: nats[:, :1])
    ),
    (DRAWN, holding("[]"), "report", "is damaged: expected a table, got a list []"),
    (
        DRAWN,
        replaced('"seed": 0', '"seed": "1"'),
        "report",
        "is damaged: seed: expected an integer, got the string '1'",
    ),
    (DRAWN, replaced('"seed"', '"more"'), "report", "is damaged: seed: this key is required"),
    *(
        ("run.json", holding(text), "load", f"is damaged: {problem}")
        for text, problem in (
            ("", "it is not valid JSON"),
            ("[]", "expected a table, got a list []"),
            ("{}", "format: this key is required; auxar: this key is required"),
            ('{"format": 0, "auxar": "1"}', "'format' must be >= 1: 0"),
            ('{"format": true, "auxar": "1"}', "format: expected an integer, got the boolean True"),
        )
    ),
]


@pytest.mark.parametrize(("place", "damage", "verb", "words"), TABLE)
def test_what_is_wrong_with_a_file_is_told_and_changes_nothing(copied, place, damage, verb, words):
    damage(copied / place)
    before = snapshot(copied)
    message = said(VERBS[verb], copied)
    assert re.match(rf"{copied / place} ?{re.escape(words)}", message), message
    assert snapshot(copied) == before


def test_weights_that_are_not_finite_in_the_types_of_the_factor_are_refused(copied):
    first(lambda values: values.double() + 1e300)(copied / PRIOR)
    assert "values that are not finite (NaN or infinity) in torch.float32" in said(auxar.load, copied)


def test_weights_whose_results_overflow_have_no_integers_and_a_warning(copied, tmp_path, caplog):
    tensors, metadata = read_tensors(copied / PRIOR)
    write_tensors(copied / PRIOR, {name: 1e10 * values for name, values in tensors.items()}, metadata)
    given = auxar.load_images(auxar.load(copied)).heldout
    for call in (
        lambda: auxar.load(copied).bits_per_dim(next(iter(given.in_order(2)))),
        lambda: auxar.evaluate(copied),
        lambda: auxar.sample(copied, images=2, out=tmp_path / "samples"),
    ):
        checks._warn_of_nan.cache_clear()
        caplog.clear()
        call()
        assert "log-likelihoods of factor prior are NaN, because its weights are so large that" in caplog.text
    pattern = "prior cannot be converted to integers: the values that .* computes are not finite"
    assert re.fullmatch(pattern, said(auxar.integers, copied))


def test_weights_of_another_view_are_named(copied):
    """The views `pyramid` and `subsample` have equal shapes, so the weights of both have equal names and shapes."""
    replaced('name = "pyramid"', 'name = "subsample"')(copied / "recipe.toml")
    words = "does not belong to factor stage0 of this recipe: it was trained with another image size, view or network; "
    assert said(auxar.load, copied).startswith(f"{copied / STAGE} {words}")


def test_weights_need_not_have_all_options_of_components(copied):
    """Components of plugins have other options in other versions."""
    part = json.loads(read_tensors(copied / STAGE)[1]["recipe"])
    del part[-1]["filters"]
    entry("recipe", json.dumps(part))(copied / STAGE)
    auxar.load(copied)


def test_a_run_of_another_format_and_a_folder_without_one_are_refused_by_everything_that_opens_runs(copied):
    """A recipe and weights are not enough, so no file of a user's own is taken for a part of a run."""
    assert read_json(copied / "run.json") == {"format": FORMAT, "auxar": VERSION}
    write_json(copied / "run.json", {"format": FORMAT + 1, "auxar": "9.1\x1b[2J", "more": []})
    for verb, call in VERBS.items():
        before = snapshot(copied)
        assert said(call, copied) == (
            f"{copied} has run format {FORMAT + 1}, written by auxar 9.1\\x1b[2J; this auxar {VERSION} reads "
            f"format {FORMAT}; use a newer auxar"
        ), verb
        assert snapshot(copied) == before, verb
    (copied / "run.json").unlink()
    before = snapshot(copied)
    for verb, call in VERBS.items():
        expected = f"{copied} is not a run's folder: it has no run.json"
        if verb == "run":
            expected = f"{copied / 'recipe.toml'} is not the recipe of a run, and would be replaced"
        assert said(call, copied).startswith(expected), verb
    assert snapshot(copied) == before


def test_a_recipe_that_was_cut_off_is_written_again(pictures, copied):
    whole = (copied / "recipe.toml").read_text()
    without("[evaluation]")(copied / "recipe.toml")
    run(copied, tiny(pictures, sampling__images=3))
    assert (copied / "recipe.toml").read_text() == whole


def test_a_run_names_the_packages_that_its_components_come_from(pictures, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        install_components(patch, Component("view", "toy", GrayscaleConfig, GrayscaleView))
        folder = run(tmp_path / "run", tiny(pictures, stage__0__view={"name": "toy"}, training__steps=1))
    assert read_json(folder / "run.json")["packages"] == ["toys_package"]
    found = said(auxar.load, folder)
    assert found.startswith(f"{folder / 'recipe.toml'}: stage[0].view: no view is named 'toy'")
    assert found.endswith("; the run needs toys_package, which is not installed: pip install toys_package")


def test_a_run_of_this_format_keeps_who_began_it(pictures, copied):
    write_json(copied / "run.json", {"format": FORMAT, "auxar": "0.0.1"})
    run(copied, tiny(pictures, sampling__images=2))
    assert read_json(copied / "run.json")["auxar"] == "0.0.1"
