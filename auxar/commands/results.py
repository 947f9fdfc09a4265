"""The folder in the working directory that holds the results of a model that comes trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from auxar.errors import UserError
from auxar.evaluation.likelihoods import image_nats_path
from auxar.evaluation.records import Evaluation
from auxar.files import FOLDER, check_output, entries, is_file, kind, read_metadata
from auxar.report.reading import FigureEntry
from auxar.runs.converted import Record, read_origin
from auxar.runs.layout import RunFolder, check_folder
from auxar.runs.records import read_record

ADVICE = "work in another folder"
"""The end of each message."""


def check_of(run: RunFolder) -> Callable[[Path], None]:
    """The function that checks the output folder of a run before results are written into it."""
    return check_folder if run.model is None else check_results


def check_results(path: Path) -> None:
    """Checks a folder before an evaluation or figures are written into it, which is not the folder of a run.

    Raises `UserError` if it exists and is not a folder, or if a file or folder that would be replaced was not written
    by auxar.
    """
    results = RunFolder(path)
    for folder in (path, results.figures):
        if (found := kind(folder)) not in (None, FOLDER):
            raise UserError(f"{folder} is a {found}, but results are written into a folder of this name; {ADVICE}")
    if is_file(results.evaluation) and not _is_ours(lambda: read_record(results.evaluation, Evaluation)):
        raise UserError(f"{results.evaluation} is not an evaluation of auxar and is not replaced; {ADVICE}")
    nats = image_nats_path(results)
    if is_file(nats) and not _is_ours(lambda: read_metadata(nats)["factors"]):
        raise UserError(f"{nats} is not a file of auxar and is not replaced; {ADVICE}")
    record = results.figures / "figures.json"
    if entries(results.figures) and not _is_ours(lambda: read_record(record, list[FigureEntry])):
        raise UserError(f"{results.figures} has no figures.json of auxar, and its files are not replaced; {ADVICE}")
    others = {
        **{file: _reader(file, Evaluation) for file in entries(path, "evaluation-*.json")},
        **{file: _reader(file, Record) for file in entries(path, "integer.json")},
        **{file: _reader(file, None) for file in entries(path, "factors/*/*.safetensors")},
    }
    for file, read in others.items():
        if not _is_ours(read):
            raise UserError(f"{file} is not a file of auxar and is not replaced; {ADVICE}")
    for file in (results.evaluation, nats, record, *others):
        check_output(file)


def _reader(file: Path, kind: type | None) -> Callable[[], object]:
    """A function that reads a record or, if `kind` is None, what a converted factor was made from."""
    return lambda: read_origin(file) if kind is None else read_record(file, kind)


def _is_ours(read: Callable[[], object]) -> bool:
    try:
        read()
    except (UserError, KeyError):
        return False
    return True
