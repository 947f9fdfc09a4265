"""Tests that every command reports mistakes as a sentence on standard error, without a traceback."""

from __future__ import annotations

import codecs
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from helpers.evaluations import figures_of
from helpers.tiny_runs import PROJECT, VIEW, call, run, snapshot, tiny, write_pictures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from auxar.cli import main
from auxar.errors import UserError
from auxar.files import read_json
from auxar.progress import ProgressBar, progress_bar
from auxar.report.reading import read_run

DIGITS = "9" * 5000
"""An integer of more digits than Python converts."""
CONTROL = "\x1b[31m\r"
"""Characters that control the terminal."""


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail, and returns its error message."""

    def refused(*arguments: object) -> str:
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        assert code == 2, output.err
        assert not output.out
        assert "Traceback" not in output.err
        *_, message = output.err.rpartition("auxar: ")
        return message.strip()

    return refused


# Mistakes in a recipe


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.step=3", "{recipe}: training: unknown key 'step'; did you mean 'steps'? (known: "),
        ("training.steps=true", "{recipe}: training.steps: expected an integer, got the boolean True"),
        ("prior.name=pixelrnn", "{recipe}: prior: no prior is named 'pixelrnn'; did you mean 'pixelcnn'? (known: "),
        ("image.height=9", "stage[0].view ('pyramid'): the height must be divisible by factor = 2 (nearest: 8 or 10)"),
        ("image.levels=1", "{recipe}: image: levels must be at least 2, got 1"),
        ('plugins=["nothing.py"]', "{recipe}: plugins: nothing.py does not exist"),
        ("steps", "{recipe}: --set steps: expected key=value, such as training.steps=100"),
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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_a_recipe_in_another_encoding(recipe, refused, encoding):
    recipe.write_text("# é\n" + recipe.read_text(encoding="utf-8"), encoding=encoding)
    message = "expected a recipe in UTF-8, but the file is not UTF-8 text; save it as UTF-8"
    assert refused("check", recipe) == f"{recipe}: {message}"


def test_no_recipe(recipe, refused):
    assert refused("run", "tinny.toml") == (
        "recipe tinny.toml does not exist; did you mean 'tiny.toml'? (known: tiny.toml)"
    )


def test_two_plugins_of_one_component(recipe, refused):
    for name in ("one.py", "two.py"):
        Path(name).write_text(VIEW)
    message = refused("run", recipe, "--trust-plugins", "--set", 'plugins=["one.py", "two.py"]')
    assert "the view 'thin' is provided twice, by one (" in message
    assert "one.py) and by two (" in message
    assert refused("plugins", "one.py", "two.py").startswith("the view 'thin' is provided twice")


def test_an_unknown_factor(recipe, refused):
    message = refused("run", recipe, "--factors", "prior, stage1")
    assert message == (
        "--factors: the recipe has no factor named 'stage1'; did you mean 'stage0'? (known: prior, stage0)"
    )


def test_an_unknown_tracker(recipe, refused):
    message = refused("run", recipe, "--set", 'training.trackers=["tensorbord"]')
    assert message.startswith(
        "training.trackers: Accelerate has no tracker named 'tensorbord'; did you mean 'tensorboard'?"
    )


# Mistakes in the data


def test_a_missing_folder_of_images(recipe, refused):
    assert refused("run", recipe, "--set", "data.path=./nowhere").startswith("data.path: ")


def test_a_hub_out_of_reach(recipe, refused, tmp_path, monkeypatch):
    def unreachable():
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub, "get_session", unreachable)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: unreachable())
    message = refused("run", recipe, "--set", "data.path=somebody/faces")
    assert message == (
        "data.path: the Hugging Face hub could not be reached, and 'somebody/faces' is not in the local cache of "
        f"`datasets`; no file or folder 'somebody/faces' is beside the recipe or in {tmp_path}; if the images are on "
        "this machine, give their folder: --set data.path=FOLDER"
    )


def test_a_folder_without_images(recipe, refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert " has no images; expected files that end in " in refused("run", recipe, "--set", "data.path=empty")


def test_images_of_another_size(recipe, refused):
    message = refused("run", recipe, "--set", "image.height=16", "image.width=16")
    assert message.startswith(
        "data.resize: 000.png has 8×8 pixels, but [image] has 16×16 (height×width); set data.resize "
    )


def test_a_broken_image_ends_the_run_or_is_left_out(recipe, refused, tmp_path, caplog):
    folder = write_pictures(tmp_path / "some", 8)
    (folder / "003.png").write_bytes((folder / "003.png").read_bytes()[:60])
    assert "003.png" in refused("run", recipe, "--set", "data.path=some")
    assert main(["run", str(recipe), "--set", "data.path=some", "data.broken=skip"]) == 0
    assert "this image cannot be read and is left out: 003.png" in caplog.messages
    table = figures_of(Path("runs/tiny"))
    assert table["data"]["skipped"] == 1
    assert sum(table["images"].values()) == 7


# Mistakes with runs


def test_another_recipes_run(recipe, refused, finished):
    before = snapshot(finished)
    message = refused("run", recipe, "--set", "training.flip=true", "--out", finished)
    assert message == (
        f"{finished} holds a run of another recipe (different keys: training.flip); choose another folder with --out"
    )
    assert snapshot(finished) == before


@pytest.mark.parametrize("verb", ["evaluate", "sample"])
def test_a_folder_that_is_no_run(refused, tmp_path, verb):
    folder = tmp_path / "folder"  # Folders of other tests are beside `tmp_path`.
    folder.mkdir()
    message = refused(verb, folder)
    assert message == f"{folder} is not a run's folder: it has no recipe.toml; `auxar run RECIPE` makes a run"


def test_missing_and_damaged_checkpoints(recipe, refused, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    file = tmp_path / "copy" / "factors" / "prior" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    for verb in ("evaluate", "sample"):
        assert refused(verb, tmp_path / "copy").startswith(f"{file} is damaged: ")
    file.unlink()
    assert refused("sample", tmp_path / "copy").startswith(f"{file} is missing: factor prior is not trained")
    (state,) = file.parent.glob("training-*.safetensors")
    state.write_bytes(b"x" * 1000)
    table = tmp_path / "copy.toml"
    shutil.copy(finished.with_suffix(".toml"), table)
    assert refused("run", table, "--out", tmp_path / "copy").startswith(f"{state} is damaged: ")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_output_that_cannot_be_written(recipe, refused, finished, tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    message = refused("run", recipe, "--out", place)
    assert "cannot be written" in message or message == (
        "file exists and is not a run's folder; choose another folder with --out"
    )
    assert "file" in refused("sample", finished, "--out", place)
    assert (tmp_path / "file").read_text() == "in the way"


# Commands


@pytest.mark.parametrize(
    "arguments", [["train"], ["run"], ["sample", "x", "-n", "many"], ["--log-level", "y", "recipes"]]
)
def test_command_lines_that_are_none(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: auxar" in capsys.readouterr().err


def test_no_command_gives_the_help(capsys):
    assert main([]) == 2
    assert "Draws images from a run's model" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "near"), [(["rn"], "run"), (["check", "x", "--log-level", "debg"], "debug")])
def test_an_unknown_choice_is_answered_with_the_nearest_one(capsys, arguments, near):
    with pytest.raises(SystemExit):
        main(arguments)
    assert f"there is no '{arguments[-1]}'; did you mean '{near}'? (known: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("sample x -n", "-n/--images"),
        ("sample x --stage", "--stage"),
        ("sample x --seed", "--seed"),
        ("sample x --batch-size", "--batch-size"),
        ("figures x --rows", "--rows"),
        ("views x -o y --depth", "--depth"),
    ],
)
def test_an_option_with_thousands_of_digits(capsys, words, option):
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), DIGITS])
    assert ended.value.code == 2
    *_, message = capsys.readouterr().err.splitlines()
    verb = words.split()[0]
    expected = f"auxar {verb}: error: argument {option}: expected an integer from -2^63 to 2^63 - 1, got '999"
    assert message.startswith(expected)
    assert len(message) < 300


@pytest.mark.parametrize("words", ["check {0} {0}", "sample x --seed {0}x", "{0}", "check x --log-level {0}"])
def test_a_mistake_in_long_arguments_is_one_short_line(capsys, words):
    with pytest.raises(SystemExit):
        main(words.format(CONTROL + DIGITS).split(" "))
    *_, message = capsys.readouterr().err.splitlines()
    assert ": error: " in message
    assert message.isprintable()
    assert len(message) < 2000


@pytest.mark.parametrize("rows", ["0", "9" * 30])
def test_a_number_of_rows_out_of_range(finished, refused, rows):
    expected = f"--rows: expected an integer from 1 to 1,048,576, got {rows} (int)"
    assert refused("figures", finished, "--rows", rows) == expected


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


def test_evaluate_prints_a_table(finished, capsys, monkeypatch):
    bars = []

    def recorded(*arguments: Any, **options: Any) -> ProgressBar:
        bars.append(progress_bar(*arguments, **options))
        return bars[-1]

    monkeypatch.setattr("auxar.evaluation.likelihoods.progress_bar", recorded)
    assert main(["evaluate", str(finished), "--set", "evaluation.batch_size=3"]) == 0
    assert [(bar.n, bar.total) for bar in bars] == [(2, 2), (6, 6)]
    shown = capsys.readouterr().out
    table = figures_of(finished)
    for name in ("heldout", "training"):
        assert f"{table['bits_per_dim'][name]:.4f} ± {table['standard_error'][name]:.4f}" in shown
    assert [line.split()[0] for line in shown.splitlines() if line.startswith(("stage", "prior"))][:2] == [
        "stage0",
        "prior",
    ]
    assert "an upper bound, log p(X, X̂) ≤ log p(X)" in shown


def test_sample_takes_number_rule_seed_and_place(finished, tmp_path, capsys):
    def drawn(name: str, *arguments: str) -> list[bytes]:
        assert main(["sample", str(finished), "-n", "2", "--out", str(tmp_path / name), *arguments]) == 0
        assert capsys.readouterr().out == f"{tmp_path / name}\n"
        return [file.read_bytes() for file in sorted((tmp_path / name / "images").iterdir())]

    first = drawn("first", "--rule", "map", "--seed", "5")
    assert len(first) == 2
    assert drawn("again", "--rule", "map", "--seed", "5", "--batch-size", "1", "--sampler", "raster") == first
    assert drawn("seed", "--rule", "map", "--seed", "6") != first
    assert drawn("rule", "--rule", "reduced:reduction=2.5", "--seed", "5") != first
    facts = read_json(tmp_path / "rule" / "samples.json")
    assert (facts["rule"]["reduction"], facts["seed"], facts["count"]) == (2.5, 5, 2)
    with Image.open(tmp_path / "first" / "images" / "000001.png") as image:
        assert (image.size, image.mode) == ((8, 8), "RGB")
    assert (tmp_path / "first" / "samples.png").is_file()
    assert (tmp_path / "first" / "growth.png").is_file()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("--rule map --seed 2", "map-seed2"),
        ("--rule map:min_weight=0.05 --seed 2", "map-seed2"),
        ("--rule map:min_weight=0.25 --seed 2", "map-min_weight0.25-seed2"),
        ("--rule reduced:reduction=0.5,min_weight=0 --seed 2", "reduced-reduction0.5-min_weight0.0-seed2"),
    ],
)
def test_samples_go_into_the_run_under_rule_options_and_seed(finished, options, name, capsys):
    assert main(["sample", str(finished), "-n", "1", *options.split()]) == 0
    assert capsys.readouterr().out == f"{finished / 'samples' / name}\n"
    assert [file.name for file in (finished / "samples" / name / "images").iterdir()] == ["000000.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rule", "map:reduction=2"], "--rule: unknown key 'reduction' (known: min_weight)"),
        (["--rule", "reduced:reduction=-1"], "--rule: reduction must be at least 0, got -1.0"),
        (["--rule", "map:min_weight=1"], "--rule: min_weight must be less than 1, got 1.0"),
        (["--rule", "reducd"], "--rule: no rule is named 'reducd'; did you mean 'reduced'? (known: ancestral, "),
        (["--rule", "tempered"], "--rule: the rule 'tempered' changes nothing: the heads of this model are"),
        (["--seed", "9" * 30], "--seed: seed must be an integer from -2^63 to 2^63 - 1, got 999"),
        (["-n", "-1"], "--images: 'images' must be >= 0: -1"),
        (["--batch-size", "0"], "--batch-size: batch_size must be greater than 0, got 0"),
        (["--set", "sampling.rule=tempered:temperature=0"], "sampling.rule: temperature must be greater than 0, got 0"),
        (["--set", "sampling.rule=tempered"], "sampling.rule: the rule 'tempered' changes nothing: the heads of this "),
        (["--sampler", "ratser"], "--sampler: no sampler is named 'ratser'; did you mean 'raster'?"),
        (["--set", "stage[0].decoder.filters=5"], "filters=5: this command accepts only the keys sampling.…"),
    ],
)
def test_samples_that_cannot_be_drawn(finished, refused, arguments, message):
    assert message in refused("sample", finished, *arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "sampling.images=2", "sampling.seed=4"], {"count": 2, "seed": 4}),
        (["--set", "sampling.images=2", "-n", "1"], {"count": 1}),
        (
            ["--set", "sampling.rule=reduced", "sampling.rule.reduction=2", "-n", "1"],
            {"rule": {"name": "reduced", "reduction": 2.0, "min_weight": 0.05}},
        ),
        (
            ["--set", "sampling.rule.name=reduced", "sampling.rule.reduction=2", "-n", "1", "--rule", "map"],
            {"rule": {"name": "map", "min_weight": 0.05}},
        ),
        (["--set", "sampling.sampler=auto", "-n", "1", "--sampler", "raster"], {"sampler": "raster"}),
        (["--given", "IMAGE"], {"draws_each": 4}),
        (["--given", "IMAGE", "--set", "sampling.images=2"], {"draws_each": 2}),
        (["--given", "IMAGE", "--set", "sampling.images=2", "-n", "1"], {"draws_each": 1}),
    ],
)
def test_options_win_over_settings_and_settings_over_the_recipe(pictures, finished, tmp_path, arguments, expected):
    words = [str(pictures / "000.png") if word == "IMAGE" else word for word in arguments]
    assert main(["sample", str(finished), "--out", str(tmp_path / "drawn"), *words]) == 0
    facts = read_json(tmp_path / "drawn" / "samples.json")
    assert {key: facts[key] for key in expected} == expected


def test_an_interrupted_command_says_how_to_go_on(recipe, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("auxar.training.factors.train_factor", interrupt)
    assert main(["run", str(recipe)]) == 130
    assert "the same command continues a run from its last checkpoint" in capsys.readouterr().err


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=20))
def test_any_setting_is_told_without_a_traceback(recipe, text):
    assert main(["check", str(recipe), f"--set={text}"]) in (0, 2)


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
        lambda files: np.empty(2**50, dtype=np.uint8),
        raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
        raising(MemoryError()),
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
    [(RuntimeError("memory"), "^memory$"), (SystemExit(0), r"^the command was ended by sys\.exit\(0\) in other code")],
)
def test_other_errors_have_a_traceback(monkeypatch, error, message):
    """So has `sys.exit` in a component. The exit status 0 would say that the work is done."""
    monkeypatch.setattr("auxar.plugins.load_plugins", raising(error))
    with pytest.raises(RuntimeError, match=message):
        main(["plugins"])


def test_a_folder_whose_name_is_no_text_is_told(tmp_path, monkeypatch):
    """A run's recipe stores the full path of its images in UTF-8, so a path that is not valid UTF-8 is refused."""
    folder = tmp_path / "\udcff"
    write_pictures(folder / "pictures")
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"data\.path: the path '.*udcff/pictures' is not valid UTF-8"):
        run(folder / "run", tiny(Path("pictures")))
    assert not (folder / "run").exists()
