"""The folder in the working directory that holds the results of a model that comes trained."""

from collections.abc import Callable
from pathlib import Path

from auxar.errors import UserError
from auxar.evaluation.stored import read_evaluation
from auxar.files import FOLDER, check_output, entries, kind
from auxar.report.reading import FigureEntry
from auxar.runs.converted import Record, read_origin
from auxar.runs.layout import RunFolder, check_folder, check_no_pictures
from auxar.runs.records import read_record

ADVICE = "work in another folder"
"""The end of each message."""


def check_of(run: RunFolder) -> Callable[[Path], None]:
    """The function that checks the output folder of a run before results are written into it."""
    return check_folder if run.model is None else check_results


def check_results(path: Path) -> None:
    """Checks a folder before an evaluation or figures are written into it, which is not the folder of a run.

    Raises `UserError` if it exists and is not a folder, if it is a folder of pictures, or if a file or folder that
    would be replaced was not written by auxar.
    """
    results = RunFolder(path)
    check_no_pictures(path)
    for folder in (path, results.figures):
        if (found := kind(folder)) not in (None, FOLDER):
            raise UserError(f"{folder} is a {found}, but results are written into a folder of this name; {ADVICE}")
    if entries(results.figures) and not entries(results.figures, "figures.json"):
        raise UserError(f"{results.figures} has no figures.json of auxar, and its files are not replaced; {ADVICE}")
    readers: dict[str, Callable[[Path], object]] = {
        "evaluation*.safetensors": read_evaluation,
        "integer.json": lambda file: read_record(file, Record),
        "factors/*/*.safetensors": read_origin,
        "figures/figures.json": lambda file: read_record(file, list[FigureEntry]),
    }
    for file, read in ((file, read) for pattern, read in readers.items() for file in entries(path, pattern)):
        check_output(file)
        try:
            read(file)
        except UserError:
            raise UserError(f"{file} is not a file of auxar and is not replaced; {ADVICE}") from None
