"""Loads the text of a recipe as a validated `Recipe`, and writes a `Recipe` as TOML."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import attrs
import tomli_w

from auxar.arguments import as_path, check_flag, check_strings
from auxar.errors import UserError, did_you_mean, naming, one_line
from auxar.files import kind, read_bytes
from auxar.plugin_files import plugin_files
from auxar.plugins import Component, Registry, load_plugins
from auxar.recipe.choices import resolved
from auxar.recipe.component_choice import ComponentChoice
from auxar.recipe.condition import without_unused
from auxar.recipe.data_options import with_data_options
from auxar.recipe.options import key_parts, sets
from auxar.recipe.overrides import LONGEST_KEY, apply_setting, is_set, merged_training, remove_other_options, with_names
from auxar.recipe.paths import Places, full_data_path, place_init
from auxar.recipe.schema import MOST_STAGES, OTHER_NAMES, Recipe, TrainingConfig, check_image
from auxar.recipe.shipped import find_recipe, is_folder, not_found
from auxar.recipe.structuring import parse_toml, structure, unstructure
from auxar.recipe.validation import check_crops, check_data, check_validation

T = TypeVar("T")
COMMON_KEYS = ("precision", "trackers")
"""The keys of [training] that apply to the whole process and cannot differ between factors."""
LAST_TABLE = r"(?m)^(arithmetic\b|\[arithmetic\].*\n(.*\n)*?name\b)"
"""The last table of the recipe in a run's folder, which has all tables and keys, up to its first key."""
MOST_BYTES = 2**20
"""Maximum size of a recipe file in bytes."""


def load_recipe(path: str | PathLike[str], settings: Sequence[str] = (), *, trust_plugins: bool = False) -> Recipe:
    """Loads a recipe with its plugins, and applies `key=value` settings.

    `path` is a TOML file, or the name of a recipe that comes with auxar, such as "quickstart". Component options that
    the recipe leaves out get their defaults. `data.path`, `init` and options of the data set that are paths become
    absolute: paths in the file are relative to its folder, and paths in `settings` to the working directory. Paths in a
    recipe that comes with auxar are relative to the working directory.

    Raises `UserError` with the paths of invalid keys. Also raises it if the recipe names plugin files, because they are
    code, unless `trust_plugins` is true.

    Examples:
        >>> import auxar
        >>> recipe = auxar.load_recipe("quickstart", ["training.steps=100"])
        >>> recipe.factor_names, recipe.training.steps
        (('stage0', 'stage1', 'prior'), 100)
        >>> auxar.load_recipe("quickstart", ["prior.filters=many"])
        Traceback (most recent call last):
        auxar.errors.UserError: quickstart: prior.filters: expected an integer, got the string 'many'
    """
    path = as_path(path, "path")
    check_flag(trust_plugins, "trust_plugins")
    file, name = find_recipe(path)
    text = _text(file)
    with naming(path):
        return parse_recipe(text, file.parent if name is None else None, settings, trust_plugins=trust_plugins)


def load_recipe_of_run(
    path: Path,
    settings: Sequence[str] = (),
    *,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
    trust_plugins: bool,
) -> Recipe:
    """Loads the recipe in a run's folder, which has full paths, and applies `settings`.

    Values in `tables`, by table, replace the keys of the recipe, including keys that `settings` set. The recipe's own
    plugin files outside of the folder plugins/ beside it are never loaded. A setting of `plugins` names further files,
    relative to the working directory. Raises `UserError` like `load_recipe`, and if the end of the file is missing.
    """
    check_flag(trust_plugins, "trust_plugins")
    text = _text(path)
    with naming(path):
        if not re.search(LAST_TABLE, text):
            told = "the file is cut off: a run's recipe ends with the table [arithmetic]"
            raise UserError(f"{told}; restore it, for example from the text of the recipe in report.html")
        own = [setting for setting in settings if not sets([setting], "plugins")]
        recipe = _parse(text, own, tables=tables)
        files = plugin_files(recipe.plugins, path.parent, trusted=trust_plugins, of_a_run=True)
        if own != list(settings):
            files += plugin_files(_parse(text, settings).plugins, Path(), trusted=trust_plugins)
        complete = _completed if sets(settings, "data.path") else fill_in
        return complete(recipe, load_plugins(files), Places(None, settings))


def read_recipe(path: Path) -> Recipe:
    """Reads the recipe in a file without loading plugins and without filling in the defaults of components."""
    text = _text(path)
    with naming(path):
        return _parse(text, ())


