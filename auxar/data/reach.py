"""Reads image files that a data set does not contain, but names by their paths.

A data set may come from a stranger. Its paths must not make auxar open files elsewhere on this machine, or anything in
the network.
"""

from pathlib import Path

import attrs
import datasets

from auxar.data.decoding import MAX_BYTES, BrokenImage, read_file
from auxar.errors import UserError, one_line

ARCHIVES = ("zip://", "tar://", "gzip://", "bz2://", "xz://", "lz4://", "zstd://")
"""Beginnings of the addresses by which `datasets` names a file inside an archive."""
UNREADABLE = "the file does not exist, is not a regular file, or is not readable"
"""The reason why an image is broken whose file cannot be read."""


@attrs.frozen
class Reach:
    """The files that the paths in a data set may lead to."""

    folders: tuple[Path, ...]
    """Folders without symbolic links in their paths. Files inside them are read."""
    base: Path | None = None
    """Folder that relative paths start from. If it is None, relative paths are refused."""
    repository: str | None = None
    """Name of the data set on the Hugging Face hub whose own files are downloaded, if there is one."""

    def read(self, path: str) -> bytes:
        """Returns the content of an image file, at most `MAX_BYTES + 1` bytes.

        Raises `BrokenImage` if the path leads elsewhere, or if the file cannot be read. Raises `UserError` if it cannot
        be downloaded, because that does not mean that the image is broken.
        """
        if "://" in path:
            if not self._is_own(path):
                raise BrokenImage("it is stored as an address, which auxar does not open")
            return _fetch(path)
        file = self._resolved(path)
        if not self._holds(file):
            raise BrokenImage("it is stored as a path that leads out of the folder of the data set")
        try:
            return read_file(file)
        except (OSError, ValueError) as error:
            raise BrokenImage(UNREADABLE) from error

    def _is_own(self, address: str) -> bool:
        """Whether an address leads to a file of the repository, or into an archive of it."""
        *inner, last = address.split("::")
        if self.repository is None or not all(hop.startswith(ARCHIVES) for hop in inner):
            return False
        if "://" not in last:
            return self._holds(self._resolved(last))
        own = last.startswith(tuple(f"hf://datasets/{self.repository}{end}" for end in "@/"))
        return own and ".." not in last.split("/")

    def _holds(self, file: Path | None) -> bool:
        return file is not None and any(file.is_relative_to(folder) for folder in self.folders)

    def _resolved(self, path: str) -> Path:
        if self.base is None and not path.startswith("/"):
            raise BrokenImage("it is stored as a relative path, but the data set has no folder")
        try:
            return Path(self.base or "/", path).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # Invalid paths, and links that lead back to themselves.
            raise BrokenImage(UNREADABLE) from error


def _fetch(address: str) -> bytes:
    try:
        with datasets.utils.file_utils.xopen(address, "rb") as file:
            found: bytes = file.read(MAX_BYTES + 1)
            return found
    except Exception as error:  # The network, the hub and archives all raise different exceptions.
        raise UserError(
            f"data.path: the image file {address} cannot be downloaded: {one_line(str(error), 300)}"
        ) from error
