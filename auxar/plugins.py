"""Plugins: the hooks that they implement, the components that they provide, and the registry of all components.

A plugin is a module (or object) with a function marked by `hookimpl` and an integer `AUXAR_INTERFACE`, the version of
the interfaces that it was written for. It is part of an installed package that has an entry point in the group `auxar`,
or it is a Python file that a recipe names. auxar's own plugins have entry points too. Commands are no components: they
have a group of entry points of their own (`auxar.commandline`).
"""

from __future__ import annotations

import functools
import importlib.metadata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import attrs
import pluggy

from auxar.arguments import as_paths
from auxar.errors import UserError, did_you_mean, shown
from auxar.plugin_files import FAILURES, load_plugin_file, read_plugin_file
from auxar.structuring import path_field

GROUP = "auxar"
"""The group of entry points of plugins."""
INTERFACE_VERSION = 1
"""Version of the plugin interfaces, which a plugin declares as `AUXAR_INTERFACE`. It is incremented when plugins must
be adapted, because an interface has a new abstract method or a method has other arguments or results."""
KINDS = (
    "view",
    "network",
    "prior",
    "embedding",
    "decoder",
    "head",
    "rule",
    "sampler",
    "engine",
    "optimizer",
    "schedule",
    "tracker",
    "dataset",
    "augmentation",
    "model",
    "arithmetic",
)
"""The kinds of components that auxar uses. Plugins may add kinds; see `HookSpecification.auxar_register_kinds`."""
NO_PATHS = (
    "is the path of a file, which the folder of a run would not keep; let the recipe have the values, for example as "
    "colors: tuple[tuple[int, ...], ...]"
)
"""The end of a message about an option that only a data set may have."""
ROLES = ("prior", "decoder")
"""Kinds for which a recipe may also name a network."""
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)
"""The decorator of a plugin's functions `auxar_register_components` and `auxar_register_kinds`."""


