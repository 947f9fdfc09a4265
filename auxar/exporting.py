"""The files of an exported run: small, complete, and without absolute paths of the machine."""

import hashlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import tomli_w
import torch
from torch import Tensor

from auxar.data.loading import images_of
from auxar.data.writing import new_folder
from auxar.errors import UserError, logger, one_line
from auxar.evaluation.likelihoods import evaluate_run
from auxar.evaluation.stored import current_evaluation, facts_of, other_evaluations
from auxar.files import (
    DamagedFile,
    is_file,
    read_bytes,
    read_checksum,
    read_tensors,
    to_json,
    write_tensors,
    write_text,
)
from auxar.model import FLOAT
from auxar.recipe import ComponentChoice, Recipe
from auxar.recipe.building import build_model
from auxar.recipe.facts import packages_of
from auxar.recipe.loading import MOST_BYTES, recipe_table
from auxar.runs.converted import ConvertedFactors, write_converted
from auxar.runs.format import write_format
from auxar.runs.history import HISTORY, read_history
from auxar.runs.layout import RunFolder
from auxar.runs.opening import recipe_of_run
from auxar.runs.records import FACTS
from auxar.work.accelerator import make_accelerator

MOST_METRICS = 2**18
"""Maximum size in bytes of a factor's training metrics that are exported."""
WIDER = (torch.float32, torch.float64, torch.bfloat16)
"""The types of tensors that are stored in half precision."""


def write_exported(new: RunFolder, run: RunFolder, recipe: Recipe, *, half: bool, evaluate: bool) -> None:
    """Writes the files of the exported run `new`: those of `run`, in the ways that `auxar.export` describes."""
    if half and recipe.arithmetic.name != FLOAT:
        logger.info("the rounded weights have no integers, so the exported recipe has the arithmetic '%s'", FLOAT)
        recipe = attrs.evolve(recipe, arithmetic=ComponentChoice(FLOAT))
    write_format(new.path, packages_of(recipe))
    table = portable(recipe_table(recipe_of_run(recipe)))
    lines = read_bytes(run.recipe, MOST_BYTES).decode().splitlines()
    comment = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    head = [*comment, ""] if comment else []
    write_text(new.recipe, "".join(f"{line}\n" for line in head) + tomli_w.dumps(table))
    for file, content in recipe.registry.files.items():
        copy = new.path / "plugins" / file.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(content)
    for name in recipe.factor_names:
        tensors, metadata = read_tensors(run.weights(name))
        metadata[HISTORY] = to_json(portable(attrs.asdict(read_history(metadata, run.weights(name)))))
        write_tensors(new.weights(name), _halved(tensors, run.weights(name)) if half else tensors, metadata)
        metrics = run.metrics(name)
        if is_file(metrics) and metrics.stat().st_size <= MOST_METRICS:
            new.metrics(name).write_bytes(read_bytes(metrics))
    if evaluate:
        data = images_of(recipe)
        accelerator = make_accelerator(recipe.training.precision, new.path)
        evaluate_run(new, recipe, build_model(recipe), data, accelerator)
    if not half:
        for arithmetic in recipe.registry.names("arithmetic"):
            _copy_converted(new, run, recipe, arithmetic)
    if evaluate or not half:
        _copy_evaluation(new, new if evaluate else run, recipe)


def keep_integers(run: RunFolder, recipe: Recipe) -> None:
    """Exports a run whose weights will be replaced into its folder `older`, if files may depend on its integers."""
    kept = [ConvertedFactors(run, name) for name in recipe.registry.names("arithmetic")]
    try:
        kept = [files for files in kept if all(files.origin(name) for name in recipe.factor_names)]
        digests = {files.arithmetic: files.digests for files in kept}
        new = run.path / "older" / hashlib.sha256(to_json(digests).encode()).hexdigest()[:12]
        if not kept or new.exists():
            return
        with new_folder(new) as temporary:
            write_exported(RunFolder(temporary), run, recipe, half=False, evaluate=False)
    except DamagedFile as error:
        logger.warning("%s; files that were made with these integers cannot be decoded after this training", error)
    else:
        logger.info("kept the integers so far in %s; files that were made with them are decoded with it", new)


def portable(value: Any) -> Any:
    """Returns plain values in which each absolute path is replaced by `./` and its last part.

    Examples:
        >>> portable({"data": {"path": "/home/me/pictures"}, "plugins": ["plugins/views.py"]})
        {'data': {'path': './pictures'}, 'plugins': ['plugins/views.py']}
    """
    if isinstance(value, Mapping):
        return {key: portable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [portable(entry) for entry in value]
    # The prefix says that it is a path, not the name of a data set on the hub.
    return f"./{Path(value).name}" if isinstance(value, str) and (os.path.isabs(value) or value[:1] == "~") else value


def _halved(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    found = {}
    for name, tensor in tensors.items():
        found[name] = tensor.to(torch.float16) if tensor.dtype in WIDER else tensor
        if tensor.isfinite().logical_and(~found[name].isfinite()).any():
            largest = tensor[tensor.isfinite()].abs().max().item()
            raise UserError(
                f"{path} cannot be stored in half precision: {one_line(name)} has the value ±{largest:g}, beyond the "
                f"range of float16, ±{torch.finfo(torch.float16).max:g}; export without --half"
            )
    return found


def _copy_converted(new: RunFolder, run: RunFolder, recipe: Recipe, arithmetic: str) -> None:
    """Copies the factors that were converted to an arithmetic from the run's weights, and their digests."""
    own, copies = ConvertedFactors(run, arithmetic), ConvertedFactors(new, arithmetic)
    missing = [name for name in recipe.factor_names if own.origin(name) is None]
    if missing:
        if any(is_file(own.path(name)) for name in recipe.factor_names):
            told = "the exported run has no arithmetic '%s', because %s has no file of it for the present weights of %s"
            logger.warning(told, arithmetic, run.name, ", ".join(missing))
        return
    for name in recipe.factor_names:
        converted, made = own.read(name)
        # The new file of weights has other metadata, so its checksum differs.
        made = attrs.evolve(made, weights=read_checksum(new.weights(name)))
        write_converted(copies.path(name), converted, made)
        copies.write_record(name, made)


def _copy_evaluation(new: RunFolder, run: RunFolder, recipe: Recipe) -> None:
    evaluation = current_evaluation(run, recipe)
    if evaluation is None or portable(evaluation.data.path) != portable(recipe.data.path):
        told = "the exported run has no evaluation, because %s has none of its present weights and its own data set"
        logger.info(told, run.name)
        return
    # The new files of weights have other metadata, so their checksums differ.
    checksums = {name: read_checksum(new.weights(name)) for name in recipe.factor_names}
    for each in (evaluation, *other_evaluations(run.path, evaluation)):
        facts = portable(facts_of(each)) | {"checksums": checksums}
        write_tensors(new.evaluation_in(each.arithmetic), each.tensors, {FACTS: to_json(facts)})
