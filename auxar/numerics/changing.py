"""Values of attributes that are changed for a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any


@contextlib.contextmanager
def changed(objects: Iterable[Any], **values: Any) -> Iterator[None]:
    """A context in which attributes of objects have other values. On exit, each attribute gets its own value back.

    Examples:
        >>> import logging
        >>> logger = logging.getLogger("colors")
        >>> with changed([logger], disabled=True):
        ...     logger.disabled
        True
        >>> logger.disabled
        False
    """
    before = [(each, name, getattr(each, name)) for each in objects for name in values]
    try:
        for each, name, _ in before:
            setattr(each, name, values[name])
        yield
    finally:
        for each, name, own in before:
            setattr(each, name, own)
