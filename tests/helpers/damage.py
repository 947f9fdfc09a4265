"""Damages files of runs at random: changes bytes, JSON, TOML and headers of tensors; replaces and removes files."""

import contextlib
import json
import os
import shutil
import struct
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import tomli_w

LARGE = 2**24
RELEVANT = {
    "load": ("run.json", "recipe.toml", "factors/*/weights.safetensors"),
    "report": ("*.json", "recipe.toml", "factors/*/metrics.jsonl", "samples/*.*", "figures/*"),
    "compare": ("evaluation.*", "evaluation.*", "recipe.toml"),
    "continue": ("factors/*/*", "factors/*/*", "evaluation.safetensors", "recipe.toml", "samples/*"),
    "evaluate": ("recipe.toml", "factors/*/weights.safetensors", "evaluation.*"),
    "draw": ("recipe.toml", "factors/*/weights.safetensors", "samples/map-seed0/*"),
}
"""Patterns of the files that each action reads or writes. Most of the damage is done to these files."""
VALUES = [
    *("0", "1", "-1", "2", "8", "255", "65536", "1e9", "1e999", "-1e999", "NaN", "1e308", "-0.0", "1e-320"),
    *(str(2**31), str(2**53 + 1), str(2**63 - 1), str(2**63), "9" * 400, "9" * 5000, "null", "true", "[]", "{}"),
    *('""', '"x"', '"1"', '"\\u0000"', '"\\ud800"', '"../../outside/precious"', '"/etc/passwd"', '"\\u001b[2J"'),
    *('"<script>"', '"{0}{reduction}"', json.dumps("x" * 20_000), "[[[[]]]]", '{"a": {"b": 1}}', "[" * 3000),
    *("[1, 2, 3]", "[1048576, 2]", "[0, 4]", '"stage0"', '"prior"', '"ema"', '"map"'),
    *('"F16"', '"I64"', '"C64"', '"F33"'),
]
NAMES = ("x", "", "heldout", "training", "factor", "factor.x", "average.x", "optimizer.0.x", "a\x1b")
MODEST: list[Any] = [
    *(0, 1, 2, 3, 4, 5, 8, 9, 16, 64, -1, True, False, 0.0, 0.5, 1.5, -1.0, 1e9),
    *("", "x", "pixelcnn", "raster", [], {}),
]
"""New values for keys of recipes. Sizes are small: a large valid size would make a case slow without showing a bug."""
NEW = [
    *("metrics.jsonl", ".lock", ".lock.json", ".recipe.toml.a1b2c3d4.part", "factors/prior/.x.a1b2c3d4.part"),
    *("factors/prior/training.safetensors", "factors/prior/training-000000009.safetensors", "plugins/other.py"),
    *(f"factors/prior/training-{'9' * 30}.safetensors", "factors/prior/training-000000003.safetensors"),
    *("factors/other/weights.safetensors", "samples/images/000009.png", "samples/notes.txt", "figures/x.png"),
]
"""Names of further files that have a meaning in a run."""


class NotFitting(Exception):
    """Raised if a file lacks the form that a change needs, such as JSON that an earlier change made invalid."""


def damage(random: Random, folder: Path, action: str) -> list[str]:
    """Damages one or a few files; returns what was done."""
    done = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        name = _chosen(random, folder, action)
        if name is None:
            break
        kind = random.choice([*KINDS, *_fitting(name)])
        with contextlib.suppress(NotFitting):
            kind(random, folder, name)
            done.append(f"{kind.__name__.strip('_')} {name}")
    return done


def _files(folder: Path) -> list[str]:
    """Returns the paths, relative to the run, of all files that are small enough to read."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size < LARGE]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _chosen(random: Random, folder: Path, action: str) -> str | None:
    files = _files(folder)
    if random.random() < 0.85:
        pattern = random.choice(RELEVANT[action])
        files = [name for name in files if Path(name).match(pattern)] or files
    return random.choice(files) if files else None


def _fitting(name: str) -> Sequence[Callable[[Random, Path, str], None]]:
    """Returns the damages that fit the file's format, repeated so that they are chosen more often than general ones."""
    kinds = {".json": [_value], ".jsonl": [_value], ".safetensors": [_header], ".toml": [_key]}
    return kinds.get(Path(name).suffix, []) * 12


# Any file


