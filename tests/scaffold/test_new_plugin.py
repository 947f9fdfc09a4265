"""Tests that `auxar new-plugin` writes packages that pass their tests, and refuses names that are in use."""

import functools
import os
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from helpers.tiny_runs import PROJECT, call

from auxar.cli import main
from auxar.plugins import load_plugins
from auxar.scaffold import KINDS

LONG = ("sampler", "network")
"""The kinds of packages whose own tests take long."""
QUICK = tuple(kind for kind in KINDS if kind not in LONG)
FEWER = """
from auxar.testing import embeddings, heads, views

embeddings.EXAMPLES = heads.EXAMPLES = views.EXAMPLES = 5
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


def test_what_is_written_is_tidy(packages):
    for verb in (["check"], ["format", "--check"]):
        done = call([sys.executable, "-m", "ruff", *verb, "--no-cache", *map(project, KINDS)], packages)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_complete(packages, kind):
    folder = packages / project(kind)
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


def test_the_command_says_what_it_wrote_and_what_is_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "halftone", "--kind", "sampler"]) == 0
    lines = capsys.readouterr().out.splitlines()
    written = {str(file.relative_to("halftone")) for file in Path("halftone").rglob("*") if file.is_file()}
    assert (lines[0], {line.strip() for line in lines[1:-1]}) == ("halftone:", written)
    assert lines[-1].endswith("cd halftone && pip install -e '.[test]' && pytest")


# Refusals


FORM = "expected lowercase letters and digits, starting with a letter, with single hyphens or underscores between words"
PROVIDER = load_plugins().providers["view", "pyramid"]
KNOWN = ", ".join(sorted(KINDS))


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("My View", "view", f"name 'My View': {FORM}"),
        ("../up", "view", f"name '../up': {FORM}"),
        ("class", "view", "name 'class': a Python keyword cannot be the name of a module; choose another name"),
        ("auxar_pyramid", "view", f"is taken: the view 'pyramid' is provided by {PROVIDER}; choose another name"),
        ("auxar-pixelcnn", "embedding", "is taken: the module 'auxar_pixelcnn' is installed ("),
        ("torch", "embedding", "name 'torch' is taken: the module 'torch' is installed ("),
        ("halftone", "veiw", f"--kind: there is no template for 'veiw'; did you mean 'view'? (known: {KNOWN})"),
    ],
)
def test_names_and_kinds_that_are_refused(refused, name, kind, message):
    assert message in refused("new-plugin", "--kind", kind, "--", name)


def test_nothing_is_overwritten_or_left_unfinished(refused, tmp_path, monkeypatch):
    (tmp_path / "halftone").mkdir()
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(28, "No space left on device")))
    assert refused("new-plugin", "halftone", "--kind", "view").endswith("cannot be written: No space left on device")
    (tmp_path / "halftone" / "mine").touch()
    assert refused("new-plugin", "halftone", "--kind", "view").startswith("halftone exists and is not replaced; choose")
    (tmp_path / "file").write_text("in the way")
    refusal = refused("new-plugin", "halftone", "--kind", "view", "--out", "file")
    assert refusal == "file/halftone cannot be written: Not a directory"
    assert (tmp_path / "file").read_text() == "in the way"
