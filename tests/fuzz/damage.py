"""Damages runs at random: changes bytes, JSON, TOML and tensor headers; replaces files by folders."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import struct
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import attrs
import tomli_w
from safetensors import SafetensorError, safe_open

from auxar.errors import UserError
from auxar.files import CHECKSUM, read_checksum, write_tensors

TERABYTE = 2**40
LARGE = 2**24
APPENDED = ("metrics.jsonl", ".lock")
"""Names of files that auxar writes in place. It replaces all other files by new ones, so copies can be hard links."""
RELEVANT = {
    "load": ("run.json", "recipe.toml", "factors/*/weights.safetensors"),
    "report": ("*.json", "recipe.toml", "factors/*/metrics.jsonl", "samples/*.*", "figures/*"),
    "compare": ("evaluation.*", "evaluation.*", "recipe.toml"),
    "continue": ("factors/*/*", "factors/*/*", "evaluation.safetensors", "recipe.toml", "samples/*"),
    "evaluate": ("recipe.toml", "factors/*/weights.safetensors", "evaluation.*"),
    "draw": ("recipe.toml", "factors/*/weights.safetensors", "samples/map-seed0/*"),
}
"""Patterns of the files that each action reads or writes. Most of the damage is done to these files."""
NUMBERS = [
    *("0", "1", "-1", "2", "3", "7", "8", "255", "256", "65536", "1e9", "1e999", "-1e999", "NaN", "-Infinity", "1e308"),
    *("-0.0", "1e-320", str(2**31), str(2**53 + 1), str(2**63 - 1), str(2**63), str(2**70), "9" * 400, "9" * 5000),
]
ODD = [
    *("null", "true", "false", "[]", "{}", '""', '"x"', '"1"', '"\\u0000"', '"\\ud800"', '"../../outside/precious"'),
    *('"/etc/passwd"', '"\\u001b[2J\\u009b"', '"<script>"', '"{0}{reduction}"', json.dumps("x" * 20_000), "[[[[]]]]"),
    *('{"a": {"b": 1}}', "[" * 3000, "[1, 2, 3]", '"stage0"', '"prior"', '"ema"', '"map"'),
]
DTYPES = ["F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL", "C64", "F8_E4M3", "F4", "F33", "", 3]
MODEST: list[Any] = [
    *(0, 1, 2, 3, 4, 5, 8, 9, 16, 64, -1, True, False, 0.0, 0.5, 1.5, -1.0, 1e9),
    *("", "x", "pixelcnn", "raster", [], {}),
]
"""New values for keys of recipes. Sizes are small: a large valid size would make a case slow without showing a bug."""
PLUGINS = ["plugins/evil.py", "../evil.py", "plugins/../evil.py", "evil.py", "/evil.py", "plugins/evil.txt", "samples"]


@attrs.frozen
class Place:
    """A copy of a run, and a folder outside of it that must not change."""

    folder: Path
    outside: Path

    def files(self) -> list[str]:
        """Returns the paths, relative to the run, of all regular files that are small enough to read."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
        found = [path for path in files if path.stat().st_size < LARGE]
        return sorted(path.relative_to(self.folder).as_posix() for path in found)


@attrs.frozen(eq=False)
class Evil:
    """An object whose pickle creates a file when it is loaded."""

    path: str

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def copy_run(run: Path, folder: Path) -> None:
    """Copies a run with hard links; files that auxar writes in place are really copied."""
    folder.mkdir(parents=True)
    for path in sorted(run.rglob("*")):
        target = folder / path.relative_to(run)
        if path.is_dir():
            target.mkdir()
        elif path.name in APPENDED:
            shutil.copy2(path, target)
        else:
            os.link(path, target)


def damage(random: Random, place: Place, action: str) -> list[str]:
    """Damages one or a few files; returns what was done."""
    done = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        name = _chosen(random, place, action)
        if name is None:
            break
        kinds = [*KINDS, *_fitting(name)]
        kind = random.choice(kinds)
        with contextlib.suppress(NotFitting):
            kind(random, place, name)
            done.append(f"{kind.__name__.strip('_')} {name}")
    return done


class NotFitting(Exception):
    """Raised if a file lacks the form that a damage needs, such as JSON that an earlier damage made invalid."""


def _chosen(random: Random, place: Place, action: str) -> str | None:
    files = place.files()
    if random.random() < 0.85:
        pattern = random.choice(RELEVANT[action])
        fitting = [name for name in files if Path(name).match(pattern)]
        files = fitting or files
    return random.choice(files) if files else None


def _fitting(name: str) -> Sequence[Callable[[Random, Place, str], None]]:
    """Returns the damages that fit the file's format, repeated so that they are chosen more often than general ones."""
    if name.endswith(".json"):
        return [_value] * 12
    if name.endswith(".jsonl"):
        return [_line_value] * 12
    if name.endswith(".safetensors"):
        return [_header] * 7 + [_metadata] * 7 + [_numbers] * 4
    if name.endswith(".toml"):
        return [_key] * 14
    return []


