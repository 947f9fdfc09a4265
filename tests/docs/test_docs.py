"""Tests that the documentation agrees with the code: examples run, references are complete, and the site builds
strictly."""

import argparse
import ast
import contextlib
import doctest
import importlib
import importlib.util
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from helpers.tiny_runs import PROJECT, call

import auxar
from auxar.cli.parser import command_line
from auxar.commands.run import run as run_recipe
from auxar.errors import UserError
from auxar.evaluation.stored import read_evaluation
from auxar.model import ImageSpec
from auxar.plugins import load_plugins
from auxar.recipe.building import build_model
from auxar.recipe.loading import parse_recipe
from auxar.runs.models import find_run
from auxar_pixelcnn.components import LightConfig, light
from auxar_samplers.compiler.wavefront import make_schedule

DOCS = PROJECT / "docs"
# The code blocks of these pages are files of plugins, which other tests run.
PAGES_OF_FILES = [DOCS / f"{name}.md" for name in ("views", "networks", "datasets", "optimizers")]
PAGES = [PROJECT / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if page not in PAGES_OF_FILES)]
GENERATED = re.compile(r"^<!-- generated: .*?^<!-- end -->$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> Path:
    """A folder with the recipes and a barely trained run of the quickstart."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(PROJECT / "recipes", folder / "recipes")
    settings = ["training.steps=1", "training.initialization_images=8", "evaluation.heldout_images=4"]
    settings += ["evaluation.train_images=0", "sampling.images=0", "prior.filters=8", "prior.blocks=1"]
    settings += [f"stage[{k}].{part}.filters=8" for k in range(2) for part in ("embedding", "decoder")]
    run_recipe(PROJECT / "recipes" / "quickstart.toml", settings=settings, out=folder / "runs" / "quickstart")
    return folder


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """Returns the code blocks of a page in a language, without generated signatures, which cannot be run."""
    written = GENERATED.sub("", read(page))
    return re.findall(rf"^```{language}\n(.*?)^```$", written, re.DOTALL | re.MULTILINE)


def with_blocks(language: str) -> Any:
    pages = [page for page in PAGES if blocks(page, language)]
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.relative_to(PROJECT).as_posix())


# Examples


def modules_with_examples() -> list[str]:
    files = [(file, root) for root in (PROJECT, PROJECT / "plugins") for file in sorted(root.glob("auxar*/**/*.py"))]
    found = [file.relative_to(root).with_suffix("") for file, root in files if ">>> " in read(file)]
    return [".".join(name.parts).removesuffix(".__init__") for name in found]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings(name, quickstart, monkeypatch):
    monkeypatch.chdir(quickstart)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed


@with_blocks("python")
def test_python_blocks_run_and_give_the_shapes_they_say(page, quickstart, monkeypatch):
    monkeypatch.chdir(quickstart)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page, "python"):
        for statement in ast.parse(block).body:
            value = execute(statement, names)
            lines = block.splitlines()[statement.lineno - 1 : statement.end_lineno]
            said = re.search(r"#.*?(\(\d+,\)|\(\d+(?:, \d+)+\))", lines[-1])
            if said and value is not None:
                assert tuple(value.shape) == ast.literal_eval(said[1]), lines[-1]


def execute(statement: ast.stmt, names: dict[str, Any]) -> Any:
    """Runs a statement. Returns the value of an expression or of an assignment to one name, and otherwise None."""
    if isinstance(statement, ast.Expr):
        return eval(compile(ast.Expression(statement.value), "page", "eval"), names)
    exec(compile(ast.Module([statement], []), "page", "exec"), names)
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return names[statement.targets[0].id]
    return None


@with_blocks("toml")
def test_recipes_on_pages_can_be_built(page, tmp_path):
    for block in blocks(page, "toml"):
        recipe = parse_recipe(block, tmp_path)
        assert build_model(recipe, on="meta").image == recipe.image


@with_blocks("sh")
def test_commands_on_pages_can_be_parsed(page):
    parser = command_line()
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&", line):
                words = shlex.split(command.partition(" > ")[0], comments=True)
                if "auxar" in words[:1] or ("-m" in words and words[words.index("-m") + 1] == "auxar"):
                    parsed = parse(parser, words[words.index("auxar") + 1 :])
                    assert parsed is not None, line


def parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace | None:
    with contextlib.suppress(SystemExit):
        return parser.parse_args(words)
    return None


FILES = [*sorted(PROJECT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def test_scripts_on_pages_have_the_options_that_are_named():
    tried = 0
    for page in FILES:
        for script, arguments in re.findall(r"\bpython ((?:tests|docs)/\S+\.py)([^`#\n]*)", read(page)):
            parsers = read(PROJECT / script) + read(PROJECT / "tests" / "benchmarks" / "measuring.py")
            for option in re.findall(r"--[\w-]+", arguments):
                name = option.removeprefix("--").replace("-", "_")  # A keyword of `measuring.options_of`.
                assert re.search(rf'"{option}"|"{name}"|\b{name}=', parsers), (page.name, script)
                tried += 1
    assert tried > 10


@pytest.mark.parametrize("page", FILES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_and_pictures_of_a_page_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), link
        assert not anchor or {anchor, anchor.rpartition(".")[0]} & anchors(target), link


def prose(page: Path) -> str:
    """Returns the text of a page without code blocks and inline code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page: its headings in GitHub's form, and the names that the reference describes."""
    headings = re.findall(r"^#+ (.*)$", read(page), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^::: (\S+)$", read(page), re.MULTILINE))


# References


def test_generated_parts_and_pictures_are_up_to_date(generate):
    assert [file.name for file, _ in generate("write").outdated_files()] == []


def rows(table: str) -> dict[str, list[str]]:
    """Returns the other cells of each row of a Markdown table by the text of its first cell."""
    drawn = [line for line in table.splitlines() if line.startswith("|")]
    lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in drawn]
    return {line[0].strip("`"): line[1:] for line in lines[2:]}


MINIMAL = """
[data]
path = "emoji"
[image]
height = 8
width = 8
[[stage]]
view = "pyramid"
embedding = "resnet"
decoder = "pixelcnn"
[prior]
name = "pixelcnn"
[training]
steps = 1
"""


def test_the_defaults_in_the_tables_are_those_that_hold(generate, tmp_path):
    tables = generate("recipe_tables")
    tried = 0
    for table in tables.TABLES:
        text = MINIMAL + '\n[condition]\nkind = "image"\ncolumn = "y"\n' * (table == "condition")
        plain = parse_recipe(text, tmp_path)
        for name, (_, default, _) in rows(tables.keys(table)).items():
            if default.startswith("`"):
                where = "stage[0]" if table == "stage" else table
                said = parse_recipe(text, tmp_path, [f"{where}.{name}={default.strip('`')}"])
                assert said == plain, name
                tried += 1
    assert tried > 30


def test_limits_in_the_tables_are_those_that_hold(generate):
    tables = generate("recipe_tables")
    tried = 0
    for cls in {*tables.TABLES.values(), *(component.config for component in load_plugins().components.values())}:
        for name, meaning in tables.field_docs(cls).items():
            if said := re.search(r"\b(\d+) … (\d+)(?:\^(\d+))?", meaning):
                field = attrs.fields_dict(cls)[name]
                check = field.validator
                assert check is not None, name
                lowest, highest = int(said[1]), int(said[2]) ** int(said[3] or 1)
                for value in (lowest, highest):
                    check(None, field, value)
                for value in (lowest - 1, highest + 1):
                    with pytest.raises((UserError, ValueError), match=name):
                        check(None, field, value)
                tried += 1
    assert tried > 15


def section(page: Path, heading: str) -> str:
    """Returns the text of a page below a heading of the second level, up to the next such heading."""
    return read(page).split(f"\n## {heading}\n")[1].split("\n## ")[0]


def keys_of(value: object) -> set[str]:
    """Returns the keys of nested tables."""
    if isinstance(value, list | tuple):
        return set().union(*map(keys_of, value))
    return {*value, *keys_of(list(value.values()))} if isinstance(value, dict) else set()


def test_keys_of_an_evaluation_are_those_that_are_printed():
    text = section(DOCS / "recipes.md", "`evaluation.safetensors`").split("\n| part |")[1]
    said = set(re.findall(r"`([a-z_]+)`", text))
    found = read_evaluation(find_run(Path("emoji32")).evaluation)
    nats = {key: tensor for key, tensor in found.tensors.items() if key.startswith("heldout.")}
    null = {key.replace(".nats", ".null"): tensor for key, tensor in nats.items()}
    condition = {"heldout.condition.nats": nats["heldout.prior.nats"][:1]}
    table = attrs.evolve(found, tensors={**found.tensors, **null, **condition}).to_dict()
    assert set(found.figures().means()) <= said
    assert {key for key in said if "_" in key} <= keys_of(table)


def test_every_command_has_a_row_of_its_json(generate):
    commands = rows(read(DOCS / "commands.md").split("### JSON")[1].split("\n### ")[0])
    assert {*commands, "demo"} == set(generate("command_tables").parsers())


def test_every_public_name_is_on_one_page_of_the_reference():
    pages = "\n".join(map(read, (DOCS / "api").glob("*.md")))
    named = re.findall(r"^::: auxar\.(\w+)$", pages, re.MULTILINE)
    assert sorted(named) == sorted({*auxar.__all__, "testing"} - {"__version__"})


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_the_lag_of_a_network_follows_from_its_blocks(blocks):
    assert "A `pixelcnn` network with B blocks has a lag of 2B + 2." in " ".join(read(DOCS / "sampling.md").split())
    network = light(LightConfig(filters=2, blocks=blocks), ImageSpec(height=16, width=16))
    assert make_schedule(network).lag == 2 * blocks + 2


# Measured figures


def measured(text: str) -> list[str]:
    """Returns the values with a standard error in a text, such as "4.11 ± 0.12"."""
    return re.findall(r"\d+\.\d+ ± \d+\.\d+", text)


def headers(*recipes: str) -> str:
    return "".join(read(PROJECT / "recipes" / f"{recipe}.toml") for recipe in recipes)


def test_measured_bits_per_dim_on_pages_are_those_in_recipes():
    emoji = rows(section(DOCS / "idea.md", "Views compared"))
    assert len(emoji) == 5
    for name, cells in emoji.items():
        assert measured(cells[-1]) == measured(headers(f"small/emoji/{name}"))
    faces = measured(section(PROJECT / "README.md", "Results against the paper"))
    assert len(faces) == 10
    recipes = ("tight/small/table2_coarse", "small/table2_coarse", "small/table2")
    assert set(faces) <= set(measured(headers(*recipes)))


@pytest.mark.slow
def test_models_of_table_1_in_small_take_the_same_compute():
    for name in ("plain", "grayscale", "pyramid"):
        recipe = auxar.load_recipe(f"small/table1/{name}")
        work = 0.0
        for cost in auxar.factor_costs(recipe):
            config = recipe.training_of(cost.factor)
            assert config.steps is not None
            work += 3 * cost.multiply_adds * config.steps * config.batch_size
        assert work == pytest.approx(4.1e13, rel=0.002), name  # as the recipe's header and the page say


# The site


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built in strict mode."""
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("the site needs the extra 'docs': pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs")
    shutil.copy(PROJECT / "zensical.toml", folder)
    for sources in ("auxar", "plugins"):
        (folder / sources).symlink_to(PROJECT / sources)
    done = call([sys.executable, "-m", "zensical", "build", "--strict"], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.mark.slow
def test_the_site_has_every_page_with_its_tables_and_pictures(site):
    expected = {page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")}
    assert not (site / "generate").exists()
    assert expected <= {page.relative_to(site) for page in site.rglob("*.html")}
    for page, texts in {
        "recipes.html": ["initialization_images", "crop.left"],
        "api/model.html": ["auxar.CausalNetwork.forward", "auxar.DrawSource.of", "((3, 32, 32), 3072)"],
        "api/testing.html": ["check_view"],
    }.items():
        text = re.sub(r"<[^>]+>", "", read(site / page)) + read(site / page)
        assert [word for word in texts if word not in text] == [], page
    shown = re.findall(r'<img [^>]*src="(pictures/[^"]+)"', read(site / "idea.html"))
    assert shown
    assert all((site / picture).stat().st_size > 1000 for picture in shown)