def parse_recipe(
    text: str, folder: Path | None, settings: Sequence[str] = (), *, trust_plugins: bool = False
) -> Recipe:
    """Loads a recipe from its text with its plugins, and applies `settings`.

    Paths in the text are relative to `folder`; if it is None, to the working directory. Raises `UserError` like
    `load_recipe`.
    """
    places = Places(folder, settings)
    recipe = _parse(text, settings, places)
    files = plugin_files(recipe.plugins, places.of("plugins"), trusted=trust_plugins)
    return _completed(recipe, load_plugins(files), places)


def _completed(recipe: Recipe, registry: Registry, places: Places) -> Recipe:
    """The recipe with absolute paths of its data sets and all options of its components."""
    names = registry.names("dataset")

    def placed(data: Any, key: str) -> Any:
        return attrs.evolve(data, path=full_data_path(data.path, names, places, f"{key}.path"))

    return fill_in(_with_data(recipe, placed), registry, places)


def _with_data(recipe: Recipe, change: Callable[[Any, str], Any]) -> Recipe:
    """The recipe with changed data sets. `change` gets each of them with the path of its table."""

    def own(config: TrainingConfig, path: str, base: TrainingConfig | None = None) -> TrainingConfig:
        if base is not None and config.data == recipe.training.data:
            return attrs.evolve(config, data=base.data)
        return config if config.data is None else attrs.evolve(config, data=change(config.data, f"{path}.data"))

    base = own(recipe.training, "training")
    factors = {name: own(config, recipe.training_key(name), base) for name, config in recipe.factor_training.items()}
    return attrs.evolve(recipe, data=change(recipe.data, "data"), training=base, factor_training=factors)


def _text(path: Path) -> str:
    try:
        if kind(path, follow_links=True) is None:
            raise UserError(not_found(path))
        if os.path.isdir(path):
            raise UserError(is_folder(path))
        content = read_bytes(path, MOST_BYTES)
    except UserError as error:
        raise UserError(f"recipe {error}") from None
    try:
        return content.decode("utf-8-sig")
    except ValueError:
        told = "expected a recipe in UTF-8, but the file is not UTF-8 text; save it as UTF-8"
        raise UserError(f"{path}: {told}") from None


def _parse(
    text: str,
    settings: Sequence[str],
    places: Places | None = None,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
) -> Recipe:
    try:
        table = parse_toml(text)
    except ValueError as error:
        raise UserError(f"not valid TOML: {one_line(str(error))}") from None
    check_strings(settings, "settings", "key=value strings")
    images: dict[str, Any] = {}
    for setting in settings:
        if key_parts(setting.partition("=")[0])[-2:] == ["data", "path"]:
            apply_setting(images, setting)
    remove_other_options(table, images)
    for number, setting in enumerate(settings):
        apply_setting(table, setting)
        for earlier in (each for each in settings[:number] if not is_set(table, each)):
            told = f"it replaces {one_line(earlier)}, which is given before it; give it first, or only one of them"
            raise UserError(f"--set {one_line(setting)}: {told}")
    if places is not None:
        place_init(table, places)
    for name, values in (tables or {}).items():
        own = table.get(name, {})
        # If it is not a table, `_structure_recipe` reports it together with all other errors.
        if isinstance(own, Mapping) and values:
            table[name] = {**own, **values}
    return _structure_recipe(table)


def recipe_table(recipe: Recipe) -> dict[str, Any]:
    """Converts the recipe to a table of plain values with the structure of its TOML."""
    table = unstructure(attrs.evolve(recipe, registry=None))
    overrides = table.pop("factor_training")
    for each in (table, table["training"], *overrides.values()):
        if "data" in each and not each["data"]["options"]:
            del each["data"]["options"]
    if recipe.condition is not None:
        table["condition"] = without_unused(recipe.condition, table["condition"])
    if overrides:
        table["training"]["factor"] = {
            name: {key: value for key, value in override.items() if table["training"].get(key) != value}
            for name, override in overrides.items()
        }
    return {key: value for key, value in table.items() if value != []}


def recipe_text(recipe: Recipe) -> str:
    """Converts the recipe to TOML text. `parse_recipe` reads the text back as an equal recipe."""
    return tomli_w.dumps(recipe_table(recipe))