# Bytes


def _write(path: Path, content: bytes) -> None:
    """Replaces a file instead of writing into it, because hard links share its content with other copies of the run."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _bytes(random: Random, place: Place, name: str) -> None:
    path = place.folder / name
    content = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 1, 2, 20))):
        _change(random, content)
    _write(path, bytes(content))


def _change(random: Random, content: bytearray) -> None:
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


def _splice(random: Random, place: Place, name: str) -> None:
    """Overwrites the middle of the file with a part of another file."""
    content = (place.folder / name).read_bytes()
    other = (place.folder / random.choice(place.files())).read_bytes()
    start, cut = random.randrange(len(content) + 1), random.randrange(len(other) + 1)
    _write(place.folder / name, content[:start] + other[cut:] + content[start + len(other) - cut :])


def _other(random: Random, place: Place, name: str) -> None:
    """Replaces the file by another file of the run."""
    other = random.choice(place.files())
    _write(place.folder / name, (place.folder / other).read_bytes())


def _odd_content(random: Random, place: Place, name: str) -> None:
    content = random.choice((b"", b"\0" * 5000, b"{}", b"[]", b"null", b"[" * 10**5, b"\xff\xfe", b"x" * 10**6))
    _write(place.folder / name, content)


def _pickle(random: Random, place: Place, name: str) -> None:
    _write(place.folder / name, pickle.dumps(Evil(str(place.outside / "loaded"))))


# Removed and replaced files


def _nothing(random: Random, place: Place, name: str) -> None:
    (place.folder / name).unlink()


def _no_folder(random: Random, place: Place, name: str) -> None:
    parent = (place.folder / name).parent
    if parent == place.folder:
        raise NotFitting
    shutil.rmtree(parent)
    if random.random() < 0.3:
        parent.write_bytes(b"x")


def _folder(random: Random, place: Place, name: str) -> None:
    path = place.folder / name
    path.unlink()
    path.mkdir()
    if random.random() < 0.5:
        (path / "inside").write_bytes(b"x")


def _terabyte(random: Random, place: Place, name: str) -> None:
    path = place.folder / name
    _write(path, path.read_bytes())
    with contextlib.suppress(OSError):
        os.truncate(path, random.choice((TERABYTE, 2**33, 2**28 + 1)))


def _more(random: Random, place: Place, name: str) -> None:
    """Adds a file with a name that has a meaning in a run."""
    names = [
        *("metrics.jsonl", ".lock", ".lock.json", ".recipe.toml.a1b2c3d4.part", "factors/prior/.x.a1b2c3d4.part"),
        *("factors/prior/training.safetensors", "factors/prior/training-000000009.safetensors", "plugins/evil.py"),
        *(f"factors/prior/training-{'9' * 30}.safetensors", "factors/prior/training-000000003.safetensors"),
        *("factors/other/weights.safetensors", "samples/images/000009.png", "samples/notes.txt", "figures/x.png"),
        "optimizer.pt",
    ]
    path = place.folder / random.choice(names)
    if os.path.lexists(path) or not path.parent.parent.is_dir():
        raise NotFitting
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((place.folder / name).read_bytes())


# JSON


def _value(random: Random, place: Place, name: str) -> None:
    path = place.folder / name
    _write(path, _changed(random, _text(path)).encode("utf-8", "surrogatepass"))


def _line_value(random: Random, place: Place, name: str) -> None:
    path = place.folder / name
    lines = _text(path).split("\n")
    number = random.randrange(len(lines))
    lines[number] = _changed(random, lines[number])
    _write(path, "\n".join(lines).encode("utf-8", "surrogatepass"))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except ValueError:
        raise NotFitting from None


def _changed(random: Random, text: str) -> str:
    """Returns the JSON text with a random entry changed, renamed, repeated or removed."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise NotFitting from None
    paths = list(_paths(table))
    if not paths:
        raise NotFitting
    *parents, key = random.choice(paths)
    node = table
    for parent in parents:
        node = node[parent]
    choice = random.random()
    if choice < 0.1:
        del node[key]
        return json.dumps(table)
    if choice < 0.2 and isinstance(node, dict):
        node[random.choice(("x", "", "heldout", "training", "factor"))] = node.pop(key)
        return json.dumps(table)
    if choice < 0.25 and isinstance(node, list):
        node *= random.choice((0, 2, 100))
        return json.dumps(table)
    marker = "the value in question"
    node[key] = marker
    return json.dumps(table).replace(json.dumps(marker), random.choice(random.choice((NUMBERS, ODD))))


def _paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, entry in entries:
        yield from _paths(entry, (*path, key))


# Tensors


