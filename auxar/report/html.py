"""Renders web pages from templates, in which text cannot become markup: jinja2 escapes every value."""

import base64
import hashlib
import re
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup, escape

from auxar.errors import UserError
from auxar.files import FILE, check_output, kind, reading, replacing
from auxar.model.image import term
from auxar.report import words


class _Layout(Extension):
    """Leaves out the line breaks of a template that stand beside markup, so that its layout adds no spaces."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return re.sub(r"(?<=[>}])\s*\n\s*|\s*\n\s*(?=[<{])", "", source)


TEMPLATES = Environment(
    loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, extensions=[_Layout]
)


def symbols(text: str) -> Markup:
    """A term such as p(X_0 | X_1, label) as markup, with images in italics and their depths below the line."""
    return Markup(re.sub(r"_(\d+)", r"<sub>\1</sub>", str(escape(text)).replace("X", "<i>X</i>")))


TEMPLATES.globals |= {"words": words, "term": term, "symbols": symbols}


def render(template: str, **content: object) -> Markup:
    """Fills a template of this package."""
    return Markup(TEMPLATES.get_template(template).render(content))


def resource(name: str) -> Markup:
    """Reads a file of this package, which is inserted into a page without escaping."""
    return Markup(resources.files(__package__).joinpath(name).read_text("utf-8"))


def document(what: str, title: str, main: Markup, *, script: Markup | None = None) -> str:
    """Builds a complete page. It loads no external resources, and its content security policy forbids them.

    `what` is the kind of page, such as "report". The page begins with a mark by which `write_document` recognizes it.
    """
    style = resource("style.css")
    policy = ["default-src 'none'", "img-src data:", f"style-src '{_sha256(style)}'"]
    if script is not None:
        policy.append(f"script-src '{_sha256(script)}'")
    page = render("document.html", title=title, policy="; ".join(policy), style=style, script=script, main=main)
    return f"{_mark(what)}{page}\n"


def write_document(path: Path, content: str, *, replaces: str) -> None:
    """Writes a page. An existing file is replaced only after the page is completely written.

    Only a page of the kind `replaces`, such as "report", is replaced, and no other file. Raises `UserError` if the page
    cannot be written.
    """
    check_document(path, replaces)
    with replacing(path) as temporary:
        # File names may contain surrogates, which UTF-8 cannot encode. Each is written as a question mark.
        temporary.write_bytes(content.encode("utf-8", "replace"))


def check_document(path: Path, replaces: str) -> None:
    """Raises `UserError` unless `path` is new or a page of the kind `replaces`."""
    check_output(path)
    if kind(path) == FILE and not _begins(path, _mark(replaces).encode()):
        raise UserError(
            f"{path} cannot be written: it is not a {replaces} page of auxar; delete it, or choose another name"
        )


def _mark(what: str) -> str:
    """The beginning of every page of a kind, such as "report". The document type comes first, as browsers require."""
    return f"<!doctype html>\n<!-- auxar {what} -->\n"


def _begins(path: Path, content: bytes) -> bool:
    with reading(path) as file:
        return file.read(len(content)) == content


def _sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
