"""Atomic writing, and safe reading of files that may be damaged or hostile.

If a process is killed while it writes, the file has either its old or its new content. Only new and regular files are
written. Texts and headers have a maximum size, and callers can check the shapes of tensors before these are read.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fnmatch
import hashlib
import json
import math
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from auxar.errors import UserError

UNFINISHED = ".part"
"""Suffix of a temporary file while it is written. A file that keeps it was left by a killed process."""
TEMPORARY = re.compile(rf"\.(.+)\.[a-z0-9_]{{8}}{re.escape(UNFINISHED)}", re.DOTALL)
"""The names of temporary files: a dot, the name of the file, eight characters that `tempfile` chose, and `.part`."""
ABANDONED_AFTER = 3600.0
"""Seconds without a change after which a temporary file counts as left by a killed process."""
FILE, FOLDER = "regular file", "folder"
KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: "link"}
"""The kinds of files, by the part of the mode that says the kind."""
MOST_TEXT = 2**28
"""Maximum size in bytes of a text file that is read, enough for a million lines of metrics."""
MOST_HEADER = 2**24
"""Maximum size in bytes of the header of a safetensors file, enough for about 100,000 tensors."""
CHUNK = 2**20
"""Number of bytes that are read at once from a file whose content is not kept."""
CHECKSUM = "sha256"
"""Metadata key of the checksum in a safetensors file."""
Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor, by name."""


class DamagedFile(UserError):
    """The error for a file with invalid content, which was truncated, overwritten or corrupted.

    Messages may advise to delete the file, so this is never the error for a file that cannot be read.
    """


def kind(path: Path, *, follow_links: bool = False) -> str | None:
    """Returns the kind of the file at `path`, such as "regular file" or "link"; None if there is no file.

    With `follow_links`, it is the kind of the file that a link leads to. Raises `UserError` if the system refuses to
    tell.
    """
    return _kind(_mode(path, follow_links=follow_links))


def is_file(path: Path) -> bool:
    """Whether there is a regular file at `path`, or a link to one.

    Unlike `Path.is_file`, raises `UserError` if there is anything else, or if the system refuses to tell.
    """
    mode = _mode(path, follow_links=True)
    if mode is not None and not stat.S_ISREG(mode):
        raise UserError(f"{path} cannot be read: it is not a regular file")
    return mode is not None


def entries(folder: Path, pattern: str = "*") -> list[Path]:
    """Returns the paths in a folder that match a pattern such as "factors/*/*.png", sorted.

    The result is empty if the folder does not exist. Unlike `Path.glob`, raises `UserError` if a folder cannot be read,
    because such a folder need not be empty.
    """
    found = [folder]
    for part in pattern.split("/"):
        found = [path / name for path in found for name in _names(path) if fnmatch.fnmatchcase(name, part)]
    return found


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _refusal(folder, "read", error) from None


def _mode(path: Path, *, follow_links: bool, action: str = "read") -> int | None:
    """The mode of the file at `path`, which contains its kind; None if there is no file."""
    try:
        return path.stat(follow_symlinks=follow_links).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: the path contains a null character.
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # No file can have this name.
            return None
        raise _refusal(path, action, error) from None


def _kind(mode: int | None) -> str | None:
    return None if mode is None else KINDS.get(stat.S_IFMT(mode), "special file")


def _refusal(path: Path, action: str, error: OSError) -> UserError:
    """The error for an action ("read", "written" or "removed") that the system refuses or that fails."""
    return UserError(f"{path} cannot be {action}: {error.strerror or error}")


def check_output(path: Path) -> None:
    """Raises `UserError` unless `path` is new or a regular file.

    Links are refused, too: the file that a link leads to is not the one that the user has named.
    """
    found = _kind(_mode(path, follow_links=False, action="written"))
    if found not in (None, FILE):
        raise UserError(f"{path} cannot be written: expected a new or a regular file, found a {found}")


