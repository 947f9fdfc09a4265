"""A parser for web pages, and a hostile text that must not become markup."""

import re
from html.parser import HTMLParser

VOID = {"img", "link", "meta"}
ELEMENTS = """
body circle code dd details div dl dt figcaption figure g h1 h2 h3 head header html i img li line link main meta ol p
polyline pre script section small span strong style sub summary svg table tbody td text th thead title tr
"""
HOSTILE = "\"><script>alert('x')</script><img src=x onerror=y>&amp;"


class Page(HTMLParser):
    """The elements and the text of a page.

    Parsing fails if elements are not closed in the right order, or if a name is not that of an element.
    """

    def __init__(self, source):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        """The text of each cell, by table and row."""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        names = [key for key, _ in attributes]
        assert len(names) == len(set(names))
        assert name in ELEMENTS.split()
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)
        if name == "table":
            self.tables.append([])
        elif name == "tr":
            self.tables[-1].append([])
        elif name in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))

    def all(self, name):
        return [attributes for found, attributes in self.elements if found == name]
