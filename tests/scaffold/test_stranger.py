"""Slow tests that third-party packages, installed next to auxar's wheel, pass their contract tests and work in recipes.

The usual tests run on what is installed, too: `.ci/run` installs the wheel, and they import nothing from the checkout.
"""

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.evaluations import figures_of
from helpers.tiny_runs import PROJECT, metrics, process_environment
from helpers.tutorial_files import write_tutorial

from auxar.cli import main
from auxar.scaffold import KINDS
from auxar.scaffold.writing import TEMPLATES

pytestmark = pytest.mark.slow
WRITTEN = ["pyproject.toml", "src/auxar_darkest/__init__.py", "tests/test_darkest.py", "recipes/darkest.toml"]
# Settings that make a recipe small enough to run in seconds.
SMALL = [
    "image.height=8",
    "image.width=8",
    "data.limit=24",
    "training.steps=2",
    "training.log_every=1",
    "training.initialization_images=8",
    "evaluation.heldout_images=2",
    "evaluation.train_images=2",
    "sampling.images=1",
]
# Projects, and the view that each provides.
VIEWS = {"auxar-darkest": "darkest", "auxar-generated": "generated"}


def done(arguments: Sequence[str | Path], folder: Path) -> str:
    """Runs a command, which must succeed, and returns its output. PYTHONPATH, which may name the checkout, is unset."""
    environment = {key: value for key, value in process_environment().items() if key != "PYTHONPATH"}
    finished = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class Stranger:
    """Two third-party view packages, and a new environment with their wheels and auxar's wheel."""

    def __init__(self, folder: Path) -> None:
        self.packages = folder / "packages"
        self.environment = folder / "environment"
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        assert write_tutorial("views.md", self.packages / "auxar-darkest") == WRITTEN
        arguments = ["new-plugin", "auxar-generated", "--kind", "view", "--out", str(self.packages)]
        assert main(arguments) == 0
        self._install([PROJECT, *(self.packages / name for name in VIEWS)], folder / "wheels")

    def _install(self, projects: Sequence[Path], wheels: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        offline = ["--no-deps", "--no-index", "--quiet"]
        done([*pip, "wheel", *offline, "--no-build-isolation", "-w", wheels, *projects], self.elsewhere)
        venv.create(self.environment, symlinks=True)
        found = sorted(wheels.glob("*.whl"))
        assert len(found) == len(projects)
        done([*pip, "--python", self.program("python"), "install", *offline, "--no-compile", *found], self.elsewhere)
        [site] = self.environment.glob("lib/python*/site-packages")
        # PyTorch and the other dependencies come from the environment that runs these tests, after the packages that
        # are installed here. The .pth files of that environment are not read, because they may lead to the checkout.
        shared = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (site / "shared.pth").write_text("\n".join(shared) + "\n")

    def program(self, name: str) -> Path:
        """Returns the path of a program of the environment."""
        return self.environment / "bin" / name

    def python(self, code: str) -> list[str]:
        """Runs code with the environment's Python, and returns the lines that it prints."""
        return done([self.program("python"), "-c", code], self.elsewhere).splitlines()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Stranger:
    return Stranger(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def printed(stranger) -> tuple[list[str], str]:
    """The lines with what is imported in the environment, and the recipe that the command `auxar recipes` prints.

    One process prints both, to save time.
    """
    lines = stranger.python(
        "import importlib.metadata as m, sys, auxar, auxar_pyramid, auxar_darkest, auxar_generated\n"
        "for module in (auxar, auxar_pyramid, auxar_darkest, auxar_generated): print(module.__file__)\n"
        "print(m.distribution('auxar').locate_file(''))\n"
        "print(*sorted(e.name for e in m.entry_points(group='auxar')))\n"
        "print(*sys.path, sep='\\n')\n"
        "print('recipe:')\n"
        "(command,) = (e.load() for e in m.entry_points(group='console_scripts', name='auxar'))\n"
        "sys.argv = ['auxar', 'recipes', 'small/celeba32']\n"
        "sys.exit(command())"
    )
    place = lines.index("recipe:")
    return lines[:place], "".join(f"{line}\n" for line in lines[place + 1 :])


def test_the_environment_has_the_wheels_and_not_the_checkout(stranger, printed):
    lines, _ = printed
    *places, names = lines[:6]
    for place in places:
        assert Path(place).is_relative_to(stranger.environment)
    found = names.split()
    assert {"darkest", "emoji", "generated", "grayscale", "pixelcnn", "pyramid"} <= set(found)
    assert len(found) == len(set(found)), "auxar's plugins are found in both environments"
    assert not {PROJECT, PROJECT / "plugins"} & {Path(path) for path in lines[6:]}


def test_the_wheel_has_the_templates_and_the_recipes(stranger, printed):
    [installed] = stranger.environment.glob("lib/python*/site-packages/auxar/scaffold/templates")
    assert contents(installed) == contents(TEMPLATES)
    assert len(contents(installed)) > len(KINDS)
    [installed] = stranger.environment.glob("lib/python*/site-packages/auxar/recipes")
    assert contents(installed) == contents(PROJECT / "recipes")
    assert stranger.program("auxar").is_file()
    first, rest = printed[1].split("\n", 1)
    assert first == f"#:schema {(installed / 'auxar.schema.json').as_uri()}"
    assert rest == (PROJECT / "recipes" / "small" / "celeba32.toml").read_text(encoding="utf-8").split("\n", 1)[1]


def test_their_tests_pass_on_what_is_installed(stranger):
    # The packages' own `pythonpath` is overridden, so that the installed wheels are tested.
    options = ["-q", "-o", "pythonpath=", "--import-mode=importlib", "-p", "no:cacheprovider"]
    tests = [stranger.packages / name / "tests" for name in VIEWS]
    done([stranger.program("python"), "-m", "pytest", *options, *tests], stranger.elsewhere)


@pytest.mark.parametrize(("project", "view"), VIEWS.items())
def test_their_recipes_run_from_anywhere(stranger, project, view):
    recipe = stranger.packages / project / "recipes" / f"{view}.toml"
    run = stranger.elsewhere / view
    done([stranger.program("auxar"), "run", recipe, "--out", run, "--set", *SMALL], stranger.elsewhere)
    assert {(line["factor"], line["step"]) for line in metrics(run)} == {
        (factor, step) for factor in ("stage0", "prior") for step in (1, 2)
    }
    assert figures_of(run)
    assert (run / "report.html").is_file()
    assert f'name = "{view}"' in (run / "recipe.toml").read_text(encoding="utf-8")
