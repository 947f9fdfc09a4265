"""Tests that every benchmark runs, at its smallest size, and that pages name only commands that it understands."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import auxar

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
SMALLEST = {
    "agreement": "emoji32 --images 1",
    "busy": "--repeats 1 --steps 0.04",
    "codecs": "emoji32 --images 2",
    "integers": "emoji32 --widths 13/14 --images 2 --speed 1",
    "memory": "--side 16 --batch 1 --steps 2",
    "outliers": "emoji32 noise=data/cifar10-lossless/test.parquet --images 2",
    "quality": "--data data --out out --cases 'faces 32×32 given 16×16' --arms 'convnet, Muon' --steps 0.002 --seeds 1",
    "restricted": "--repeats 2 --case 16x16",
    "same_bits": "--compiler c++ --flags=-O1",
    "same_results": "write digests.json --only kinds/no-view/0 --processes 1",
    "sampling": "--case light32 --batch 1 --repeats 1 --raster-pixels 1",
    "stability": "emoji32 --images 2 --min-weights 0",
    "training": "--repeats 1 --side 8 --filters 4 --batch 2 --uncompiled",
}
"""The arguments of each script with which it takes the least time."""
PROGRAMS = {"codecs": ["optipng", "cwebp", "cjxl"], "same_bits": ["c++"]}
"""Programs that a script needs."""
OTHERS = {"instruction_sets", "measuring"}
"""Modules that scripts share."""


def test_every_script_has_a_smallest_size():
    assert SMALLEST.keys() | OTHERS == {path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("test_")}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A current folder with data sets of noise, under the names that scripts ask for."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "data").mkdir()
    for name in ("celeba-coarse", "cifar10-lossless"):
        auxar.write_dataset(tmp_path / "data" / name, train=pixels[:12], test=pixels[12:])


@pytest.mark.slow
@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", SMALLEST)
def test_a_script_runs_at_its_smallest_size(name):
    if missing := [program for program in PROGRAMS.get(name, []) if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    command = [sys.executable, str(FOLDER / f"{name}.py"), *shlex.split(SMALLEST[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"\d", done.stdout)


def commands_of_pages():
    """Yields (page, script, options) for each command of a benchmark in the pages and in the scripts' descriptions."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *FOLDER.glob("*.py")]
    for page in pages:
        for script, rest in re.findall(r"tests/benchmarks/(\w+)\.py([^`#\n]*)", page.read_text(encoding="utf-8")):
            yield page.name, script, set(re.findall(r"(?<=\s)--[a-z][a-z-]*", rest))


def test_pages_name_only_commands_that_run():
    commands = list(commands_of_pages())
    assert len(commands) > 20
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    assert not [(page, script) for page, script, _ in commands if script not in scripts]
    options = {(page, script, option) for page, script, names in commands for option in names - {"--json"}}
    # Each option is a keyword argument of `options_of` or a string.
    unknown = [
        (page, script, option)
        for page, script, option in options
        if not re.search(rf'\b{option[2:].replace("-", "_")}=|"{option}"', scripts[script])
    ]
    assert not unknown
