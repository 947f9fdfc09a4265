"""Recipes and other nested tables as facts by name, which processes, runs and recipes compare."""

import collections
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

from auxar.recipe.loading import recipe_table
from auxar.recipe.schema import Recipe

PATHS = ("data.path", ".init")
"""Ends of the keys of a recipe that may be absolute paths."""
PLUGIN = "the plugin with the"
"""Beginning of the names of facts about packages."""


def recipe_facts(recipe: Recipe) -> dict[str, Any]:
    """Values by name: every key of the recipe, the packages of its components, and the checksums of its plugin files.

    Components are read from the recipe, so their options must be filled in. Of an absolute path, only the last part is
    compared, because folders may differ between machines; the images and weights in them are compared by checksums.
    """
    facts = {
        key: os.path.basename(value) if key.endswith(PATHS) and os.path.isabs(str(value)) else value
        for key, value in flat(recipe_table(recipe))
    }
    named = {value for key, value in facts.items() if key.split(".")[-1] == "name"}
    named |= {data.path for data in recipe.data_tables.values()}
    registry = recipe.registry
    for (kind, name), provider in registry.providers.items():
        # A plugin file is compared by its checksum, because its path may differ between machines.
        if name in named and not any(f"({file})" in provider for file in registry.files):
            facts[f"{PLUGIN} {kind} '{name}'"] = provider
    for file, content in registry.files.items():
        facts[f"the checksum of {file.name}"] = hashlib.sha256(content).hexdigest()
    return facts


def packages_of(recipe: Recipe) -> list[str]:
    """The packages beside auxar whose plugins provide components of a recipe, such as "auxar-letters 0.1.0"."""
    providers = [value for key, value in recipe_facts(recipe).items() if key.startswith(PLUGIN)]
    found = {provider.rpartition(" (")[2].rstrip(")") for provider in providers}
    return sorted(package for package in found if package.split()[0] != "auxar")


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the path and the value of each entry of nested tables and lists of tables.

    Examples:
        >>> dict(flat({"image": {"height": 8}, "stage": [{"repeat": 1}], "plugins": ["a.py"]}))
        {'image.height': 8, 'stage[0].repeat': 1, 'plugins': ['a.py']}
    """
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from flat(entry, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        for index, entry in enumerate(value):
            yield from flat(entry, f"{path}[{index}]")
    else:
        yield path, value


def differences(first: Any, second: Any, path: str = "", *, shared: bool = False) -> Iterator[tuple[str, Any, Any]]:
    """Yields the path and both values wherever two tables or lists differ, such as "stage[0].view.name".

    A missing value is None. With `shared`, keys of only one table are left out: they are options that a component has
    in one version and not in the other.

    Examples:
        >>> list(differences({"a": {"b": [1, 2]}, "c": 3}, {"a": {"b": [1, 4]}}))
        [('a.b[1]', 2, 4), ('c', 3, None)]
    """
    if isinstance(first, dict) and isinstance(second, dict):
        for key in [key for key in {**first, **second} if not shared or (key in first and key in second)]:
            place = f"{path}.{key}" if path else key
            yield from differences(first.get(key), second.get(key), place, shared=shared)
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for index, pair in enumerate(zip(first, second, strict=True)):
            yield from differences(*pair, f"{path}[{index}]", shared=shared)
    elif first != second:
        yield path, first, second


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """The shortest end of each dotted key that tells it apart from the others, but not the word "name" alone.

    Keys of the condition are whole.

    Examples:
        >>> short_keys(["training.steps", "prior.filters", "stage[0].decoder.filters"])
        {'training.steps': 'steps', 'prior.filters': 'prior.filters', 'stage[0].decoder.filters': 'decoder.filters'}
        >>> short_keys(["condition.embedding.filters"])
        {'condition.embedding.filters': 'condition.embedding.filters'}
    """
    keys = list(keys)
    # Ends of the keys of a condition would look like those of the image's networks.
    own = [key for key in keys if not key.startswith("condition.")]
    ends = {key: [".".join(key.split(".")[-count:]) for count in range(1, key.count(".") + 2)] for key in own}
    ends = {key: [end for end in found if end != "name"] for key, found in ends.items()}
    counts = collections.Counter(itertools.chain(*ends.values()))
    return {key: next((end for end in ends.get(key, ()) if counts[end] == 1), key) for key in keys}
