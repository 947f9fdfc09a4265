"""HTML built so that text can't become markup: whatever is not `Html` already is escaped."""

from __future__ import annotations

import html

_VOID = {"img", "link", "meta"}


class Html(str):
    """Text that is markup already. Only `tag`, `join` and the package's own constants make it."""

    __slots__ = ()


def join(*children: object) -> Html:
    """Children one after another; None is nothing, and what is not `Html` is text and gets escaped."""
    return Html(
        "".join(
            child if isinstance(child, Html) else html.escape(str(child)) for child in children if child is not None
        )
    )


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. In attributes' names a trailing underscore falls away and others become hyphens.

    An attribute that is None or False is left out, and one that is True stands without a value.
    """
    words = [name]
    for key, value in attributes.items():
        word = key.removesuffix("_").replace("_", "-")
        if value is True:
            words.append(word)
        elif value is not None and value is not False:
            words.append(f'{word}="{html.escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    return Html(opening if name in _VOID else f"{opening}{join(*children)}</{name}>")
