"""HTML built so that text can't become markup: whatever is not `Html` already is escaped."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources
from pathlib import Path

from auxar.files import replacing

_VOID = {"img", "link", "meta"}


class Html(str):
    """Text that is markup already. Only `tag`, `join`, `resource` and the package's own constants make it."""

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


def absence(sentence: str) -> Html:
    """A paragraph about what is not there."""
    return tag("p", sentence, class_="missing")


def resource(name: str) -> Html:
    """A file of this package, to stand in a page as it is."""
    return Html(resources.files(__package__).joinpath(name).read_text("utf-8"))


def document(title: str, main: Html, *, style: Html, script: Html | None = None) -> str:
    """A whole page. It asks for nothing outside itself, and its policy forbids the browser to."""
    policy = ["default-src 'none'", "img-src data:", f"style-src '{_sha256(style)}'"]
    if script is not None:
        policy.append(f"script-src '{_sha256(script)}'")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content="; ".join(policy)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} – auxar"),
        # Keeps browsers from asking a server for an icon.
        tag("link", rel="icon", href="data:,"),
        tag("style", style),
    )
    body = tag("body", main, None if script is None else tag("script", script))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def write_document(path: Path, content: str) -> None:
    """Writes a page. An older one stays until it is whole. Raises `UserError` if it cannot be written."""
    with replacing(path) as temporary:
        # Names of files need not be text: a question mark stands for each character that is not.
        temporary.write_bytes(content.encode("utf-8", "replace"))


def _sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
