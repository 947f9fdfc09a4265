"""Tests that all plugins are loaded in the same way, and that errors name the plugin."""

import importlib
import importlib.metadata
import logging
import re
from pathlib import Path

import pytest
import tomli_w
import torch
from helpers.installed import install
from helpers.tiny_runs import PROJECT, TINY, VIEW, said, tiny, write

from auxar.cli import main
from auxar.errors import UserError
from auxar.model import Values
from auxar.plugins import KINDS, load_plugins
from auxar.recipe import load_recipe
from auxar.recipe.building import build_model
from auxar.recipe.loading import parse_recipe


@pytest.fixture
def thin(tmp_path) -> Path:
    file = tmp_path / "thin.py"
    file.write_text(VIEW)
    return file


def with_plugin(folder: Path, **options: object) -> Path:
    view = {"name": "thin", **options}
    recipe = folder / "thin.toml"
    recipe.write_text(tomli_w.dumps(tiny(folder, plugins=["thin.py"], stage__0__view=view)))
    return recipe


def refusal(*files: Path) -> str:
    return said(load_plugins, files)


def plugin(path: Path, body: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"from auxar import Component, hookimpl\nimport attrs\nAUXAR_INTERFACE = 1\n{body}\n")
    return path


# A file beside a recipe


def test_a_file_that_is_not_there_or_not_python(thin):
    assert "thinn.py does not exist" in refusal(thin.with_name("thinn.py"))
    assert "did you mean 'thin.py'?" in refusal(thin.with_name("thinn.py"))
    text = thin.with_suffix(".txt")
    text.write_text(VIEW)
    assert refusal(text) == f"plugins: {text} is not a Python file; expected a name that ends in .py"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def f(:", "cannot be loaded: SyntaxError: "),
        ("1 / 0", "cannot be loaded: ZeroDivisionError: "),
        ("raise SystemExit(0)", "cannot be loaded: SystemExit: 0"),
        ("raise GeneratorExit", "cannot be loaded: GeneratorExit: "),
    ],
)
def test_a_file_that_fails_is_named(tmp_path, body, message):
    file = plugin(tmp_path / "broken.py", body)
    assert f"plugins: {file} {message}" in refusal(file)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "def auxar_register_components(): return []",
            "registers nothing; expected a function auxar_register_components",
        ),
        ("@hookimpl\ndef auxar_register_component(): return []", "known hooks: auxar_register_components"),
        ("@hookimpl\ndef auxar_register_components(registry): return []", "registry"),
        ("@hookimpl\ndef auxar_register_components(): return ['view']", "must return a list of Component records"),
        ("@hookimpl\ndef auxar_register_kinds(): return ['', 'x']", "must return a list of names, got ''"),
        ("@hookimpl\ndef auxar_register_kinds(): return [3]", "must return a list of names, got 3"),
        ("@hookimpl\ndef auxar_register_components(): pass", "auxar_register_components failed: TypeError"),
        ("@hookimpl\ndef auxar_register_components(): raise OSError('no disk')", "failed: OSError: no disk"),
        (
            "@attrs.frozen\nclass C: pass\n@hookimpl\ndef auxar_register_components():\n"
            "    return [Component('views', 'x', C, C)]",
            "the kind 'views' of the component 'x' is unknown; did you mean 'view'? (known: arithmetic, ",
        ),
        (
            "@hookimpl\ndef auxar_register_components(): return [Component('view', 'x', dict, dict)]",
            "config must be an attrs class, got <class 'dict'>",
        ),
    ],
)
def test_a_hook_that_is_wrong_names_its_plugin(tmp_path, body, message):
    file = plugin(tmp_path / "wrong.py", body)
    found = refusal(file)
    quote = "" if "failed" in found or "return" in found or "the kind" in found else "'"
    assert found.startswith(f"plugin {quote}wrong")
    assert str(file) in found
    assert message in found


