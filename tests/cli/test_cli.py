"""Tests that every command reports mistakes as a sentence on standard error, without a traceback."""

import codecs
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_runs import PROJECT, call, run, tiny, write_pictures

from auxar.cli import main
from auxar.errors import UserError
from auxar.files import read_json
from auxar.report.reading import read_run

MAP = {"name": "map", "min_weight": 0.05}

# Mistakes in a recipe


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.step=3", "{recipe}: training: unknown key 'step'; did you mean 'steps'? (known: "),
        ("stage[0].view={name='bitplanes',drop=8}", "stage[0].view ('bitplanes'): drop must be at most 7"),
    ],
)
def test_a_wrong_recipe(recipe, refused, verb, setting, message):
    assert refused(verb, recipe, "--set", setting).startswith(message.format(recipe=recipe))
    assert not Path("runs").exists()


def test_a_recipe_may_begin_with_a_byte_order_mark(recipe, finished, capsys):
    recipe.write_bytes(codecs.BOM_UTF8 + recipe.read_bytes())
    assert main(["check", str(recipe)]) == 0
    copy = Path(shutil.copytree(finished, "copy"))
    (copy / "recipe.toml").write_bytes(codecs.BOM_UTF8 + (copy / "recipe.toml").read_bytes())
    assert main(["compare", str(finished), str(copy)]) == 0
    assert read_run(copy).recipe == (finished / "recipe.toml").read_text(encoding="utf-8")


# Mistakes with runs


def test_output_that_cannot_be_written(recipe, refused, finished, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for command in (["run", recipe], ["sample", finished]):
        assert "cannot be written" in refused(*command, "--out", "file/below")
    assert (tmp_path / "file").read_text() == "in the way"


# Commands


@pytest.mark.parametrize(
    "words", ["check {0} {0}", "sample x -n {0}", "sample x --seed {0}x", "{0}", "check x --log-level {0}"]
)
def test_a_mistake_in_long_arguments_is_one_short_line(capsys, words):
    """The arguments have control characters and more digits than Python converts."""
    with pytest.raises(SystemExit, match=r"^2$"):
        main(words.format("\x1b[31m\r" + "9" * 5000).split(" "))
    *_, message = capsys.readouterr().err.splitlines()
    assert ": error: " in message
    assert message.isprintable()
    assert len(message) < 2000


@pytest.mark.parametrize(("arguments", "near"), [(["rn"], "run"), (["check", "x", "--log-level", "debg"], "debug")])
def test_an_unknown_choice_is_answered_with_the_nearest_one(capsys, arguments, near):
    with pytest.raises(SystemExit):
        main(arguments)
    assert f"there is no '{arguments[-1]}'; did you mean '{near}'? (known: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "near"), [("--sed 7", "--seed"), ("--label 7", "--condition label=7"), ("--mask=a", "--condition mask=a")]
)
def test_an_unexpected_argument_is_answered_with_the_options_of_its_command(capsys, given, near):
    with pytest.raises(SystemExit):
        main(["sample", "emoji32", *given.split()])
    told = capsys.readouterr().err
    assert told.startswith("usage: auxar sample")
    assert told.endswith(f"unexpected argument '{given.split()[0]}'; did you mean '{near}'?\n")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["training.recompute=true", "training.precision=bf16"], "in bf16 with training.recompute in one"),
        (["training.factor.stage1.recompute=true"], "in float32 with training.recompute for stage1 in one"),
    ],
)
def test_check_prints_the_chain_and_its_costs(recipe, capsys, settings, said):
    assert main(["check", str(recipe), "--set", "stage[0].repeat=2", *settings]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [f"depth {k}: {8 >> k}×{8 >> k}×3 with 256 levels" for k in range(3)]
    assert lines[4].startswith("Cost: multiply-adds of a forward pass for one image (a training step takes about three")
    assert said in (caption := " ".join(lines[4:-4]))
    assert " without the memory of PyTorch itself" in caption
    assert lines[-4].split() == ["factor", "term", "parameters", "multiply-adds", "memory"]
    rows = [line.split() for line in lines[-3:]]
    assert [row[0] for row in rows] == ["stage0", "stage1", "prior"]
    assert rows[0][1:4] == ["p(8×8×3", "|", "4×4×3)"]
    assert rows[0][4] == rows[1][4], "the same networks at another size"
    assert not Path("runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((PROJECT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_can_be_checked_and_their_headers_give_their_memory(path, capsys):
    assert main(["check", str(path)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("stage", "prior"))]
    memory = [float(re.findall(r"(\S+) GiB\b", row)[0]) for row in rows]
    header = path.read_text(encoding="utf-8").split("\n\n[data]")[0]
    for said in re.findall(r"about (\d+) GiB", header):
        assert int(said) == round(max(memory))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rule", "reducd"], "--rule: no rule is named 'reducd'; did you mean 'reduced'? (known: ancestral, "),
        (["--size", "-1x5"], "--size: expected HEIGHTxWIDTH, such as 96x64, got '-1x5'"),
        (["--seed", "9" * 30], "--seed: expected an integer from -2^63 to 2^63 - 1"),
        (
            ["--set", "sampling.rule=tempered:temperature=1e-309"],
            "sampling.rule: temperature must be at least 1e-06, got 1e-309",
        ),
        (["--sampler", "ratser"], "--sampler: no sampler is named 'ratser'; did you mean 'raster'?"),
    ],
)
def test_samples_that_cannot_be_drawn(finished, refused, arguments, message):
    assert message in refused("sample", finished, *arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--set sampling.images=2 sampling.seed=4", {"count": 2, "seed": 4}),
        ("--set sampling.rule=reduced sampling.rule.reduction=2", {"rule": MAP | {"name": "reduced", "reduction": 2}}),
        ("--set sampling.rule.name=reduced sampling.rule.reduction=2 -n 1 --rule map", {"rule": MAP}),
        ("--given IMAGE", {"draws_each": 4}),
        ("--given IMAGE --set sampling.images=2", {"draws_each": 2}),
        ("--given IMAGE --set sampling.images=2 -n 1", {"draws_each": 1}),
    ],
)
def test_options_win_over_settings_and_settings_over_the_recipe(pictures, finished, tmp_path, arguments, expected):
    words = arguments.replace("IMAGE", str(pictures / "000.png")).split()
    assert main(["sample", str(finished), "--out", str(tmp_path / "drawn"), *words]) == 0
    facts = read_json(tmp_path / "drawn" / "samples.json")
    assert {key: facts[key] for key in expected} == expected


