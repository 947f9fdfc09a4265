"""Plugins: the hook, what it returns, and the registry of all that plugins provide.

A plugin is a module (or object) with a function marked by `hookimpl` and with the number `AUXAR_INTERFACE`, the version
of the interfaces that it was made for. It is found through an entry point in the group `auxar`, or as a Python file
that a recipe names. The plugins that auxar ships are found in the same way.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import attrs
import pluggy

from auxar.errors import UserError, did_you_mean
from auxar.files import read_bytes
from auxar.interfaces.version import interface_problem

logger = logging.getLogger("auxar")
GROUP = "auxar"
Kind = Literal["view", "prior", "embedding", "decoder", "head", "sampler", "engine", "dataset"]
MADE_BY_RUNS = ("run.json", "factors", "samples", "figures", "evaluation.json", "report.html")
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@attrs.frozen
class Component:
    """Something a recipe can name.

    `config` is a frozen attrs class: its fields are the options that the recipe may set, with their types and
    defaults. `build` makes the component, by kind:

    - view: `build(config, image: ImageSpec) -> View`
    - prior: `build(config, image: ImageSpec) -> Prior`
    - embedding: `build(config, view: ImageSpec, image: ImageSpec) -> Embedding`
    - decoder: `build(config, image: ImageSpec, features_channels: int) -> Decoder`
    - head: `build(config, image: ImageSpec) -> Head`
    - sampler: `build(config) -> Sampler`
    - engine: `build(config) -> auxar_samplers.engines.Engine`
    - dataset: `build(config) -> pathlib.Path`, a parquet file or a folder of images

    A `build` raises `UserError` for sizes and options that do not fit.
    """

    kind: Kind = attrs.field()
    name: str
    config: type = attrs.field()
    build: Callable[..., Any]

    @kind.validator
    def _known_kind(self, attribute: attrs.Attribute[Any], value: str) -> None:
        if value not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {value!r}")

    @config.validator
    def _attrs_class(self, attribute: attrs.Attribute[Any], value: type) -> None:
        if not attrs.has(value):
            raise ValueError(f"config must be an attrs class, got {value!r}")

    @property
    def summary(self) -> str:
        """First line of the config class's docstring."""
        return (self.config.__doc__ or "").strip().split("\n")[0]


class HookSpecification:
    """All hooks that auxar calls."""

    @hookspec
    def auxar_register_components(self) -> Sequence[Component]:  # type: ignore[empty-body]
        """Called once when plugins are loaded; returns the components that the plugin provides."""


@attrs.frozen
class Registry:
    """Every component of the loaded plugins, with the name of its provider."""

    components: dict[tuple[str, str], Component]
    providers: dict[tuple[str, str], str]
    problems: tuple[str, ...] = ()
    """Installed plugins that could not be loaded, and why. The others work all the same."""

    def get(self, kind: Kind, name: str, path: str) -> Component:
        """The component of that kind and name; `UserError` at the key `path` if there is none."""
        try:
            return self.components[kind, name]
        except KeyError:
            hint = did_you_mean(name, self.names(kind))
            failed = f"; not loaded: {'; '.join(self.problems)}" if self.problems else ""
            raise UserError(f"{path}: no {kind} is named '{name}'{hint}{failed}") from None

    def names(self, kind: Kind) -> list[str]:
        """Names of all components of one kind."""
        return sorted(name for known, name in self.components if known == kind)

    def dataset_paths(self) -> dict[str, Path]:
        """Registered data sets and where their images are."""
        found = {}
        for name in self.names("dataset"):
            component = self.components["dataset", name]
            found[name] = Path(component.build(component.config()))
        return found