@pytest.mark.parametrize("kind", ["Path", "Path | None", "tuple[Path, ...]", "dict[str, Palette]", "Palette"])
def test_only_data_sets_have_options_that_are_paths(tmp_path, kind):
    body = f"""
from pathlib import Path
@attrs.frozen
class Palette:
    file: Path = Path("colors.json")
    parts: "tuple[Palette, ...]" = ()
@attrs.frozen
class C:
    shades: int = 3
    colors: {kind} = None
@hookimpl
def auxar_register_components():
    return [Component("view", "kmeans", C, C)]
"""
    file = plugin(tmp_path / "fitted.py", body)
    expected = f"plugin fitted ({file}): the option 'colors' of the view 'kmeans' is the path of a file"
    assert refusal(file).startswith(expected)
    assert "colors: tuple[tuple[int, ...], ...]" in refusal(file)
    plugin(file, body.replace('"view"', '"dataset"'))
    assert ("dataset", "kmeans") in load_plugins([file]).components


def test_two_components_of_one_name_name_both_providers(thin):
    other = thin.with_name("other.py")
    other.write_text(VIEW)
    assert refusal(thin, other) == f"the view 'thin' is provided twice, by thin ({thin}) and by other ({other})"
    other.write_text(VIEW.replace('"thin"', '"pyramid"'))
    message = refusal(other)
    assert message.startswith("the view 'pyramid' is provided twice, by pyramid (auxar ")
    assert message.endswith(f" and by other ({other})")


@pytest.mark.parametrize("kinds", [("network", "prior"), ("decoder", "network"), ("network", "network")])
def test_a_network_has_another_name_than_priors_and_decoders(tmp_path, kinds):
    """A recipe may name a network in the place of both."""
    for name, kind in zip("ab", kinds, strict=True):
        (tmp_path / f"{name}.py").write_text(VIEW.replace('Component("view"', f'Component("{kind}"'))
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    words = f"the {kinds[1]} 'thin' is provided twice, by a ({first}) and by b ({second})"
    also = "" if len(set(kinds)) == 1 else ", because a network is also a prior and a decoder"
    assert refusal(first, second) == words + also


def test_two_files_of_one_name(thin):
    other = thin.parent / "sub" / "thin.py"
    other.parent.mkdir()
    other.write_text(VIEW)
    assert refusal(thin, other) == f"two plugins are named 'thin': {thin} and {other}; uninstall or rename one"


def test_files_of_one_name_do_not_see_each_other(tmp_path):
    files = [tmp_path / folder / "same.py" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text(VIEW)
    first, second = (load_plugins([file]).components["view", "thin"].config for file in files)
    assert first is not second
    assert first.__module__ != second.__module__


# The version of the interfaces


@pytest.mark.parametrize(
    ("line", "version"), [("", None), ("AUXAR_INTERFACE = 2", 2), ("AUXAR_INTERFACE = True", True)]
)
def test_a_plugin_for_other_interfaces_is_refused(thin, line, version):
    thin.write_text(VIEW.replace("AUXAR_INTERFACE = 1", line))
    words = f"declares AUXAR_INTERFACE = {version}, but the interfaces of this auxar have the version 1"
    assert refusal(thin) == f"plugin 'thin' ({thin}) {words}"


# Installed plugins


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImportError("libcolor.so is missing"), "cannot be loaded: ImportError: libcolor.so is missing"),
        (SystemExit(0), "cannot be loaded: SystemExit: 0"),
        (importlib.import_module("auxar_augmentations"), "is the plugin 'augmentations', too"),
        (None, "declares AUXAR_INTERFACE = None"),
    ],
)
def test_an_installed_plugin_that_fails_is_reported_and_the_others_load(monkeypatch, error, reason):
    def load():
        if isinstance(error, BaseException):
            raise error
        return error

    install(monkeypatch, "color", load)
    with pytest.warns(UserWarning, match=rf"plugin 'color' \(color_package\) {reason}"):
        registry = load_plugins()
    assert registry.names("view") == ["bitplanes", "grayscale", "pyramid", "subsample"]
    with pytest.raises(UserError, match=r"stage\[0\]\.view: .*some plugins are missing: plugin 'color'"):
        registry.get("view", "hue", "stage[0].view")


# The list of components