def test_long_names_are_cut_in_errors(refused):
    name = "k" * 100_000
    for arguments in (["run", "quickstart", "--out", name], ["decompress", name, "--list"], ["check", name]):
        assert len(refused(*arguments)) < 3100


def test_an_interrupted_command_says_how_to_go_on(recipe, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("auxar.training.factors.FactorLoop", interrupt)
    assert main(["run", str(recipe)]) == 130
    told = "interrupted; if work was stored, such as checkpoints or finished images, it is kept, and the same command "
    assert f"auxar: {told}continues from it\n" in capsys.readouterr().err


def test_the_installed_command_and_its_status(tmp_path):
    failed = call([str(Path(sys.executable).with_name("auxar")), "check", "none.toml"], tmp_path)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("auxar: recipe none.toml does not exist")


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "failing",
    [
        lambda files: torch.empty(2**50, dtype=torch.uint8),
        raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
    ],
)
def test_a_lack_of_memory_is_told(monkeypatch, capsys, failing):
    monkeypatch.setattr("auxar.plugins.load_plugins", failing)
    assert main(["plugins"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("auxar: there is not enough memory")
    assert "; reduce the batch size" in told


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("memory"), "^memory$"),
        (RecursionError("too deep"), "^too deep$"),
        (SystemExit(0), r"^the command was ended by sys\.exit\(0\) in other code"),
        (SystemExit(None), r"^the command was ended by sys\.exit\(None\) in other code"),
    ],
)
def test_other_errors_have_a_traceback(monkeypatch, error, message):
    """So has `sys.exit` without an error. The exit status 0 would say that the work is done."""
    monkeypatch.setattr("auxar.plugins.load_plugins", raising(error))
    with pytest.raises(RuntimeError, match=message):
        main(["plugins"])


@pytest.mark.parametrize("status", [5, "a message"])
def test_the_status_of_sys_exit_in_a_command_is_kept(monkeypatch, status):
    monkeypatch.setattr("auxar.plugins.load_plugins", raising(SystemExit(status)))
    with pytest.raises(SystemExit) as caught:
        main(["plugins"])
    assert caught.value.code == status


def test_a_folder_whose_name_is_no_text_is_told(tmp_path, monkeypatch):
    """A run's recipe stores the full path of its images in UTF-8, so a path that is not valid UTF-8 is refused."""
    folder = tmp_path / "\udcff"
    write_pictures(folder / "pictures")
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"data\.path: the path '.*udcff/pictures' is not valid UTF-8"):
        run(folder / "run", tiny(Path("pictures")))
    assert not (folder / "run").exists()
