"""Copies of data sets in Arrow format, which `datasets` generates in its cache from parquet files and from the hub.

`datasets` never verifies a copy. Here, a copy that cannot be opened is generated again, and the checksums of its files
are verified before images are converted from it.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import attrs
import datasets

from auxar.caching import CACHE_ADVICE
from auxar.data import checksums
from auxar.errors import UserError
from auxar.locks import holding, telling_of_others

logger = logging.getLogger("auxar")

Identity = tuple[int, int]


@attrs.frozen(eq=False)
class Copy:
    """A copy that is open in this process."""

    builder: Any
    """The builder of `datasets` that generates it."""
    identity: Identity | None
    """A value that changes when the copy is generated again, or None if there was no copy."""

    @property
    def folder(self) -> Path:
        return Path(self.builder.cache_dir)

    def verify(self) -> None:
        """Compares the files with their checksums. A file without a checksum gets one.

        Raises `DamagedCopy` if a checksum does not match, or if the copy was replaced since it was opened. Raises
        `OSError` if a file cannot be read or written.
        """
        for file in sorted(self.folder.glob("*.arrow")):
            if not checksums.beside(file).exists():
                # Another program may have generated this copy, so a missing checksum is no sign of damage.
                checksums.record(file)
                continue
            problem = checksums.problem(file)
            if problem is not None:
                raise DamagedCopy(f"data: the copy of the data set in {file} {problem}", self)
        if _identity(self.folder) != self.identity:
            raise DamagedCopy(f"data: the copy of the data set in {self.folder} was replaced", self)

    def replace(self) -> None:
        """Generates the copy again, unless another process already did. The old one is kept if this fails.

        Raises the errors of `datasets`.
        """
        lock = Path(f"{self.folder}_auxar.lock")
        with holding(lock, "generate the copy of the data set again", CACHE_ADVICE), telling_of_others:
            if _identity(self.folder) == self.identity:
                self.builder.download_and_prepare(download_mode=datasets.DownloadMode.REUSE_CACHE_IF_EXISTS)


class DamagedCopy(UserError):
    """The error for a copy whose content has changed since it was generated."""

    def __init__(self, message: str, copy: Copy) -> None:
        super().__init__(message)
        self.copy = copy


def load(*arguments: Any, streaming: bool, **options: Any) -> tuple[dict[str, Any], Copy | None]:
    """Loads all splits of a data set like `datasets.load_dataset`, from which it takes its arguments and errors.

    Also returns the copy that the splits are read from, or None if they are streamed. If there is a copy that cannot be
    opened, it is generated again.
    """
    with telling_of_others:
        if streaming:
            return datasets.load_dataset(*arguments, streaming=True, **options), None
        builder = _builder(*arguments, **options)
    found = Copy(builder, _identity(Path(builder.cache_dir)))
    if found.identity is None:
        logger.info("the data set is read, and copied to %s, which later commands use", found.folder)
    try:
        return _open(builder)
    except Exception as error:
        if found.identity is None:  # The source itself cannot be read.
            raise
        logger.warning(
            "the copy of the data set in %s cannot be opened (%s); it is generated again", found.folder, error
        )
        found.replace()
        return _open(builder)


def _open(builder: Any) -> tuple[dict[str, Any], Copy]:
    with telling_of_others:
        builder.download_and_prepare()
    copy = Copy(builder, _identity(Path(builder.cache_dir)))
    return builder.as_dataset(), copy


def _builder(*arguments: Any, **options: Any) -> Any:
    try:
        return datasets.load_dataset_builder(*arguments, **options)
    except OSError:  # The hub cannot be reached, or the data set does not exist.
        raise
    except Exception as error:
        # A builder cannot be created while the description of its copy is damaged. A builder for an empty cache finds
        # the folder of the copy. It fails as well if the copy is not the reason.
        with tempfile.TemporaryDirectory() as cache:
            other = datasets.load_dataset_builder(*arguments, cache_dir=cache, **options)
            info = _info(Path(datasets.config.HF_DATASETS_CACHE, Path(other.cache_dir).relative_to(cache)))
        if not _is_damaged(info):
            raise
        logger.warning("%s is damaged (%s); the copy of the data set beside it is generated again", info, error)
        info.unlink(missing_ok=True)
        return datasets.load_dataset_builder(*arguments, **options)


def _is_damaged(info: Path) -> bool:
    """Whether the description of a copy can be read, but not understood by `datasets`."""
    try:
        datasets.DatasetInfo.from_directory(str(info.parent))
    except OSError:
        return False
    except Exception:  # JSON of another form raises various exceptions.
        return True
    return False


def _info(folder: Path) -> Path:
    return Path(folder, datasets.config.DATASET_INFO_FILENAME)


def _identity(folder: Path) -> Identity | None:
    # The description is written whenever the copy is generated, and not changed later.
    try:
        found = _info(folder).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