def _parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """Returns the header and the data of a safetensors file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        raise NotFitting from None
    if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
        raise NotFitting
    return header, content[8 + length :]


def _whole(header: Any, data: bytes, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _header(random: Random, place: Place, name: str) -> None:
    path = place.folder / name
    header, data = _parts(path)
    names = [key for key in header if key != "__metadata__"]
    if not names or random.random() < 0.1:
        length = random.choice((0, 1, 2**24, 2**24 + 1, 2**40, 2**63, 2**64 - 1))
        _write(path, _whole(header, data, length))
        return
    key = random.choice(names)
    entry = header[key]
    choice = random.randrange(6)
    if choice == 0:
        entry["dtype"] = random.choice(DTYPES)
    elif choice == 1:
        sizes = (0, 1, -1, 2, 2**20, 2**40, 2**63, 2**64, 0.5, None)
        entry["shape"] = [random.choice(sizes) for _ in range(random.choice((0, 1, 2, 4, 70)))]
    elif choice == 2:
        entry["shape"] = [*entry.get("shape", []), 1]
    elif choice == 3:
        offsets = (0, 4, len(data), len(data) + 1, 2**20, 2**40, 2**64 - 1, 2**64, -1)
        entry["data_offsets"] = [random.choice(offsets), random.choice(offsets)]
    elif choice == 4:
        header[random.choice(("x", "", "factor.x", "average.x", "optimizer.0.x", "a\x1b", key * 2))] = header.pop(key)
    else:
        header[key] = header[random.choice(names)]
    _write(path, _whole(header, data))
    if random.random() < 0.7:
        _sign(path)


def _sign(path: Path) -> None:
    """Gives a safetensors file the checksum of its content, so that its damage is not found by the checksum."""
    header, data = _parts(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = {key: value for key, value in (file.metadata() or {}).items() if key != CHECKSUM}
        write_tensors(path, tensors, metadata)
    except (SafetensorError, RuntimeError, ValueError, TypeError, AttributeError, UserError):
        return  # The file cannot be read, so its checksum is not compared.
    # Safetensors writes metadata in any order, but the same number must give the same damage.
    _write(
        path,
        _whole({**header, "__metadata__": {**dict(sorted(metadata.items())), CHECKSUM: read_checksum(path)}}, data),
    )


def _metadata(random: Random, place: Place, name: str) -> None:
    """Changes the metadata of a safetensors file."""
    path = place.folder / name
    header, data = _parts(path)
    metadata = header.setdefault("__metadata__", {})
    if random.random() < 0.1:
        header["__metadata__"] = random.choice(({}, None, [], "x", {"step": 1}, {"step": None}))
    elif random.random() < 0.15 and metadata:
        metadata.pop(random.choice(sorted(metadata)))
    else:
        known = ["step", "skipped", "seconds", "losses", "optimizer", "images", "weights", "factor", "heldout"]
        text = random.choice(random.choice((NUMBERS, ODD)))
        if random.random() < 0.3:
            text = random.choice(("[1e308, 1e308]", "[NaN]", "[true]", "[[1]]", '["prior"]', "{}", "3", "ema"))
        metadata[random.choice([*known, *metadata])] = text
    _write(path, _whole(header, data))
    if random.random() < 0.9:
        _sign(path)


def _numbers(random: Random, place: Place, name: str) -> None:
    """Overwrites numbers of the tensors, and replaces the checksum, which would detect this."""
    path = place.folder / name
    header, data = _parts(path)
    # The float32 bytes of NaN, both infinities, the largest and the smallest positive number, and zero.
    pattern = bytes.fromhex(random.choice(("0000c07f", "0000807f", "000080ff", "ffff7f7f", "01000000", "00000000")))
    start = random.randrange(len(data) // 4 + 1) * 4
    stop = random.choice((start + 4, start + 400, len(data)))
    content = bytearray(data)
    content[start:stop] = (pattern * (len(data) // 4 + 1))[: len(content[start:stop])]
    _write(path, _whole(header, bytes(content)))
    _sign(path)


# Recipes


def _key(random: Random, place: Place, name: str) -> None:
    path = place.folder / name
    try:
        table = tomllib.loads(_text(path))
    except ValueError:
        raise NotFitting from None
    if random.random() < 0.1:
        table["plugins"] = [random.choice(PLUGINS)]
        folder = place.folder / "plugins"
        if not os.path.lexists(folder):
            folder.mkdir()
        for where in (folder, place.folder, place.folder.parent):
            if where.is_dir() and not os.path.lexists(where / "evil.py"):
                (where / "evil.py").write_text(f"open({str(place.outside / 'executed')!r}, 'w')")
    else:
        paths = list(_paths(table))
        if not paths:
            raise NotFitting
        *parents, key = random.choice(paths)
        node: Any = table
        for parent in parents:
            node = node[parent]
        if random.random() < 0.15:
            del node[key]
        else:
            node[key] = random.choice(MODEST)
    with contextlib.suppress(TypeError):  # The damaged table may have no form in TOML.
        _write(path, tomli_w.dumps(table).encode())


KINDS = [_bytes, _bytes, _splice, _other, _odd_content, _pickle, _nothing, _no_folder, _folder, _terabyte]
KINDS += [_more]