def check_replaceable(path: Path, replace: bool) -> None:
    """Raises `UserError` if there is a file that must not be replaced, or something else than a file."""
    if not replace and kind(path) is not None:
        raise UserError(f"{path} exists; files are replaced only with --replace")
    check_output(path)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`. Its file replaces `path` if the block ends without an error.

    Raises `UserError` if the file cannot be written, or if `path` is neither new nor a regular file.

    Examples:
        >>> path = Path(tempfile.mkdtemp()) / "colors.txt"
        >>> with replacing(path) as temporary:
        ...     _ = temporary.write_text("red")
        >>> path.read_text()
        'red'
    """
    check_output(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        give_usual_permissions(temporary, 0o666)
        temporary.replace(path)
    except OSError as error:
        raise _refusal(path, "written", error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def give_usual_permissions(path: Path, most: int) -> None:
    """Gives a temporary file or folder, which only its owner can read, the permissions of an ordinary new one."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(most & ~umask)


def unfinished(folder: Path, names: Collection[str] | None = None) -> list[Path]:
    """The temporary files of `replacing` directly in `folder`, left by a killed process or being written now.

    `names` limits them to temporary files of files with these names. In a folder that auxar did not make, a temporary
    file of any other name may belong to the user.
    """
    found = [(path, TEMPORARY.fullmatch(path.name)) for path in entries(folder)]
    return [path for path, match in found if match and (names is None or match[1] in names) and kind(path) == FILE]


def abandoned(folder: Path) -> list[Path]:
    """The temporary files directly in `folder` that no process has written to for `ABANDONED_AFTER` seconds."""
    found = []
    for path in unfinished(folder):
        with contextlib.suppress(FileNotFoundError):  # Another process has just finished the file.
            if time.time() - path.stat().st_mtime > ABANDONED_AFTER:
                found.append(path)
    return found


def remove(path: Path) -> None:
    """Removes a file or link if it exists. Raises `UserError` if it cannot be removed."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(path, "removed", error) from None


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON, atomically."""
    text = to_json(value, indent=2, ensure_ascii=False) + "\n"
    with replacing(path) as temporary:
        # File names may contain bytes that are not UTF-8. Python holds them as surrogates, written as JSON escapes.
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def append_line(path: Path, line: str) -> None:
    """Appends a line to a new or regular text file, not atomically. Raises `UserError` if it cannot be written."""
    check_output(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise _refusal(path, "written", error) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Opens a regular file for reading within the block.

    Raises `UserError` if the file is missing, and if it cannot be opened or, within the block, read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # Reading a pipe or a device may never end.
            raise UserError(f"{path} cannot be read: it is not a regular file")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except OSError as error:
        raise _refusal(path, "read", error) from None


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """Reads a file of at most `most` bytes. Raises `UserError` if it is missing, cannot be read or is larger."""
    with reading(path) as file:
        # The size is checked first, so that a huge file, which may be sparse, is refused without being read.
        content = file.read(most + 1) if os.fstat(file.fileno()).st_size <= most else None
    if content is None or len(content) > most:
        raise UserError(f"{path} is too large: expected at most {most:,} bytes")
    return content


def to_json(value: Any, *, indent: int | None = None, ensure_ascii: bool = True) -> str:
    """Converts plain values to JSON, with the strings "NaN", "Infinity" and "-Infinity" for floats that are not finite.

    JSON has no numbers for them. Paths are strings, too. `StrictConverter` can convert the strings back.
    """
    return json.dumps(_spelled_out(value), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


def _spelled_out(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _spelled_out(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled_out(entry) for entry in value]
    return value


def nearest_path(path: Path) -> str:
    """The end of a message about a missing path: an existing path that is similar to its first missing part.

    It is empty if no name is similar, or if the folder cannot be read.
    """
    try:
        missing = next((part for part in (*reversed(path.parents), path) if not part.exists()), None)
        names = [] if missing is None else [other.name for other in missing.parent.glob("*")]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name if missing is None else missing.name, names, n=1)
    return f"; did you mean '{missing.with_name(near[0])}'?" if missing is not None and near else ""


def parse_json(content: bytes | str) -> Any:
    """Parses JSON. Raises `ValueError` if the text is not JSON, is nested too deeply, or has too long an integer."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path) -> Any:
    """Reads a JSON file. Raises `UserError` if it cannot be read, and `DamagedFile` if it is not valid JSON."""
    try:
        return parse_json(read_bytes(path))
    except ValueError as error:
        raise DamagedFile(f"{path} is damaged: it is not valid JSON ({error})") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file atomically, with a checksum in its metadata. Tensors may share memory."""
    tensors = _apart({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    metadata = {**metadata, CHECKSUM: _checksum(tensors, metadata)}
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # safetensors does not report a full disk as an OSError.
            raise UserError(f"{path} cannot be written: {error}") from None


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with copies of those that share the memory of others, which safetensors refuses to write."""
    found = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        found[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in places else tensor
        places.add(found[name].untyped_storage().data_ptr())
    return found


def read_shapes(path: Path) -> Shapes:
    """Reads the shapes of the tensors in a safetensors file from its header, without reading the tensors.

    Raises `UserError` if the file is missing or cannot be read, and `DamagedFile` if its header is invalid.
    """
    with _tensors(path) as (_, file):
        return _shapes(file)


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the metadata of a safetensors file from its header, including the checksum, which is not verified.

    Raises `UserError` if the file is missing or cannot be read, and `DamagedFile` if its header is invalid.
    """
    with _tensors(path) as (_, file):
        return dict(file.metadata() or {})


def metadata_entry(metadata: Mapping[str, str], key: str, path: Path) -> str:
    """Returns an entry of the metadata of the safetensors file `path`. Raises `DamagedFile` if it is missing."""
    if key not in metadata:
        raise DamagedFile(f"{path} is damaged: its metadata entry '{key}' is missing")
    return metadata[key]


def read_checksum(path: Path) -> str:
    """Reads the checksum that a safetensors file stores, without verifying it.

    Raises the same errors as `read_metadata`, and `DamagedFile` if there is no checksum.
    """
    return metadata_entry(read_metadata(path), CHECKSUM, path)


def read_tensors(
    path: Path, check: Callable[[Shapes, Mapping[str, str]], None] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads the tensors of a safetensors file, and its metadata without the checksum.

    Before any tensor is read, `check` is called with the shapes and the metadata of the header. It raises `UserError`
    to refuse the file. Raises `UserError` if the file is missing or cannot be read, and `DamagedFile` if it is not a
    safetensors file, has no checksum or does not match it.
    """
    with _tensors(path) as (raw, file):
        metadata = dict(file.metadata() or {})
        expected = metadata_entry(metadata, CHECKSUM, path)
        del metadata[CHECKSUM]
        if check is not None:
            check(_shapes(file), metadata)
        # Tensors are mapped into memory, where a failure of the disk would end the process. Here it raises an error.
        while raw.read(CHUNK):
            pass
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = _checksum(tensors, metadata)
    if found != expected:
        raise DamagedFile(f"{path} is damaged: its content does not match its checksum")
    return tensors, metadata


@contextlib.contextmanager
def _tensors(path: Path) -> Iterator[tuple[BinaryIO, Any]]:
    """Opens a safetensors file after checking the length of its header. Yields the open file and its tensors.

    Raises `UserError` if the file is missing or cannot be read, and `DamagedFile` if its content is invalid.
    """
    with reading(path) as raw:
        try:
            length = int.from_bytes(raw.read(8), "little")
            if length > MOST_HEADER:
                raise DamagedFile(
                    f"{path} is damaged: its header has {length:,} bytes; expected at most {MOST_HEADER:,}"
                )
            with safe_open(path, framework="pt") as file:
                yield raw, file
        except MemoryError as error:
            raise UserError(f"{path} cannot be read: {error}") from None
        except (SafetensorError, RuntimeError, ValueError) as error:
            # PyTorch reports in this way that it cannot open or map a file, which is no damage.
            if str(error).startswith("unable to "):
                raise UserError(f"{path} cannot be read: {error}") from None
            raise DamagedFile(f"{path} is damaged: {error}") from None


def _shapes(file: Any) -> Shapes:
    return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The SHA-256 checksum of the metadata, and of the name, type, shape and bytes of every tensor."""
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
