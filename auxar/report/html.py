"""Builds HTML in which text cannot become markup: every value that is not an `Html` object is escaped."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources
from pathlib import Path

from auxar.errors import UserError
from auxar.files import FILE, check_output, kind, reading, replacing

_VOID = {"img", "link", "meta"}


class Html(str):
    """Markup that is not escaped. Only `tag`, `join`, `resource` and constants of this package create it."""

    __slots__ = ()


def join(*children: object) -> Html:
    """Concatenates the children. None is skipped, and every child that is not `Html` is escaped as text."""
    return Html(
        "".join(
            child if isinstance(child, Html) else html.escape(str(child)) for child in children if child is not None
        )
    )


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Builds an element. In attribute names, a trailing underscore is removed and other underscores become hyphens.

    An attribute that is None or False is omitted. An attribute that is True is written without a value.
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
    """A paragraph that says that some content is missing."""
    return tag("p", sentence, class_="missing")


def resource(name: str) -> Html:
    """Reads a file of this package, which is inserted into a page without escaping."""
    return Html(resources.files(__package__).joinpath(name).read_text("utf-8"))


def document(what: str, title: str, main: Html, *, style: Html, script: Html | None = None) -> str:
    """Builds a complete page. It loads no external resources, and its content security policy forbids them.

    `what` is the kind of page, such as "report". The page begins with a mark by which `write_document` recognizes it.
    """
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
        # The empty icon keeps browsers from requesting one from a server.
        tag("link", rel="icon", href="data:,"),
        tag("style", style),
    )
    body = tag("body", main, None if script is None else tag("script", script))
    return f"{_mark(what)}{tag('html', head, body, lang='en')}\n"


def write_document(path: Path, content: str, *, replaces: str) -> None:
    """Writes a page. An existing file is replaced only after the page is completely written.

    Only a page of the kind `replaces`, such as "report", is replaced, and no other file. Raises `UserError` if the page
    cannot be written.
    """
    check_output(path)
    if kind(path) == FILE and not _begins(path, _mark(replaces).encode()):
        raise UserError(
            f"{path} cannot be written: it is not a {replaces} page of auxar; delete it, or choose another name"
        )
    with replacing(path) as temporary:
        # File names may contain surrogates, which UTF-8 cannot encode. Each is written as a question mark.
        temporary.write_bytes(content.encode("utf-8", "replace"))


def _mark(what: str) -> str:
    """The beginning of every page of a kind, such as "report". The document type comes first, as browsers require."""
    return f"<!doctype html>\n<!-- auxar {what} -->\n"


def _begins(path: Path, content: bytes) -> bool:
    with reading(path) as file:
        return file.read(len(content)) == content


def _sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
