"""Atomic writing, which leaves the old or the new file whenever the process ends, and safe reading of any file.

No file is trusted: the amount that is read is bounded, and what a file claims about itself is checked first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from auxar.errors import UserError

UNFINISHED = ".part"
"""Ending of a file that is being written. One that is left was written by a process that was killed."""
MOST_TEXT = 2**28
"""Bytes of a text that is read: more than metrics of ten million lines take."""
MOST_HEADER = 2**24
"""Bytes of a safetensors file's header: enough for a hundred thousand tensors."""
CHECKSUM = "sha256"
Shapes = Mapping[str, tuple[int, ...]]


class DamagedFile(UserError):
    """A file that isn't what was once written: cut off, overwritten, or with bits that have changed."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends without error."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # Temporary files are private; what takes their place has the permissions that any new file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def unfinished(folder: Path) -> list[Path]:
    """Files in `folder` itself that a process was writing when it was killed, or is writing now."""
    return [path for path in folder.glob(f".*{UNFINISHED}") if path.is_file()]


def remove(path: Path) -> None:
    """Removes a file or link that need not be there. Raises `UserError` if that is not possible."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be removed: {error.strerror or error}") from None


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, indented."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with replacing(path) as temporary:
        # Names of files need not be text: what isn't is written as JSON's own escapes.
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def append_line(path: Path, line: str) -> None:
    """Adds a line to a text. Raises `UserError`, naming the file, if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """The content of a file of at most `most` bytes. Raises `UserError` for one that cannot be read, or is larger."""
    try:
        if path.exists() and not path.is_file():  # Reading a pipe or a device may never end.
            raise UserError(f"{path} cannot be read: it is no file")
        with path.open("rb") as file:
            # A sparse file may claim any size: it is not read for the sake of its refusal.
            content = file.read(most + 1) if os.fstat(file.fileno()).st_size <= most else None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if content is None or len(content) > most:
        raise UserError(f"{path} is larger than the {most:,} bytes that such a file may have")
    return content


def parse_json(content: bytes | str) -> Any:
    """JSON to plain values. Raises `ValueError` for any other text, or beyond Python's limits of nesting and digits."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path) -> Any:
    """Reads JSON. Raises `UserError` for a file that is missing and `DamagedFile` for one that is no JSON."""
    try:
        return parse_json(read_bytes(path))
    except ValueError as error:
        raise DamagedFile(f"{path} is damaged: not JSON ({error})") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file atomically, its checksum in the metadata."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {**metadata, CHECKSUM: _checksum(tensors, metadata)}
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # safetensors does not report a full disk as an OSError.
            raise UserError(f"{path} cannot be written: {error}") from None


def read_shapes(path: Path) -> Shapes:
    """The shapes of a safetensors file's tensors, none of which is read. Raises as `read_tensors` does."""
    with _tensors(path) as file:
        return _shapes(file)


def read_tensors(
    path: Path, check: Callable[[Shapes, Mapping[str, str]], None] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    `check` is called with the shapes and the metadata that the file claims, before any tensor is read, and may raise
    an error of its own. Raises `UserError` for a file that is missing and `DamagedFile` for one that is no safetensors
    file or does not have the checksum that it was written with. A file without a checksum is taken as it is.
    """
    with _tensors(path) as file:
        metadata = dict(file.metadata() or {})
        expected = metadata.pop(CHECKSUM, None)
        if check is not None:
            check(_shapes(file), metadata)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = expected if expected is None else _checksum(tensors, metadata)
    if found != expected:
        raise DamagedFile(f"{path} is damaged: its content does not have the checksum that it was written with")
    return tensors, metadata


@contextlib.contextmanager
def _tensors(path: Path) -> Iterator[Any]:
    """A safetensors file, its header's length checked first. Raises `DamagedFile` if reading fails in the block."""
    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        with path.open("rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
        if length > MOST_HEADER:
            raise DamagedFile(f"{path} is damaged: its header claims {length:,} bytes")
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, RuntimeError, ValueError, MemoryError) as error:
        raise DamagedFile(f"{path} is damaged: {error}") from None


def _shapes(file: Any) -> Shapes:
    return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The checksum of everything in the file: metadata, and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
