"""The reference of the Python interface: modules, classes and functions as Markdown, from their docstrings.

griffe reads the sources without importing them, so the result does not depend on the version of Python.
"""

from __future__ import annotations

import functools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import griffe

from auxar.commandline.parser import COMMON

ROOT = Path(__file__).parents[2]
SEARCH_PATHS = (ROOT, ROOT / "plugins")
LONGEST_SIGNATURE = 88


def module(path: str, *members: str) -> str:
    """Formats the section of a module: its docstring and its public members, or only those named in `members`.

    Members that are public names of `auxar` are left out, because `section` shows them.
    """
    found = _load(path)
    assert isinstance(found, griffe.Module)
    shown = {member.path for member in _names().values()}
    parts = [f"## `{path}`", _docstring(found)]
    parts += [
        _member(member, 3)
        for member in _public(found)
        if member.path not in shown and (not members or member.name in members)
    ]
    return "\n\n".join(part for part in parts if part)


def section(*words: str) -> str:
    """Formats a section of the public names of `auxar`, given the words of its title."""
    return "\n\n".join(_member(_names()[name], 3, f"auxar.{name}") for name in _sections()[" ".join(words)])


def names() -> str:
    """Formats the list of all public names of `auxar`, with links to the pages that have their sections."""
    pages = {
        title: page.name
        for page in (ROOT / "docs" / "api").glob("*.md")
        for title in re.findall(r"^<!-- generated: section (.*) -->$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    lines = []
    for title, members in _sections().items():
        lines += ["", f"### {title}", ""]
        for name in members:
            lines.append(f"- [`{name}`](api/{pages[title]}#auxar.{name}): {_summary(_names()[name])}")
    return "\n".join(lines[1:])


@functools.cache
def _sections() -> dict[str, list[str]]:
    """Returns the public names of `auxar` by the titles of their sections, without modules."""
    sections: dict[str, list[str]] = {}
    for line in (ROOT / "auxar" / "__init__.pyi").read_text(encoding="utf-8").splitlines():
        if title := re.fullmatch(r"# ([A-Z].*)", line):
            members = sections[title[1]] = []
        elif name := re.fullmatch(r"from auxar\..* as (\w+)", line):
            members.append(name[1])
    return sections


@functools.cache
def _names() -> dict[str, griffe.Object]:
    """Returns the public names of `auxar` with the objects that they name."""
    return {name: _load(f"auxar.{name}") for members in _sections().values() for name in members}


@functools.cache
def _loader() -> griffe.GriffeLoader:
    return griffe.GriffeLoader(search_paths=SEARCH_PATHS, docstring_parser=griffe.Parser.google, allow_inspection=False)


def _load(path: str) -> griffe.Object:
    loader = _loader()
    package = path.split(".")[0]
    if package not in loader.modules_collection:
        loader.load(package)
    found = loader.modules_collection[path]
    return found.final_target if isinstance(found, griffe.Alias) else found


def _summary(member: griffe.Object) -> str:
    """Returns the first sentence of an object's docstring."""
    assert member.docstring is not None, f"{member.path} needs a docstring"
    return re.split(r"(?<=\.)\s", member.docstring.value, maxsplit=1)[0].replace("\n", " ")


def _public(owner: griffe.Object) -> Iterator[griffe.Object]:
    """Yields the public members of an object in the order of the source, including names that a package exports."""
    exports = owner.exports or () if isinstance(owner, griffe.Module) else ()
    for member in owner.members.values():
        if isinstance(member, griffe.Alias):
            if member.name not in exports:
                continue
            member = member.final_target
        if member.name.startswith("_") and not _is_told(member):
            continue
        if isinstance(member, griffe.Attribute) and not _is_declared(member):
            continue
        if isinstance(member, griffe.Class | griffe.Function | griffe.Attribute):
            yield member


def _is_declared(attribute: griffe.Attribute) -> bool:
    """Whether an attribute belongs to the reference, because it has a docstring or a class declares its type."""
    in_class = attribute.parent is not None and attribute.parent.is_class
    return attribute.docstring is not None or (in_class and attribute.annotation is not None)


def _is_told(member: griffe.Object) -> bool:
    """Whether a member with a leading underscore belongs to the reference, as operators with a docstring do."""
    return member.name in ("__call__", "__iter__", "__len__", "__str__") and member.docstring is not None


def _member(member: griffe.Object, level: int, path: str = "") -> str:
    anchor = f'<a id="{path or member.path}"></a>'
    name = path or (f"{member.parent.name}.{member.name}" if member.parent and member.parent.is_class else member.name)
    heading = f"{anchor}\n\n{'#' * level} `{name}`"
    if isinstance(member, griffe.Class):
        parts = [heading, _code(_class_lines(member)), _docstring(member), _fields(member)]
        parts += [_member(inner, level + 1) for inner in _public(member) if not isinstance(inner, griffe.Attribute)]
    elif isinstance(member, griffe.Function):
        parts = [heading, _code(_signature(member)), _docstring(member)]
    else:
        assert isinstance(member, griffe.Attribute)
        parts = [heading, _code(_attribute(member)), _docstring(member)]
    return "\n\n".join(part for part in parts if part)


def _class_lines(owner: griffe.Class) -> str:
    """Returns the first line of a class and, if the class defines `__init__`, the signature of the constructor."""
    bases = ", ".join(str(base) for base in owner.bases)
    lines = [f"class {owner.name}({bases})" if bases else f"class {owner.name}"]
    made = owner.members.get("__init__")
    if isinstance(made, griffe.Function):
        lines += ["", _signature(made, owner.name)]
    return "\n".join(lines)


def _fields(owner: griffe.Class) -> str:
    """Formats the attributes and properties of a class as a list, each with type, default and docstring."""
    lines = []
    for member in _public(owner):
        if isinstance(member, griffe.Attribute):
            told = f": {_one_line(member)}" if member.docstring else ""
            lines.append(f"- `{_attribute(member)}`{told}")
    return "\n".join(lines)


def _attribute(member: griffe.Attribute) -> str:
    annotation = f": {member.annotation}" if member.annotation else ""
    default = _default(member)
    return f"{member.name}{annotation}{f' = {default}' if default else ''}"


def _default(member: griffe.Attribute) -> str:
    """Returns the default of an attribute; for an `attrs.field`, its `default` argument."""
    value = "" if member.value is None else str(member.value)
    if "class-attribute" not in member.labels or not value:
        return ""
    if value.startswith("attrs.field("):
        found = re.search(r"\bdefault=([^,()]+(?:\([^()]*\))?)", value)
        return found[1] if found else ""
    return value if len(value) <= LONGEST_SIGNATURE else "…"


def _one_line(member: griffe.Object) -> str:
    assert member.docstring is not None
    return " ".join(member.docstring.value.split())


def _signature(function: griffe.Function, name: str = "") -> str:
    """Returns the signature of a function, optionally under another name. A long one has one parameter per line."""
    name = name or function.name
    labels = ("classmethod", "staticmethod", "abstractmethod")
    decorators = [f"@{label}" for label in labels if label in function.labels]
    parameters = list(_parameters(function))
    makes_instance = function.name == "__init__"
    returns = f" -> {function.returns}" if function.returns and not makes_instance else ""
    line = f"{name}({', '.join(parameters)}){returns}"
    if len(line) > LONGEST_SIGNATURE:
        line = f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){returns}"
    return "\n".join([*decorators, line])


def _parameters(function: griffe.Function) -> Iterator[str]:
    stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}
    before = None
    for place, parameter in enumerate(function.parameters):
        if place == 0 and parameter.name in ("self", "cls") and "staticmethod" not in function.labels:
            continue
        if parameter.kind is griffe.ParameterKind.keyword_only and before not in (
            griffe.ParameterKind.keyword_only,
            griffe.ParameterKind.var_positional,
        ):
            yield "*"
        before = parameter.kind
        annotation = f": {parameter.annotation}" if parameter.annotation else ""
        default = ""
        if parameter.default is not None and parameter.kind not in stars:
            default = f" = {parameter.default}" if annotation else f"={parameter.default}"
        yield f"{stars.get(parameter.kind, '') if parameter.kind else ''}{parameter.name}{annotation}{default}"


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _docstring(member: griffe.Object) -> str:
    if member.docstring is None:
        return ""
    sections = list(member.docstring.parsed)
    if isinstance(member, griffe.Function) and any(
        str(each.value).startswith("command(") for each in member.decorators
    ):
        sections = [_with_common(section, member) for section in sections]
    return "\n\n".join(_section(section) for section in sections)


def _with_common(section: griffe.DocstringSection, function: griffe.Function) -> griffe.DocstringSection:
    """Adds the parameters that several commands have to the parameters of a command, in the order of the signature."""
    if isinstance(section, griffe.DocstringSectionParameters):
        told = {entry.name: entry for entry in section.value}
        section.value = [
            told.get(each.name) or griffe.DocstringParameter(each.name, description=COMMON[each.name][1])
            for each in function.parameters
        ]
    return section


def _section(section: griffe.DocstringSection) -> str:
    if isinstance(section, griffe.DocstringSectionText):
        return str(section.value)
    if isinstance(section, griffe.DocstringSectionExamples):
        return "\n\n".join(
            f"```pycon\n{text}\n```" if kind is griffe.DocstringSectionKind.examples else text
            for kind, text in section.value
        )
    title = section.title or section.kind.value.capitalize()
    entries = [
        f"- `{getattr(entry, 'name', '') or entry.annotation}`: {' '.join(entry.description.split())}"
        for entry in section.value
    ]
    return f"{title.rstrip(':')}:\n\n" + textwrap.dedent("\n".join(entries))
