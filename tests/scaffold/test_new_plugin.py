"""Tests that `auxar new-plugin` writes packages that pass their tests, and refuses names that are in use."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.tiny_runs import PROJECT, call

from auxar.cli import main
from auxar.errors import one_line, shown
from auxar.plugins import KINDS as ALL_KINDS
from auxar.plugins import load_plugins
from auxar.scaffold import KINDS, plugin_names

LONG = ("sampler", "network")
"""The kinds of packages whose own tests take long."""
QUICK = tuple(kind for kind in KINDS if kind not in LONG)
FEWER = """
from auxar.testing import views

views.EXAMPLES = 5
"""
"""A `conftest.py` with which the checks in the quick packages' tests try fewer examples than usual, to save time."""


def project(kind: str) -> str:
    return f"auxar-own-{kind}"


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder with a package of each kind."""
    folder = tmp_path_factory.mktemp("packages")
    for kind in KINDS:
        assert main(["new-plugin", project(kind), "--kind", kind, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def outcome(packages) -> Callable[[tuple[str, ...]], str]:
    """The output of pytest for packages of some kinds, in one process to save time. They are not installed."""

    @functools.cache
    def outcome(kinds: tuple[str, ...]) -> str:
        # The tests' own PYTHONPATH is kept, because auxar itself may be found through it.
        sources = (str(packages / project(kind) / "src") for kind in kinds)
        paths = os.pathsep.join([*sources, *filter(None, [os.environ.get("PYTHONPATH")])])
        (packages / "conftest.py").write_text(FEWER if kinds == QUICK else "")
        options = ["-rA", "--import-mode=importlib", "--rootdir", str(packages), "-p", "no:cacheprovider"]
        arguments = [sys.executable, "-m", "pytest", *options, *map(project, kinds)]
        return call(arguments, packages, PYTHONPATH=paths).stdout

    return outcome


# Written packages


@pytest.mark.parametrize("kind", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in LONG)])
def test_a_new_package_passes_its_own_tests(packages, outcome, kind):
    found = outcome(QUICK if kind in QUICK else LONG)
    passed = re.findall(rf"^PASSED {project(kind)}/tests/(\w+)\.py::\S+", found, re.MULTILINE)
    written = "".join(file.read_text() for file in (packages / project(kind) / "tests").iterdir())
    assert set(passed) == {"test_contract", "test_registration"}, found
    assert len(passed) >= written.count("def test_")
    assert not re.findall(rf"^(?:FAILED|ERROR) {project(kind)}/.*", found, re.MULTILINE)


@pytest.mark.slow
def test_the_tests_of_a_package_can_fail(packages, tmp_path):
    # If `pytest` is started in the folder of a package, it finds the sources without PYTHONPATH.
    broken = shutil.copytree(packages / project("view"), tmp_path / "broken")
    source = broken / "src" / "auxar_own_view" / "__init__.py"
    text = source.read_text()
    source.write_text(text.replace("return image // self.shades", "return image // self.shades + 1"))
    assert source.read_text() != text
    settings = broken / "pyproject.toml"
    settings.write_text(settings.read_text().replace('own-view = "auxar', 'own-views = "auxar'))
    done = call([sys.executable, "-m", "pytest", "-q"], broken)
    failed = set(re.findall(r"^FAILED tests/\w+\.py::(\w+)", done.stdout, re.MULTILINE))
    assert failed == {
        "test_it_is_a_view",
        "test_neighboring_values_become_one",
        "test_the_entry_point_names_the_plugin",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_tidy_and_complete(packages, kind):
    folder = packages / project(kind)
    for verb in (["check"], ["format", "--check"]):
        done = call([sys.executable, "-m", "ruff", *verb, "--no-cache", "."], folder)
        assert done.returncode == 0, done.stdout
    for file in (file for file in folder.rglob("*") if file.suffix in (".py", ".toml", ".md")):
        assert "$" not in file.read_text(), file
    table = tomllib.loads((folder / "pyproject.toml").read_text())
    assert table["project"]["name"] == project(kind)
    assert "auxar" in table["project"]["dependencies"]
    readme = (folder / "README.md").read_text()
    if kind == "command":
        entry = f"auxar_own_{kind}:own_{kind}"
        assert table["project"]["entry-points"] == {"auxar.commands": {f"own-{kind}": entry}}
        assert f"auxar own-{kind} --help" in readme
    else:
        assert table["project"]["entry-points"] == {"auxar": {f"own-{kind}": f"auxar_own_{kind}"}}
        assert f"recipes/own-{kind}.toml" in readme
    assert ".hypothesis/" in (folder / ".gitignore").read_text().split()


@pytest.mark.slow
def test_what_is_written_has_sound_types(packages):
    # mypy checks the packages against the types in auxar's sources.
    path = os.pathsep.join(map(str, (PROJECT, PROJECT / "plugins")))
    sources = [f"{project(kind)}/src/auxar_own_{kind}" for kind in KINDS]
    options = ["--check-untyped-defs", "--follow-imports=silent", "--ignore-missing-imports"]
    done = call([sys.executable, "-m", "mypy", *options, *sources], packages, MYPYPATH=path)
    assert done.returncode == 0, done.stdout


def test_every_kind_has_a_template():
    # Engines, trained models, arithmetics, and distributions that are not causal networks have no template. A command
    # is no component.
    assert set(KINDS) - {"command"} == set(ALL_KINDS) - {
        *("prior", "decoder", "engine", "model", "arithmetic", "rule", "optimizer", "schedule", "tracker")
    }


@pytest.mark.parametrize(
    ("name", "module", "component", "prefix"),
    [
        ("auxar-half-tone", "auxar_half_tone", "half-tone", "HalfTone"),
        ("auxar_half_tone2", "auxar_half_tone2", "half_tone2", "HalfTone2"),
        ("halftone", "halftone", "halftone", "Halftone"),
        ("auxar-3d", "auxar_3d", "auxar-3d", "Auxar3d"),
        ("auxarium", "auxarium", "auxarium", "Auxarium"),
    ],
)
def test_names_that_follow_from_the_projects(name, module, component, prefix):
    names = plugin_names(name)
    assert (names.module, names.component, names.class_prefix) == (module, component, prefix)


def test_the_command_says_what_it_wrote_and_what_is_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "halftone", "--kind", "sampler"]) == 0
    lines = capsys.readouterr().out.splitlines()
    written = {str(file.relative_to("halftone")) for file in Path("halftone").rglob("*") if file.is_file()}
    assert (lines[0], {line.strip() for line in lines[1:-1]}) == ("halftone:", written)
    assert lines[-1].endswith("cd halftone && pip install -e '.[test]' && pytest")


# Refusals


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a command, which must fail without writing anything, and returns its error message."""
    monkeypatch.chdir(tmp_path)

    def refused(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert main(["new-plugin", *arguments]) == 2
        assert sorted(tmp_path.rglob("*")) == before
        output = capsys.readouterr()
        assert not output.out
        return output.err.removeprefix("auxar: ").strip()

    return refused


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("My View", ", such as 'my-view'"),
        ("half--tone", ", such as 'half-tone'"),
        ("3d", ", such as 'd'"),
        ("../up", ", such as 'up'"),
        ("-", ""),
        ("", ""),
        ("ü", ""),
        ("half\n", ", such as 'half'"),
        ("A" * 10_000, f", such as '{one_line('a' * 10_000, 120)}'"),
    ],
)
def test_names_that_are_not_valid(refused, name, near):
    message = refused("--kind", "view", "--", name)
    assert message == (
        f"name {shown(name)}: expected lowercase letters and digits, starting with a letter, with single hyphens "
        f"or underscores between words{near}"
    )