def change_bytes(random: Random, content: bytearray) -> None:
    """Changes, removes, repeats or inserts bytes at one place."""
    start = random.randrange(len(content) + 1)
    if random.random() < 0.5:
        start = min(start, random.randrange(1000))  # Headers are near the start of a file.
    stop = min(len(content), start + random.choice((1, 2, 8, 100, 10_000)))
    choice = random.randrange(7)
    if choice == 0 and start < len(content):
        content[start] ^= 1 << random.randrange(8)
    elif choice == 1:
        del content[start:stop]
    elif choice == 2:
        del content[start:]
    elif choice == 3:
        content[start:stop] = bytes(stop - start)
    elif choice == 4:
        content[start:start] = content[start:stop]
    elif choice == 5:
        content[start:start] = random.randbytes(random.choice((1, 8, 100)))
    else:
        content += random.randbytes(random.choice((1, 1000)))


def _bytes(random: Random, folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    for _ in range(random.choice((1, 1, 2, 20))):
        change_bytes(random, content)
    (folder / name).write_bytes(content)


def _other(random: Random, folder: Path, name: str) -> None:
    """Replaces the file, or its end, by another file of the run."""
    content, other = ((folder / each).read_bytes() for each in (name, random.choice(_files(folder))))
    spliced = content[: random.randrange(len(content) + 1)] + other[random.randrange(len(other) + 1) :]
    (folder / name).write_bytes(random.choice((other, spliced)))


def _odd_content(random: Random, folder: Path, name: str) -> None:
    content = (b"", b"\0" * 5000, b"{}", b"[]", b"null", b"[" * 10**5, b"\xff\xfe", b"x" * 10**6)
    (folder / name).write_bytes(random.choice(content))


def _terabyte(random: Random, folder: Path, name: str) -> None:
    os.truncate(folder / name, random.choice((2**40, 2**33, 2**28 + 1)))


def _nothing(random: Random, folder: Path, name: str) -> None:
    path = folder / name
    if path.parent != folder and random.random() < 0.3:
        shutil.rmtree(path.parent)
    else:
        path.unlink()


def _more(random: Random, folder: Path, name: str) -> None:
    path = folder / random.choice(NEW)
    if path.exists() or not path.parent.parent.is_dir():
        raise NotFitting
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((folder / name).read_bytes())


KINDS = [_bytes, _bytes, _other, _other, _odd_content, _nothing, _terabyte, _more]


# Files of one form


def _paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the paths of all values in tables and lists."""
    if path:
        yield path
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, entry in entries:
        yield from _paths(entry, (*path, key))


def _random_place(random: Random, table: Any) -> tuple[Any, Any]:
    """Returns a table or list in `table`, and one of its keys. Raises `NotFitting` if all are empty."""
    paths = list(_paths(table))
    if not paths:
        raise NotFitting
    *parents, key = random.choice(paths)
    for parent in parents:
        table = table[parent]
    return table, key


def _changed(random: Random, text: bytes) -> bytes:
    """Returns JSON in which an entry was changed, renamed, repeated or removed."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise NotFitting from None
    node, key = _random_place(random, table)
    choice, marker = random.random(), "the value in question"
    if choice < 0.1:
        del node[key]
    elif choice < 0.2 and isinstance(node, dict):
        node[random.choice(NAMES)] = node.pop(key)
    elif choice < 0.25 and isinstance(node, list):
        node *= random.choice((0, 2, 100))
    else:
        node[key] = marker
    return json.dumps(table).replace(json.dumps(marker), random.choice(VALUES)).encode("utf-8", "surrogatepass")


def _value(random: Random, folder: Path, name: str) -> None:
    """Changes JSON, in one line of a file of lines."""
    content = (folder / name).read_bytes()
    lines = content.split(b"\n") if name.endswith("l") else [content]
    number = random.randrange(len(lines))
    lines[number] = _changed(random, lines[number])
    (folder / name).write_bytes(b"\n".join(lines))


def _header(random: Random, folder: Path, name: str) -> None:
    """Changes the header of a safetensors file: a tensor, an entry of the metadata, or the header's length."""
    content = (folder / name).read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = _changed(random, content[8:end])
    length = random.choice((0, 1, 2**24, 2**40, 2**63, 2**64 - 1)) if random.random() < 0.1 else len(header)
    (folder / name).write_bytes(struct.pack("<Q", length) + header + content[end:])


def _key(random: Random, folder: Path, name: str) -> None:
    """Changes a key of a recipe."""
    path = folder / name
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except ValueError:
        raise NotFitting from None
    node, key = _random_place(random, table)
    if random.random() < 0.15:
        del node[key]
    else:
        node[key] = random.choice(MODEST)
    with contextlib.suppress(TypeError):  # The damaged table may have no form in TOML.
        path.write_bytes(tomli_w.dumps(table).encode())