def _structure_recipe(table: Mapping[str, Any]) -> Recipe:
    table = dict(table)
    overrides: Any = {}
    if isinstance(table.get("training"), Mapping):
        table["training"] = dict(table["training"])
        overrides = table["training"].pop("factor", {})
    if isinstance(table.get("stage"), Mapping):
        raise UserError("stage: expected a list of tables; write [[stage]] with double brackets")
    table = with_names(table, Recipe)
    recipe = structure(table, Recipe)
    check_image(recipe.image)
    if (count := sum(stage.repeat for stage in recipe.stage)) > MOST_STAGES:
        raise UserError(f"stage: expected at most {MOST_STAGES} stages, counting repetitions, got {count}")
    stages = tuple(attrs.evolve(stage, repeat=1) for stage in recipe.stage for _ in range(stage.repeat))
    recipe = attrs.evolve(recipe, stage=stages)
    recipe = attrs.evolve(recipe, factor_training=_factor_training(recipe, table["training"], overrides))
    check_validation(recipe)
    check_data(recipe)
    check_crops(recipe)
    return recipe


def _factor_training(recipe: Recipe, base: Mapping[str, Any], overrides: Any) -> dict[str, TrainingConfig]:
    if not isinstance(overrides, Mapping):
        raise UserError("training.factor: expected a table for each factor, [training.factor.NAME]")
    merged = {}
    for name, override in overrides.items():
        path = f"training.factor.{one_line(name, LONGEST_KEY)}"
        if name not in recipe.factor_names:
            name = one_line(name, LONGEST_KEY)
            raise UserError(f"{path}: no factor is named '{name}'{did_you_mean(name, recipe.factor_names)}")
        if not isinstance(override, Mapping):
            raise UserError(f"{path}: expected a table")
        table = with_names(merged_training(base, override), TrainingConfig, f"{path}.")
        merged[name] = structure(table, TrainingConfig, path)
        for key in COMMON_KEYS:
            if getattr(merged[name], key) != getattr(recipe.training, key):
                raise UserError(f"{path}.{key}: this key cannot differ between factors; set training.{key} instead")
    own = {name: config.minutes or 0.0 for name, config in merged.items() if "minutes" in overrides[name]}
    if (total := recipe.training.minutes) is not None and (taken := sum(own.values())) >= total:
        told = f"more than the {taken:g} minutes of {', '.join(own)}, which are a part of them"
        raise UserError(f"training.minutes: expected {told}, got {total:g}")
    return merged


def fill_in(recipe: Recipe, registry: Registry, places: Places | None = None) -> Recipe:
    """Returns the recipe with all options of its components and its data set, including defaults of omitted options.

    With `places`, options of the data set that are paths become absolute. Raises `UserError` if a component is unknown,
    or if an option is unknown or invalid.
    """
    condition = recipe.condition
    prior = registry.prior(recipe.prior.name, "prior", given_features=condition is not None)
    recipe = _with_data(recipe, lambda data, key: with_data_options(data, registry, places, key))
    return attrs.evolve(
        _resolved(recipe, "", registry, prior=prior),
        stage=tuple(_resolved(stage, f"stage[{index}].", registry) for index, stage in enumerate(recipe.stage)),
        condition=condition and _resolved(condition, "condition.", registry),
        training=_resolved(recipe.training, "training.", registry),
        factor_training={
            name: _resolved(config, f"training.factor.{name}.", registry)
            for name, config in recipe.factor_training.items()
        },
        evaluation=_resolved(recipe.evaluation, "evaluation.", registry),
        sampling=_resolved(recipe.sampling, "sampling.", registry),
        registry=registry,
    )


def _resolved(table: T, path: str, registry: Registry, **known: Component) -> T:
    """The instance of a recipe's class with all of its choices looked up in the registry, and with their full options.

    A key that chooses a component has the name of the component's kind. `known` has the components of some keys. Raises
    `UserError`, with keys that begin with `path`, if a component is unknown, or an option is unknown or invalid.
    """

    def resolve(key: str, choice: ComponentChoice) -> ComponentChoice:
        if choice.name in OTHER_NAMES.get(key, ()):
            if choice.options:
                raise UserError(f"{path}{key}: '{choice.name}' takes no options, got {', '.join(choice.options)}")
            return choice
        return resolved(choice, key, path + key, registry, known.get(key))

    fields = {field.name: getattr(table, field.name) for field in attrs.fields(type(table))}  # type: ignore[arg-type]
    choices: dict[str, Any] = {
        key: resolve(key, value) for key, value in fields.items() if isinstance(value, ComponentChoice)
    }
    if isinstance(table, TrainingConfig):
        # Other trackers are those of Accelerate. The import would take seconds, so their names are checked later.
        own = registry.names("tracker")
        choices["trackers"] = tuple(resolve("tracker", each) if each.name in own else each for each in table.trackers)
        choices["augment"] = tuple(
            resolved(each, "augmentation", f"{path}augment[{index}]", registry)
            for index, each in enumerate(table.augment)
        )
    return attrs.evolve(table, **choices)  # type: ignore[misc]
