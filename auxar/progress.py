"""Progress bars of long work."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def progress_bar(iterable: Any = None, **options: Any) -> Any:
    """Returns a progress bar over an iterable, or over steps that are counted by `update`.

    `options` are those of `tqdm`.
    """
    return tqdm(iterable, **options)