def load_plugins(files: Iterable[Path] = ()) -> Registry:
    """The registry of all installed plugins and of the given plugin files.

    Raises `UserError` for a file that cannot be loaded or was made for other interfaces, two plugins or two components
    of one name, and a hook that auxar does not know. An installed plugin that cannot be loaded, or was made for other
    interfaces, is left out with a warning.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(HookSpecification)
    problems = []
    origins: dict[str, str] = {}
    for name, origin, is_file, load in _sources(files):
        try:
            plugin = load()
        except UserError:
            raise
        except Exception as error:  # A stranger's module may fail in any way; the others still load.
            problems.append(f"plugin '{name}' ({origin}): {type(error).__name__}: {error}")
            warnings.warn(problems[-1], stacklevel=2)
            continue
        if name in origins:
            raise UserError(f"two plugins are named '{name}': {origins[name]} and {origin}; uninstall or rename one")
        origins[name] = origin
        problem = interface_problem(plugin)
        if problem is None:
            _register(manager, plugin, name, origin)
        elif is_file:
            raise UserError(f"plugin '{name}' ({origin}) {problem}")
        else:
            problems.append(f"plugin '{name}' ({origin}) {problem}")
            warnings.warn(problems[-1], stacklevel=2)
    return _collect(manager, origins, tuple(problems))


def plugin_files(names: Sequence[str], recipe: Path, *, trusted: bool, of_a_run: bool = False) -> list[Path]:
    """The plugin files that the recipe in the file `recipe` names, which are code that runs with the user's rights.

    For a recipe that is `of_a_run`, or looks like a run's, raises `UserError` unless the files are `trusted`, and even
    then for files outside of the run's folder plugins/.
    """
    folder = recipe.parent
    files = [folder / name for name in names]
    if not files or not (of_a_run or _is_of_a_run(recipe, names)):
        return files
    listing = ", ".join(str(file) for file in files)
    for name, file in zip(names, files, strict=True):
        # `Path.resolve` fails on a link to itself.
        place = os.path.join(os.path.realpath(folder), "plugins", file.name)
        if Path(name).parts != ("plugins", file.name) or os.path.realpath(file) != place:
            raise UserError(f"plugins: {name} is not in this run's folder plugins/; auxar does not load it")
    if not trusted:
        raise UserError(
            f"plugins: this run comes with code that would be loaded: {listing}; read it, and say --trust-plugins "
            "(in Python: trust_plugins=True) if you trust it"
        )
    logger.info("loading code that comes with the run: %s", listing)
    return files


def _is_of_a_run(recipe: Path, names: Sequence[str]) -> bool:
    """Whether the recipe is a run's: copies of plugin files in plugins/, or files that runs make, lie beside it."""
    kept = any(Path(name).parts[:1] == ("plugins",) for name in names)
    return recipe.name == "recipe.toml" and (kept or any((recipe.parent / name).exists() for name in MADE_BY_RUNS))


def _register(manager: pluggy.PluginManager, plugin: Any, name: str, origin: str) -> None:
    try:
        manager.register(plugin, name=name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        known = [hook for hook in vars(HookSpecification) if hook.startswith("auxar_")]
        raise UserError(f"plugin '{name}' ({origin}): {error}; known hooks: {', '.join(known)}") from None
    except ValueError as error:
        raise UserError(f"plugin '{name}' ({origin}): {error}") from None


def _collect(manager: pluggy.PluginManager, origins: dict[str, str], problems: tuple[str, ...]) -> Registry:
    components: dict[tuple[str, str], Component] = {}
    providers: dict[tuple[str, str], str] = {}
    for implementation in manager.hook.auxar_register_components.get_hookimpls():
        provider = f"{implementation.plugin_name} ({origins[implementation.plugin_name]})"
        try:
            provided: list[Any] = list(implementation.function())  # type: ignore[call-overload]
        except Exception as error:  # A stranger's function may fail in any way.
            raise UserError(
                f"plugin {provider}: auxar_register_components failed: {type(error).__name__}: {error}"
            ) from error
        for component in provided:
            if not isinstance(component, Component):
                raise UserError(f"plugin {provider}: auxar_register_components must return Component records")
            key = (component.kind, component.name)
            if key in components:
                raise UserError(
                    f"two plugins provide the {component.kind} '{component.name}': {providers[key]} and {provider}"
                )
            components[key], providers[key] = component, provider
    return Registry(components, providers, problems)


def _sources(files: Iterable[Path]) -> Iterator[tuple[str, str, bool, Callable[[], Any]]]:
    """Name and origin of every plugin, whether it is a file, and the function that loads it."""

    # Reading a package's name or version parses its whole description each time.
    @functools.cache
    def package(dist: importlib.metadata.Distribution) -> str:
        return f"{dist.name} {dist.version}"

    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        yield entry.name, package(entry.dist) if entry.dist else entry.value, False, entry.load
    for file in files:
        yield file.stem, str(file), True, functools.partial(_load_file, file)


def _load_file(file: Path) -> ModuleType:
    if not file.is_file():
        near = did_you_mean(file.name, (path.name for path in file.parent.glob("*.py")))
        raise UserError(f"plugins: there is no file {file}{near}")
    if file.suffix != ".py":
        raise UserError(f"plugins: {file} is not a Python file")
    # A name of its own for each path keeps two files called views.py apart.
    digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]
    module = ModuleType(f"auxar_plugin_{file.stem}_{digest}")
    module.__file__ = str(file)
    # Types written as text in the file's classes are resolved through `sys.modules`.
    sys.modules[module.__name__] = module
    try:
        # Not by the import system, which would take a compiled file from beside it in place of the text.
        exec(compile(read_bytes(file), str(file), "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[module.__name__]
        raise UserError(f"plugins: {file} cannot be loaded: {type(error).__name__}: {error}") from error
    return module
