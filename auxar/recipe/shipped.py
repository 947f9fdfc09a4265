"""The recipes that come with auxar: finding them by name, and reading their headers.

A shipped recipe is a TOML file in the folder `recipes` of the package or, in a checkout, beside the package. Its name
is its path in this folder without `.toml`, such as `quickstart` or `small/celeba32`.
"""

import difflib
import itertools
import os
import re
from collections.abc import Collection
from os import PathLike
from pathlib import Path

import attrs

from auxar.errors import UserError, did_you_mean, nearest_path, one_line

PACKAGE = Path(__file__).parents[1]
"""The folder of the package `auxar`."""
DIRECTIVE = "#:schema "
"""The beginning of the first line of a recipe that names the file of its schema, as taplo and tombi read it."""
FIELDS = {"Time": "time", "Memory": "memory", "Result": "result"}
"""The labels in the header of a shipped recipe, and the attributes of `ShippedRecipe` with their texts."""
SENTENCE = re.compile(r"(?<!\bal)\.\s+(?=[A-Z(])")
"""The end of a sentence in a paragraph. The period of "et al." ends no sentence."""


@attrs.frozen
class ShippedRecipe:
    """A recipe that comes with auxar, as its header describes it.

    The texts `time`, `memory` and `result` say so if they were estimated, or if the recipe was not run.
    """

    name: str
    """Name by which commands and functions find the recipe, such as "small/celeba32"."""
    purpose: str
    """First sentence of the header: the model and its images."""
    time: str
    """Time of training."""
    memory: str
    """Memory for training."""
    result: str
    """Bits/dim, and the quality of samples."""
    path: Path
    """The recipe's file."""


def list_recipes() -> list[ShippedRecipe]:
    """Returns the recipes that come with auxar: first the quickstart, then the others by folder and name.

    Examples:
        >>> [recipe.name for recipe in list_recipes()][:2]
        ['quickstart', 'emoji32']
    """
    return [_described(name, path) for name, path in _files().items()]


def find_recipe(path: str | PathLike[str]) -> tuple[Path, str | None]:
    """Finds the file of a recipe that is given by its path or by the name of a shipped recipe.

    Returns the file, and the name if the recipe was found by name. A file that exists wins over a shipped recipe. The
    returned file does not exist if nothing was found.
    """
    path = Path(path)
    if path.suffix != ".toml" and not os.path.isfile(path):
        shipped = _files().get(path.as_posix())
        if shipped is not None:
            return shipped, path.as_posix()
    return path, None


def default_folder(path: str | PathLike[str]) -> Path:
    """Returns the default folder of a recipe's run: runs/NAME, with its name if it is shipped, or that of its file."""
    file, name = find_recipe(path)
    return Path("runs", name or file.stem)


def not_found(path: Path) -> str:
    """Returns the message that a recipe does not exist, with the nearest file or shipped recipe."""
    shipped = list(_files())
    ends = ["/".join(path.with_suffix("").parts[first:]) for first in range(len(path.parts))]
    same = next((end for end in ends if end in shipped), None)
    beside = sorted(file.name for file in path.parent.glob("*.toml")) if os.path.isdir(path.parent) else []
    what = f"{one_line(str(path))} does not exist"
    if same is not None:
        return f"{what}; a recipe of this name comes with auxar: give its name alone, '{same}'"
    if path.suffix == ".toml":
        return f"{what}{did_you_mean(path.name, beside) if beside else nearest_path(path)}"
    files = {file.removesuffix(".toml"): str(path.with_name(file)) for file in beside}
    near = difflib.get_close_matches(path.as_posix(), [*files, *shipped], n=1, cutoff=0.5)
    hint = f"; did you mean '{one_line(files.get(near[0], near[0]))}'?" if near else ""
    return f"{what}: it is neither a file nor a recipe that comes with auxar{hint} (`auxar recipes` lists them)"


