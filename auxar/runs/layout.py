"""The layout of a run's folder, and checks of its contents.

run.json                            the version of the folder's format
recipe.toml                         the resolved recipe, with settings applied and defaults filled in
plugins/                            copies of the plugin files that the recipe names
factors/<factor>/weights.safetensors    the trained weights of the factor, for evaluation and sampling
factors/<factor>/training-<step>.safetensors    a checkpoint: weights, average, optimizer state and progress
factors/<factor>/best-<step>.safetensors    the best weights on validation images, beside the checkpoints
factors/<factor>/samples-<step>.png images that the factor drew during its training
factors/<factor>/metrics.jsonl      metrics of the factor's training, one JSON object per line
evaluation.safetensors              the evaluation: the log-likelihood of every evaluated image
evaluation-integer.safetensors      the same in integers
integer.json                        digests of the factors in integers
factors/<factor>/integer.safetensors    the factor in integers
older/                              exports from before further training, with integers that files may depend on
samples/                            images drawn from the model
auxar-work/, samples/auxar-work/    results of parts of an evaluation or of drawn images, until they are joined
figures/                            figures like the paper's
report.html                         the report
.lock, .lock.json                   the lock of the folder, and the process that holds it
factors/<factor>/.lock, ….json      the lock of a factor that is trained

A folder may come from an untrusted source. Its plugin files, which are code, are loaded only on request.
"""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from auxar.errors import UserError
from auxar.files import entries, is_file, kind, read_bytes
from auxar.leftovers import unfinished
from auxar.model import FLOAT
from auxar.recipe import Recipe
from auxar.recipe.loading import MOST_BYTES
from auxar.recipe.paths import EXTENSIONS
from auxar.recipe.shipped import FIELDS, first_sentence, read_header
from auxar.runs.format import RECORD, check_format
from auxar.runs.lock import HOLDER, LOCK

LICENSE = "License"
"""The label of the paragraph about the license in the header of a recipe."""
SAVED = re.compile(r"(weights|training-\d+)\.safetensors")
"""Names of the files of weights and of checkpoints in a factor's folder."""


@attrs.frozen
class RunFolder:
    """Paths inside a run's folder.

    Examples:
        >>> run = RunFolder(Path("runs/quickstart"))
        >>> run.weights("prior").as_posix()
        'runs/quickstart/factors/prior/weights.safetensors'
        >>> run.metrics("prior") == run.factor("prior") / "metrics.jsonl"
        True
    """

    path: Path
    """The run's folder itself."""
    model: str | None = None
    """Name of the model that comes trained, or is on the hub, whose folder this is; None for any other run. Nothing is
    written into the folder of such a model."""

    def __fspath__(self) -> str:
        """The path as a string, so that functions which take a path accept a run's folder."""
        return str(self.path)

    @property
    def name(self) -> str:
        """The run as users give it: the name of the model, or the path of the folder."""
        return self.model or str(self.path)

    @property
    def purpose_and_license(self) -> tuple[str, str]:
        """The first sentence in the header of the recipe, and the paragraph about the license; empty if missing."""
        purpose, paragraphs = read_header(read_bytes(self.recipe, MOST_BYTES).decode(), (*FIELDS, LICENSE))
        return first_sentence(purpose), paragraphs.get(LICENSE, "")

    @property
    def output(self) -> RunFolder:
        """The folder that commands write results into.

        It is the run's own, ./NAME for a model that comes trained, and ./USER--NAME@COMMIT for a model on the hub, with
        the beginning of the commit, so that results of different models are not mixed.
        """
        if self.model is None:
            return self
        if "/" not in self.model:
            return RunFolder(Path(self.model))
        return RunFolder(Path(f"{self.model.partition('@')[0].replace('/', '--')}@{self.path.name[:8]}"))

    @property
    def recipe(self) -> Path:
        """The file of the resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def evaluation(self) -> Path:
        """The file of the evaluation: the log-likelihood of every image under each factor."""
        return self.evaluation_in(FLOAT)

    def evaluation_in(self, arithmetic: str) -> Path:
        """The file of the evaluation in an arithmetic: `float`, or the name of a component.

        Examples:
            >>> RunFolder(Path("runs/quickstart")).evaluation_in("integer").name
            'evaluation-integer.safetensors'
        """
        return self.path / f"evaluation{'' if arithmetic == FLOAT else f'-{arithmetic}'}.safetensors"

    @property
    def samples(self) -> Path:
        """The folder of the images drawn from the model."""
        return self.path / "samples"

    @property
    def report(self) -> Path:
        """The file of the HTML report."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """The folder of the figures."""
        return self.path / "figures"

    def factor(self, name: str) -> Path:
        """The folder of one factor. It is self-contained and may be copied to another run of the same recipe."""
        return self.path / "factors" / name

    def weights(self, factor: str) -> Path:
        """The file of a factor's trained weights."""
        return self.factor(factor) / "weights.safetensors"

    def metrics(self, factor: str) -> Path:
        """The file of a factor's training metrics, one JSON object per line."""
        return self.factor(factor) / "metrics.jsonl"

    @property
    def saved(self) -> list[Path]:
        """The files of weights and the checkpoints of all factors."""
        # Best weights on validation images do not count: without a checkpoint, training starts again.
        return [path for path in entries(self.path, "factors/*/*") if SAVED.fullmatch(path.name)]

    @property
    def made(self) -> bool:
        """Whether auxar made the folder: it has a run.json."""
        return kind(self.path / RECORD) is not None

    def trained(self, recipe: Recipe) -> list[str]:
        """Names of the factors with trained weights, in order of depth.

        Examples:
            >>> import auxar
            >>> run = auxar.RunFolder(Path("runs/quickstart"))
            >>> run.trained(auxar.load_recipe(run.recipe))
            ['stage0', 'stage1', 'prior']
        """
        return [name for name in recipe.factor_names if is_file(self.weights(name))]


def check_folder(path: Path) -> None:
    """Checks a folder before a run is created or continued in it, or changed.

    Raises `UserError` if `path` exists and is not a run's folder, or if its format is another one than `FORMAT`. An
    empty folder, or one with only a lock, temporary files and run.json, is accepted.
    """
    run = RunFolder(path)
    if is_file(run.recipe):
        if not run.made:
            raise UserError(
                f"{run.recipe} is not the recipe of a run, and would be replaced; choose another folder with --out"
            )
    elif path.exists():
        # A process that was killed before it wrote the recipe may have left these files.
        ours = {path / LOCK, path / HOLDER, path / RECORD, *unfinished(path, (RECORD, "recipe.toml", HOLDER))}
        if not path.is_dir() or any(entry not in ours for entry in entries(path)):
            raise UserError(f"{path} exists and is not a run's folder; choose another folder with --out")
    if run.made:
        check_format(path)


def check_no_pictures(path: Path) -> None:
    """Raises `UserError` if a folder of pictures, without results, is in the place of a folder of results."""
    pictures = [file for file in entries(path) if file.suffix.lower() in (".parquet", *EXTENSIONS)]
    if pictures and not any(entries(path, results) for results in ("evaluation*", "figures", "samples")):
        raise UserError(
            f"{path} has pictures ({pictures[0].name}), and results are not written beside them; work in another folder"
        )
