"""Loads data sets from the Hugging Face hub, or from their local cache if the hub cannot be reached."""

import importlib.util
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub

from auxar.data.library import loaded
from auxar.data.reach import Reach
from auxar.errors import UserError, did_you_mean, nearest_path
from auxar.numerics.changing import changed


def load_from_hub(
    name: str, config: str | None, streaming: bool, registered: Collection[str]
) -> tuple[Mapping[str, Any], Reach]:
    """Loads all splits of a data set from the hub or, if it cannot be reached, from the local cache of `datasets`.

    Also returns the files that paths in the data set may lead to: its own files on the hub, and their downloads in the
    cache.

    Raises `UserError` if the hub cannot be reached and the data set is not in the cache, if the data set cannot be
    loaded, if the cache cannot be written, or if `datasets` has a file format of this name.
    """
    if name.isidentifier() and importlib.util.find_spec(f"datasets.packaged_modules.{name}") is not None:
        # `datasets` would load the files of the current folder.
        raise UserError(
            f"data.path: '{name}' is the name of a file format in `datasets`, not a data set; give the folder with the "
            "files, for example ."
        )
    reachable = _reachable()

    def explain(error: Exception) -> UserError:
        reason, offline = " ".join(str(error).split()), "the Hugging Face hub could not be reached"
        problem = f"{offline}, and '{name}' could not be loaded from the local cache of `datasets`: {reason}"
        if reachable:
            problem = f"'{name}' could not be loaded from the Hugging Face hub: {reason}"
        elif isinstance(error, ConnectionError):
            problem = f"{offline}, and '{name}' is not in the local cache of `datasets`"
        problem += f"; no file or folder '{name}' is beside the recipe or in {os.getcwd()}{nearest_path(Path(name))}"
        if "/" not in name:
            problem += f"; '{name}' is not a registered data set either{did_you_mean(name, registered)}"
        advice = "if the images are on this machine, give their folder: --set data.path=FOLDER"
        return UserError(f"data.path: {problem}; {advice}")

    # The libraries read HF_HUB_OFFLINE from the environment only at import, so the constants of their modules are set.
    offline = {} if reachable else {"HF_HUB_OFFLINE": True}
    with changed((datasets.config, huggingface_hub.constants), **offline):
        found = loaded(name, config, streaming=streaming, explain=explain)
    cached = Path(huggingface_hub.constants.HF_HUB_CACHE, f"datasets--{name.replace('/', '--')}")
    return found, Reach((cached.resolve(), Path(datasets.config.DOWNLOADED_DATASETS_PATH).resolve()), repository=name)


def _reachable() -> bool:
    # This request fails fast. On a machine that has no network, `datasets` itself would retry for half a minute.
    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=5)
    except Exception:
        return False
    return True
