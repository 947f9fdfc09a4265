"""Checks command-line values that override the recipe of a run: `--set` settings, and the options for [sampling]."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from auxar.arguments import check_strings
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.recipe.data_config import DataConfig
from auxar.recipe.schema import EvaluationConfig, SamplingConfig, TrainingConfig

DATA_SETTINGS = ("data.path", "data.config", "data.options", "data.workers")
"""The keys that choose the images of a trained model."""


def check_settings(settings: Sequence[str], *allowed: str) -> None:
    """Raises `UserError` unless the key of every `key=value` setting begins with one of the `allowed` prefixes.

    Other keys do not affect the command, or they define how the model was trained, which cannot be changed afterwards.
    """
    check_strings(settings, "settings", "key=value strings")
    for setting in settings:
        if not setting.strip().startswith(allowed):
            keys = ", ".join(prefix + "…" * prefix.endswith(".") for prefix in allowed)
            raise UserError(f"--set {setting}: this command accepts only the keys {keys}")


@contextlib.contextmanager
def naming_options(options: Mapping[str, Any], table: str = "sampling") -> Iterator[None]:
    """A context in which errors name the arguments that set keys of a table, [sampling], in place of the keys."""
    try:
        yield
    except UserError as error:
        # Errors begin with `sampling.KEY:` for a value of a wrong type, and with `sampling:` for one out of range.
        found = re.search(table + r"(\.|: )('?(\w+).*)", str(error), re.DOTALL)
        if found is None or found[3] not in options:
            raise
        raise UserError(found[2] if found[1] == "." else f"{found[3]}: {found[2]}") from None


def keys_in_tables(name: str) -> list[str]:
    """The keys of a recipe that have this name in one of its tables.

    Examples:
        >>> keys_in_tables("steps"), keys_in_tables("batch_size")
        (['training.steps'], ['training.batch_size', 'evaluation.batch_size', 'sampling.batch_size'])
    """
    tables = {
        "data": DataConfig,
        "image": ImageSpec,
        "training": TrainingConfig,
        "evaluation": EvaluationConfig,
        "sampling": SamplingConfig,
    }
    return [f"{table}.{name}" for table, config in tables.items() if name in attrs.fields_dict(config)]


def key_parts(key: str) -> list[str]:
    """The parts of a setting's key, which are separated by dots or brackets; empty if it is no key.

    Examples:
        >>> key_parts("stage[0].decoder.filters")
        ['stage', '0', 'decoder', 'filters']
    """
    is_key = re.fullmatch(r"[^.[\]]+(\.[^.[\]]+|\[[^.[\]]+\])*", key.strip())
    return re.findall(r"[^.[\]]+", key.strip()) if is_key else []


def sets(settings: Sequence[str], key: str) -> bool:
    """Whether one of the `key=value` settings sets `key`, alone or with a table that has it.

    Examples:
        >>> sets(["training={ steps = 3 }"], "training.steps"), sets(["training.steps=3"], "training")
        (True, False)
    """
    own = [key_parts(setting.partition("=")[0]) for setting in settings]
    return any(parts == key_parts(key)[: len(parts)] for parts in own)