def test_a_name_that_python_keeps_for_itself(refused):
    assert refused("class", "--kind", "view") == (
        "name 'class': a Python keyword cannot be the name of a module; choose another name, such as 'my-class'"
    )


@pytest.mark.parametrize("name", ["pyramid", "auxar-pyramid", "auxar_pyramid"])
def test_a_component_that_is_there_already_names_its_provider(refused, name):
    provider = load_plugins().providers["view", "pyramid"]
    assert refused(name, "--kind", "view") == (
        f"name '{name}' is taken: the view 'pyramid' is provided by {provider}; "
        "choose another name, such as 'my-pyramid'"
    )


def test_a_plugin_of_that_name_with_other_components(refused):
    message = refused("emoji", "--kind", "network")
    assert message.startswith("name 'emoji' is taken: auxar ")
    assert message.endswith(" has a plugin named 'emoji'; choose another name, such as 'my-emoji'")


@pytest.mark.parametrize("name", ["torch", "json", "auxar", "auxar-pixelcnn"])
def test_a_module_that_would_be_shadowed(refused, name):
    message = refused(name, "--kind", "embedding")
    if name == "auxar-pixelcnn":
        assert message.endswith("has a plugin named 'pixelcnn'; choose another name, such as 'my-pixelcnn'")
    else:
        assert message.startswith(f"name '{name}' is taken: the module '{name}' is installed (")


def test_a_project_whose_module_has_another_name(refused):
    message = refused("pillow", "--kind", "view")
    assert message.startswith("name 'pillow' is taken: the project is installed in version ")


def test_a_folder_on_the_path_and_a_command_do_not_take_their_names(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "auxar_pytest").mkdir()
    assert importlib.metadata.entry_points(group="console_scripts", name="pytest")
    assert main(["new-plugin", "auxar-pytest", "--kind", "view", "--out", str(tmp_path / "new")]) == 0


def test_nothing_is_overwritten(refused, tmp_path):
    (tmp_path / "halftone").mkdir()
    assert refused("halftone", "--kind", "view") == (
        "halftone exists and is not overwritten; choose another name or another --out"
    )
    (tmp_path / "file").write_text("in the way")
    assert refused("halftone", "--kind", "view", "--out", "file") == "--out: file is not a folder"
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_kind_that_is_none(refused):
    assert refused("halftone", "--kind", "veiw") == (
        "--kind: there is no template for 'veiw'; did you mean 'view'? "
        "(known: command, dataset, embedding, head, network, sampler, view)"
    )
    assert "'engine'" in refused("halftone", "--kind", "engine")


def test_no_kind(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["new-plugin", "halftone"])
    assert ended.value.code == 2
    assert "--kind" in capsys.readouterr().err