def is_folder(path: Path) -> str:
    """Returns the message that a recipe is a folder, with the recipe in it if it is the folder of a run."""
    name = one_line(str(path))
    if os.path.isfile(path / "recipe.toml"):
        own = one_line(str(path / "recipe.toml"))
        return f"{name} is a folder; did you mean '{own}'? (`auxar run {own} --out {name}` continues a run)"
    return f"{name} is a folder; expected a TOML file or the name of a recipe that comes with auxar"


def text_of_shipped(name: str) -> str:
    """Returns the text of a shipped recipe, which is valid in any folder. Raises `UserError` for an unknown name.

    If the recipe names its JSON Schema in the first line, relative to its own folder, the text has the full path.
    """
    path = _files().get(name)
    if path is None:
        raise UserError(f"no recipe that comes with auxar is named '{one_line(name)}'{did_you_mean(name, _files())}")
    text = path.read_text(encoding="utf-8")
    first = text.partition("\n")[0]
    if first.startswith(DIRECTIVE) and "://" not in first:
        return with_schema(text, path.parent / first.removeprefix(DIRECTIVE).strip())
    return text


def _files() -> dict[str, Path]:
    """The file of each shipped recipe by its name, in the order of `list_recipes`."""
    folder = PACKAGE / "recipes"
    if not folder.is_dir():
        folder = PACKAGE.parent / "recipes"
    files = {file.relative_to(folder).with_suffix("").as_posix(): file for file in folder.rglob("*.toml")}
    names = sorted(files, key=lambda name: (name.rpartition("/")[0], name != "quickstart", name))
    return {name: files[name] for name in names}


def _described(name: str, path: Path) -> ShippedRecipe:
    first, found = read_header(path.read_text(encoding="utf-8"), FIELDS)
    texts = {attribute: found.get(label, "") for label, attribute in FIELDS.items()}
    return ShippedRecipe(name, first_sentence(first), path=path, **texts)


def read_header(text: str, labels: Collection[str]) -> tuple[str, dict[str, str]]:
    """Reads the header of a recipe. Returns its first paragraph, and the texts of the paragraphs that have a label.

    The header is the comment at the beginning of the text. The first paragraph is empty if there is no header.
    """
    paragraphs = _paragraphs(text, labels)
    found = {label: words for label, _, words in (paragraph.partition(": ") for paragraph in paragraphs)}
    return paragraphs[0] if paragraphs else "", {label: found[label] for label in labels if label in found}


def first_sentence(text: str) -> str:
    """Returns the first sentence of a paragraph, with its period."""
    sentence = SENTENCE.split(text, maxsplit=1)[0].removesuffix(".")
    return f"{sentence}." if sentence else ""


def _paragraphs(text: str, labels: Collection[str]) -> list[str]:
    """Returns the paragraphs of a recipe's header, each on one line.

    The header is the comment at the beginning of the file. A paragraph ends at an empty line of the comment, and at the
    next line that begins with one of the labels. Indented lines, which are commands, are left out.
    """
    found: list[list[str]] = [[]]
    for line in itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()):
        is_text = not line.startswith((DIRECTIVE, "#  "))
        words = line.removeprefix("#").strip() if is_text else ""
        if not words or words.partition(":")[0] in labels:
            found.append([])
        if words:
            found[-1].append(words)
    return [" ".join(paragraph) for paragraph in found if paragraph]


def with_schema(text: str, schema: Path) -> str:
    """Returns the text of a recipe with a first line that names the file of its schema by its absolute path.

    The line replaces a first line that names a schema, for example by a relative path. Editors read it.

    Examples:
        >>> with_schema("#:schema ../auxar.schema.json\\n[data]\\n", Path("/tmp/auxar.schema.json"))
        '#:schema file:///tmp/auxar.schema.json\\n[data]\\n'
    """
    text = text.removeprefix("\ufeff")
    if text.startswith(DIRECTIVE):
        text = text.partition("\n")[2]
    return f"{DIRECTIVE}{Path(os.path.abspath(schema)).as_uri()}\n{text}"