def test_the_list_has_a_line_for_each_component(thin, capsys, refused):
    assert main(["plugins", str(thin)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(load_plugins().components) + 1
    assert max(map(len, lines)) <= 100
    assert "view thin: Every `every`-th pixel of every `every`-th row." in lines
    heads = [line.split(" ")[0] for line in lines]
    assert heads == sorted(heads)
    assert set(heads) == set(KINDS) - {"prior", "decoder", "tracker"}
    assert "no kind is named 'pyramids'; did you mean 'pyramid'?" in refused("plugins", "pyramids")


def test_named_components_and_kinds_tell_providers_options_types_and_defaults(thin, capsys):
    assert main(["plugins", str(thin), "view", "pixelcnn", "cached"]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index(f"view thin: Every `every`-th pixel of every `every`-th row. [thin ({thin})]")
    options = ["    every: int (required)", "    share: float | None = None", "    names: tuple[str, ...] = ['a', 'b']"]
    assert lines[start + 1 :] == options
    heads = [line.partition(":")[0] for line in lines if not line.startswith(" ")]
    views = [f"view {name}" for name in ("bitplanes", "grayscale", "pyramid", "subsample", "thin")]
    assert heads == ["network pixelcnn", "sampler cached", *views]
    (grayscale,) = [line for line in lines if line.startswith("view grayscale: ")]
    assert grayscale.endswith(f" [grayscale (auxar {importlib.metadata.version('auxar')})]")
    assert lines[lines.index(grayscale) + 1] == "    levels: int = 16"
    assert (
        "    head: HeadChoice = {'name': 'logistic_mixture', 'components': 10, 'centered': True, 'neighbors': False}"
        in lines
    )
    assert "    engine: EngineChoice = 'auto'" in lines


# Trust in the plugin files of a recipe


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        ("model.toml", "thin.py"),
        ("recipe.toml", "plugins/thin.py"),
        ("model.toml", "../thin.py"),
        ("model.toml", "plugins/link.py"),
        ("model.toml", "ABSOLUTE"),
        ("--set", "thin.py"),
    ],
)
def test_every_recipe_needs_trust_in_its_plugin_files(tmp_path, monkeypatch, capsys, caplog, recipe, name):
    """The name of the recipe, the files beside it and the places of its plugin files make no difference."""
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "marker"
    folder = tmp_path / "recipe"
    for place in (tmp_path, folder, folder / "plugins"):
        place.mkdir(exist_ok=True)
        (place / "thin.py").write_text(f"{VIEW}\nopen({str(marker)!r}, 'w')\n")
    (folder / "plugins" / "link.py").symlink_to("../../thin.py")
    name = str(tmp_path / "thin.py") if name == "ABSOLUTE" else name
    table = tiny(tmp_path, stage__0__view={"name": "thin", "every": 2})
    settings = ["--set", f'plugins=["{name}"]'] if recipe == "--set" else []
    path = write(folder / recipe.replace("--set", "model.toml"), table if settings else {**table, "plugins": [name]})
    shown = name if settings else folder / name  # Paths of settings are relative to the working directory.
    for verb in ("check", "run"):
        assert main([verb, str(path), *settings]) == 2
        assert capsys.readouterr().err == (
            f"auxar: {path}: plugins: this recipe names plugin files, which are code: {shown}; read them, "
            "and if you trust them, add --trust-plugins (in Python: trust_plugins=True)\n"
        )
    with pytest.raises(UserError, match="add --trust-plugins"):
        parse_recipe(path.read_text(), folder, settings[1:])
    assert not marker.exists()
    assert not Path("runs").exists()
    with caplog.at_level(logging.INFO, "auxar"):
        assert main(["check", str(path), *settings, "--trust-plugins"]) == 0
    assert marker.exists()
    assert caplog.messages == [f"loading the plugin files {shown}"]


def test_a_missing_plugin_file_is_reported_before_trust(thin):
    recipe = with_plugin(thin.parent, every=2)
    told = f"{recipe}: plugins: {thin.with_name('thinn.py')} does not exist; did you mean 'thin.py'?"
    assert said(load_recipe, recipe, [f'plugins=["{thin}", "{thin.with_name("thinn.py")}"]']).startswith(told)


# The core and its plugins


def test_the_readmes_view_is_a_plugin(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if "auxar_register_components" in block]
    (tmp_path / "darkest.py").write_text(block, encoding="utf-8")
    text = TINY.replace('{ name = "pyramid", factor = 2 }', '{ name = "darkest" }')
    recipe = parse_recipe('plugins = ["darkest.py"]\n' + text, tmp_path, trust_plugins=True)
    model = build_model(recipe)
    image = torch.randint(0, 256, (2, 3, 8, 8))
    assert torch.equal(model.with_views(Values({"image": image}))["view1"], image.min(dim=1, keepdim=True).values)
    assert model.log_prob(image).isfinite().all()
