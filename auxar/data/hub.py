"""Data sets on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub

from auxar.errors import UserError, did_you_mean


def load_from_hub(name: str, config: str | None, streaming: bool, registered: Mapping[str, Path]) -> Mapping[str, Any]:
    """All splits of a data set on the hub or, without a network, in the local cache of `datasets`.

    Raises `UserError` if the hub cannot be reached and the set is not in the cache, and for whatever is wrong with it.
    """
    reachable = _reachable()
    try:
        with nullcontext() if reachable else _offline():
            found: Mapping[str, Any] = datasets.load_dataset(name, config, streaming=streaming)
        return found
    except Exception as error:  # Network, hub, file formats and the data set's own metadata fail in their own ways.
        plugin = "" if "/" in name else f", nor a registered data set{did_you_mean(name, registered)}"
        advice = "if the images are on this machine, point to their folder: --set data.path=FOLDER"
        if not reachable:
            problem = f"the Hugging Face hub could not be reached, and '{name}' is not in its local cache{plugin}"
        else:
            problem = f"'{name}' could not be loaded from the Hugging Face hub{plugin}: {' '.join(str(error).split())}"
        raise UserError(f"data.path: {problem}; {advice}") from error


def _reachable() -> bool:
    # Without this question, a machine without a network would wait through half a minute of retries.
    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=5)
    except Exception:
        return False
    return True


@contextmanager
def _offline() -> Iterator[None]:
    """Only the cache: the libraries read this setting at import, from the environment, and take it nowhere else."""
    modules: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [module.HF_HUB_OFFLINE for module in modules]
    for module in modules:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value