@attrs.frozen
class Component:
    """A component that a plugin provides and that is selected by its kind and name.

    `config` is a frozen attrs class: its fields are the options that the recipe may set, with their types and
    defaults. `build` creates the component from an instance of this class, and is left out if the instance is the
    component. Its signature depends on the kind:

    - view: `build(config, image: ImageSpec) -> View`
    - network: `build(config, image: ImageSpec, features_channels: int) -> CausalNetwork`. Recipes name it as a prior or
      a decoder. A prior without a condition has `features_channels` = 0.
    - prior: `build(config, image: ImageSpec) -> Prior`, a distribution of another kind than a causal network
    - embedding: `build(config, view: ImageSpec, image: ImageSpec) -> Embedding`
    - decoder: `build(config, image: ImageSpec, features_channels: int) -> Decoder`, a distribution of another kind than
      a causal network. It may also be the prior of a recipe with a condition: it then gets the condition's features.
    - head: `build(config, image: ImageSpec) -> Head`
    - rule: `build(config) -> Rule`
    - sampler: `build(config) -> Sampler`
    - engine: `build(config) -> auxar_samplers.engines.Engine`
    - optimizer: `build(config, factor: torch.nn.Module) -> torch.optim.Optimizer`. The `lr` of each parameter group is
      the group's learning rate before the schedule. A parameter `steps` of `build` gets the number of training steps.
    - schedule: `build(config) -> Schedule`
    - tracker: `build(config) -> str | accelerate.tracking.GeneralTracker`
    - augmentation: `build(config) -> Augmentation`
    - dataset: `build(config) -> pathlib.Path`, a parquet file, a folder of parquet files or a folder of images
    - model: `build(config) -> pathlib.Path`, the folder of a run with all factors trained, which auxar only reads
    - arithmetic: `build(config) -> auxar.model.Arithmetic`

    The `build` of a data set or a model is called only by commands that read it, and processes may call it at the same
    time. If it writes files, it uses `cached_folder`. A model comes trained: commands accept its name in place of a
    run's folder, and its config class has a default for every option.

    `build` raises `UserError` if it does not support the sizes or the options. `Component` itself raises `UserError` if
    one of its fields is invalid.

    Examples:
        >>> from auxar import Component, ImageSpec
        >>> from auxar_pyramid import PyramidConfig, PyramidView
        >>> pyramid = Component("view", "pyramid", PyramidConfig, PyramidView)
        >>> print(pyramid.build(pyramid.config(factor=2), ImageSpec(height=32, width=32)).view)
        16×16×3 with 256 levels
    """

    kind: str
    """The kind, one of `KINDS` or a kind that a plugin adds."""
    name: str
    """The name that recipes use. It does not contain a colon, which comes before options on the command line."""
    config: type
    """The frozen attrs class of the options. Only options of data sets may be paths, because runs do not keep files."""
    build: Callable[..., Any] = attrs.field(default=lambda config: config)
    """The function that creates the component from an instance of `config`."""

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.kind, str):
            raise UserError(f"kind: expected the name of a kind ({', '.join(KINDS)}), got {shown(self.kind)}")
        if not isinstance(self.name, str) or not self.name or ":" in self.name:
            raise UserError(f"name: expected a name that recipes can use, without a colon, got {shown(self.name)}")
        if not isinstance(self.config, type) or not attrs.has(self.config):
            raise UserError(f"config must be an attrs class, got {shown(self.config)}")
        if "name" in attrs.fields_dict(self.config):
            option = f"{self.config.__name__} has an option 'name'"
            raise UserError(f"config: {option}, which is the component's name in recipes")
        if not callable(self.build):
            raise UserError(f"build must be a function or a class, got {shown(self.build)}")

    @property
    def summary(self) -> str:
        """The first line of the config class's docstring."""
        return (self.config.__doc__ or "").strip().split("\n")[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return _installed, (self.kind, self.name)

    def __deepcopy__(self, memo: object) -> Component:
        return self


@functools.cache  # A pickle has the name of a component, because `build` may be a function without one.
def _installed(kind: str, name: str) -> Component:
    return load_plugins().get(kind, name, "pickle")


def _kinds_for(kind: str) -> tuple[str, ...]:
    """The kinds of the components that a recipe may name where it needs a component of this kind."""
    return (kind, "network") if kind in ROLES else (kind,)


class HookSpecification:
    """The hooks that a plugin can implement."""

    @hookspec
    def auxar_register_components(self) -> Sequence[Component]:  # type: ignore[empty-body]
        """Returns the components that the plugin provides. auxar calls it once, when plugins are loaded."""

    @hookspec
    def auxar_register_kinds(self) -> Sequence[str]:  # type: ignore[empty-body]
        """Returns the names of the kinds of components that the plugin adds to `KINDS`.

        The plugin's own components choose among components of the kind by an option whose type is a subclass of
        `Choice`.
        """


@attrs.frozen
class Registry:
    """The components of all loaded plugins, and the plugin that provides each component."""

    components: dict[tuple[str, str], Component] = attrs.field(factory=dict)
    """The components by (kind, name)."""
    providers: dict[tuple[str, str], str] = attrs.field(factory=dict)
    """The plugin that provides each component, and its origin, by (kind, name)."""
    problems: tuple[str, ...] = ()
    """A message about each installed plugin that could not be loaded. Other plugins are not affected."""
    kinds: tuple[str, ...] = KINDS
    """The kinds of components: `KINDS`, and those that plugins add."""
    files: Mapping[Path, bytes] = attrs.field(factory=dict, repr=False)
    """The content of each loaded plugin file by its path. The file itself may have changed since."""

    def get(self, kind: str, name: str, path: str) -> Component:
        """The component of this kind and name; for a prior or a decoder, it may be of the kind `network`.

        Raises `UserError`, naming the recipe's key `path`, if there is none.

        Examples:
            >>> import auxar
            >>> registry = auxar.load_plugins()
            >>> registry.get("view", "pyramid", "stage[0].view").config(factor=2)
            PyramidConfig(factor=2)
            >>> registry.get("view", "piramid", "stage[0].view")  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            auxar.errors.UserError: stage[0].view: no view is named 'piramid'; did you mean 'pyramid'? (known: ...
        """
        for known in _kinds_for(kind):
            if (known, name) in self.components:
                return self.components[known, name]
        hint = did_you_mean(name, self.names(kind))
        failed = f"; some plugins are missing: {'; '.join(self.problems)}" if self.problems else ""
        raise UserError(f"{path}: no {kind} is named {shown(name)}{hint}{failed}")

    def prior(self, name: str, path: str, *, given_features: bool) -> Component:
        """The component that a recipe names as a prior; a network or a decoder if it is given features of a condition.

        Raises `UserError`, naming the recipe's key `path`, if there is none, if it cannot be given features, or if it
        needs features and none are given.

        Examples:
            >>> import auxar
            >>> auxar.load_plugins().prior("pixelcnn", "prior", given_features=True).kind
            'network'
        """
        own, able = self.names("prior"), self.names("decoder")
        if given_features and name in own and name not in able:
            raise UserError(
                f"{path}: '{name}' cannot be given a condition; expected one of {', '.join(able)}, or a recipe without "
                "[condition]"
            )
        if not given_features and name in able and name not in own:
            raise UserError(f"{path}: the decoder '{name}' needs features, which a prior has only with [condition]")
        return self.get("decoder" if given_features and name in able else "prior", name, path)

    def names(self, kind: str) -> list[str]:
        """The names of all components of one kind, sorted. Networks are also among the priors and the decoders.

        Examples:
            >>> import auxar
            >>> "pyramid" in auxar.load_plugins().names("view")
            True
        """
        return sorted(name for known, name in self.components if known in _kinds_for(kind))


def load_plugins(files: Iterable[str | PathLike[str]] = ()) -> Registry:
    """Loads all installed plugins and the given plugin files, and returns the registry of their components.

    The code of the files is run without asking. `load_recipe` asks for trust in the files that a recipe names.

    Raises `UserError` if a plugin file cannot be loaded or was written for another version of the interfaces, if two
    plugins have the same name or two components the same kind and name, if a plugin has an unknown hook, or if its hook
    fails. An installed plugin that cannot be imported, or was written for another version, is skipped with a warning.

    Examples:
        >>> import auxar
        >>> registry = auxar.load_plugins()
        >>> registry.components["network", "pixelcnn"].summary
        'PixelCNN++ at one resolution, without down- and upsampling.'
    """
    files = as_paths(files, "files")
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(HookSpecification)
    problems = []
    origins: dict[str, tuple[str, str]] = {}
    contents = [(file, read_plugin_file(file)) for file in files]
    for name, origin, is_local, load in _sources(contents):
        try:
            plugin = load()
            version, problem = getattr(plugin, "AUXAR_INTERFACE", None), None
            if version != INTERFACE_VERSION or type(version) is not int:
                expected = f"but the interfaces of this auxar have the version {INTERFACE_VERSION}"
                problem = f"declares AUXAR_INTERFACE = {shown(version)}, {expected}"
            if other := manager.get_name(plugin):  # Two entry points may name one module.
                problem = f"is the plugin '{other}', too"
        except FAILURES as error:
            if is_local:
                raise
            problem = f"cannot be loaded: {type(error).__name__}: {error}"
        key = f"{name}.py" if is_local else name  # A file may have the name of an installed plugin.
        if key in origins:
            raise UserError(f"two plugins are named '{name}': {origins[key][1]} and {origin}; uninstall or rename one")
        origins[key] = name, origin
        if problem is None:
            _register(manager, plugin, key, origins[key])
        elif is_local:
            raise UserError(f"plugin '{name}' ({origin}) {problem}")
        else:  # Other plugins still load.
            problems.append(f"plugin '{name}' ({origin}) {problem}")
            warnings.warn(problems[-1], stacklevel=2)
    return attrs.evolve(_collect(manager, origins, tuple(problems)), files=dict(contents))


def _register(manager: pluggy.PluginManager, plugin: Any, key: str, origin: tuple[str, str]) -> None:
    who = "plugin '{}' ({})".format(*origin)
    try:
        manager.register(plugin, name=key)
        manager.check_pending()
        if not manager.get_hookcallers(plugin):
            raise UserError(f"{who} registers nothing; expected a function auxar_register_components with @hookimpl")
    except pluggy.PluginValidationError as error:
        known = [hook for hook in vars(HookSpecification) if hook.startswith("auxar_")]
        raise UserError(f"{who}: {error}; known hooks: {', '.join(known)}") from None


def _collect(manager: pluggy.PluginManager, origins: dict[str, tuple[str, str]], problems: tuple[str, ...]) -> Registry:
    components: dict[tuple[str, str], Component] = {}
    providers: dict[tuple[str, str], str] = {}
    known = list(KINDS)
    for provider, kind in _provided(manager.hook.auxar_register_kinds, origins):
        if not isinstance(kind, str) or not kind:
            raise UserError(f"plugin {provider}: auxar_register_kinds must return a list of names, got {shown(kind)}")
        known += [kind] if kind not in known else []
    for provider, component in _provided(manager.hook.auxar_register_components, origins):
        if not isinstance(component, Component):
            raise UserError(f"plugin {provider}: auxar_register_components must return a list of Component records")
        if component.kind not in known:
            raise UserError(
                f"plugin {provider}: the kind {shown(component.kind)} of the component '{component.name}' is "
                f"unknown{did_you_mean(component.kind, known)}"
            )
        if component.kind != "dataset" and (option := path_field(component.config)):
            raise UserError(
                f"plugin {provider}: the option '{option}' of the {component.kind} '{component.name}' {NO_PATHS}"
            )
        kinds = ("network", *ROLES) if component.kind == "network" else _kinds_for(component.kind)
        for key in ((kind, component.name) for kind in kinds):
            if key in components:
                also = "" if key[0] == component.kind else ", because a network is also a prior and a decoder"
                raise UserError(
                    f"the {component.kind} '{component.name}' is provided twice, by {providers[key]} and by "
                    f"{provider}{also}"
                )
        key = (component.kind, component.name)
        components[key], providers[key] = component, provider
    return Registry(components, providers, problems, tuple(known))


def _provided(hook: pluggy.HookCaller, origins: dict[str, tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    """Yields pairs of a plugin and an entry that its implementation of the hook returns."""
    for implementation in hook.get_hookimpls():
        provider = "{} ({})".format(*origins[implementation.plugin_name])
        try:
            provided: list[Any] = list(implementation.function())  # type: ignore[call-overload]
        except FAILURES as error:
            raise UserError(f"plugin {provider}: {hook.name} failed: {type(error).__name__}: {error}") from error
        yield from ((provider, each) for each in provided)


def _sources(files: Iterable[tuple[Path, bytes]]) -> Iterator[tuple[str, str, bool, Callable[[], Any]]]:
    """Yields the name and the origin of every plugin, whether it is a file, and a function that loads it."""

    # Cached, because each access to a package's name or version parses all of its metadata.
    @functools.cache
    def package(dist: importlib.metadata.Distribution) -> str:
        return f"{dist.name} {dist.version}"

    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        yield entry.name, package(entry.dist) if entry.dist else entry.value, False, entry.load
    for file, content in files:
        yield file.stem, str(file), True, functools.partial(load_plugin_file, file, content)
