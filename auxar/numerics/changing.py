"""Values of attributes that are changed for a time."""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

_LOCK = threading.Lock()
_VALUES: dict[tuple[int, str], dict[Any, Any]] = {}
"""For each attribute that is changed now, its own value by the key None, and then the value of each open context."""


@contextlib.contextmanager
def changed(objects: Iterable[Any], **values: Any) -> Iterator[None]:
    """A context in which attributes of objects have other values. On exit, each attribute gets its own value back.

    Contexts of several threads may overlap: an attribute gets its own value back at the end of the last one.

    Examples:
        >>> import logging
        >>> logger = logging.getLogger("colors")
        >>> with changed([logger], disabled=True):
        ...     logger.disabled
        True
        >>> logger.disabled
        False
    """
    places, context = {(id(each), name): each for each in objects for name in values}, object()
    with _LOCK:
        for (key, name), each in places.items():
            _VALUES.setdefault((key, name), {None: getattr(each, name)})[context] = values[name]
            setattr(each, name, values[name])
    try:
        yield
    finally:
        with _LOCK:
            for (key, name), each in places.items():
                del _VALUES[key, name][context]
                *others, last = _VALUES[key, name].values()
                setattr(each, name, last)
                if not others:
                    del _VALUES[key, name]
