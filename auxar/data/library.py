"""The library `datasets`: loads data sets, with progress bars only where auxar shows bars, and with auxar's errors."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.utils

from auxar.caching import cannot_be_written, disk_error
from auxar.errors import UserError
from auxar.progress import shows_bars, without_bars


def loaded(*arguments: Any, explain: Callable[[Exception], UserError], **options: Any) -> dict[str, Any]:
    """Returns the splits that `datasets.load_dataset` loads, by name.

    Raises `UserError` if the cache of `datasets` cannot be written, and otherwise the error that `explain` makes of an
    exception: the network, the hub, damaged files and metadata all raise different ones.
    """
    try:
        found: dict[str, Any] = datasets.load_dataset(*arguments, **options)
    except Exception as error:
        if (disk := disk_error(error)) is not None:
            raise cannot_be_written(Path(datasets.config.HF_DATASETS_CACHE), disk) from error
        raise explain(error) from error
    return found


@contextmanager
def progress_in_main_process() -> Iterator[None]:
    """A context in which the bars of both libraries are shown only in rank 0, and only where auxar shows bars itself.

    An environment variable of a library that turns its bars on or off takes precedence.
    """
    # The rank is read from RANK, which launchers set before Python imports anything. Accelerate is not used here,
    # because it would start its process group too early.
    with ExitStack() as stack:
        if not shows_bars() or os.environ.get("RANK", "0") != "0":
            stack.enter_context(without_bars(datasets))
            stack.enter_context(without_bars(huggingface_hub.utils))
        yield
