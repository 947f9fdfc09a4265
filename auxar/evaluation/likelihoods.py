"""Evaluating the likelihood of a model factor by factor: bits/dim as in the paper's tables 1 and 2.

A run stores its mean figures in `evaluation.json`, and the log-likelihoods of single images in
`evaluation.safetensors`, so that two runs can be compared image by image.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import torch
from accelerate import Accelerator

from auxar.data import DataSets, ImageSet
from auxar.distributed.group import Team
from auxar.distributed.shards import Shard
from auxar.errors import shown
from auxar.evaluation.figures import cost_of, evaluation_of, figures_of_conditions, figures_without_condition
from auxar.evaluation.image_nats import FactorNats, Share, gathered, nats_by_factor, share_of
from auxar.evaluation.own_samples import sample_figures
from auxar.evaluation.pixels import digest_of
from auxar.evaluation.records import DataFacts, Evaluation
from auxar.files import DamagedFile, is_file, metadata_entry, write_json, write_tensors
from auxar.model import FLOAT, Chain, Factor
from auxar.numerics.threads import ThreadChoice
from auxar.recipe import Recipe
from auxar.runs.converted import digests_of
from auxar.runs.history import History, read_history
from auxar.runs.layout import RunFolder
from auxar.runs.weights import OWN, WEIGHTS, load_weights

logger = logging.getLogger("auxar")
STEPS = "[0-9]{1,18}"
FACTS = {
    "step": STEPS,
    "weights": "ema|last|own",
    "images": r"[\w./-]{1,200}",
    "kept": "best|last",
    "trained_steps": STEPS,
    "complete_at": STEPS,
}
"""Regular expressions for the metadata of a weights file: the step and the kind of the weights, the fingerprint of the
training images, whether the best or the last weights were kept, and the numbers of steps that were done and planned."""
NULL_CONDITION, OF_CONDITIONS = "null condition", "the conditions"
"""Names of the passes over images with the null condition, and over the conditions of images."""
Shares = Mapping[tuple[str, str], Share]
"""The log-likelihoods of single images, by the name of the pass and the name of the set."""


def image_nats_path(run: RunFolder, arithmetic: str = FLOAT) -> Path:
    """The path of the file with the log-likelihoods of single images in an arithmetic, `evaluation.safetensors`.

    The file holds two tensors for each evaluated set (`heldout`, `training`): `SET.nats`, float64 (factors, images),
    and `SET.indices`, the numbers of the images in the set, int64 (images,). Its metadata holds the names of the
    factors, as a JSON list under `factors`, and the fingerprint of each set, under the set's name.
    """
    return run.evaluation_in(arithmetic).with_suffix(".safetensors")


@attrs.frozen(eq=False)
class Pass:
    """A pass over the held-out and the training images, which computes the log-likelihoods of chosen factors."""

    name: str
    """The arithmetic, `NULL_CONDITION` or `OF_CONDITIONS`."""
    model: Chain
    """The model, which computes the views of an image."""
    chosen: Sequence[Factor]
    """The factors, of which at least one is needed."""
    without_condition: bool = False
    """Whether images have the null condition instead of their own."""


@attrs.frozen(eq=False)
class RunEvaluation:
    """The evaluation of the trained factors of a run on held-out and training images.

    The log-likelihoods of single images are computed first, by one or several processes or shards. The evaluation is
    then derived from those of all images.
    """

    run: RunFolder
    recipe: Recipe
    model: Chain
    data: DataSets
    metadata: Mapping[str, Mapping[str, str]]
    """The metadata of the weights of each trained factor."""
    histories: Mapping[str, History]
    """The history of the training of each trained factor."""
    passes: Sequence[Pass]
    """The passes over the images. The first is in floating point, and those in other arithmetics follow."""

    @classmethod
    def of(
        cls, run: RunFolder, recipe: Recipe, model: Chain, data: DataSets, others: Mapping[str, Chain] | None = None
    ) -> RunEvaluation:
        """Loads the weights of the trained factors into a model. `others` are the models in other arithmetics by name.

        Raises `UserError` if weights cannot be read.
        """
        trained = [factor for factor in model.factors if is_file(run.weights(factor.name))]
        metadata = {factor.name: _checked(load_weights(run, factor), run.weights(factor.name)) for factor in trained}
        histories = {name: read_history(entry, run.weights(name)) for name, entry in metadata.items()}
        passes = [Pass(FLOAT, model, trained)]
        for arithmetic, other in (others or {}).items():
            passes.append(Pass(arithmetic, other, [factor for factor in other.factors if factor.name in metadata]))
        if model.condition is not None and model.condition.optional:
            passes.append(Pass(NULL_CONDITION, model, trained, without_condition=True))
        factor = model.condition_factor
        if factor is not None and is_file(run.weights(factor.name)):
            _checked(load_weights(run, factor), run.weights(factor.name))
            passes.append(Pass(OF_CONDITIONS, model, [factor]))
        return cls(run, recipe, model, data, metadata, histories, [each for each in passes if each.chosen])

    @property
    def sets(self) -> dict[str, tuple[ImageSet, int | None]]:
        """The sets of images that are evaluated, and the maximum number of images of each, by name."""
        config = self.recipe.evaluation
        found = {
            "heldout": (self.data.heldout, config.heldout_images),
            "training": (self.data.train, config.train_images),
        }
        return {name: (images, limit) for name, (images, limit) in found.items() if limit != 0}

    def warn(self) -> None:
        """Logs a warning for each factor that was trained on other images than the training images."""
        for name, entry in self.metadata.items():
            if entry.get("images", self.data.train.fingerprint) != self.data.train.fingerprint:
                logger.warning(
                    "factor %s was trained on other images than this training set, and perhaps on held-out images", name
                )

    def compute(self, accelerator: Accelerator, shard: Shard | None = None) -> Shares:
        """Computes the log-likelihoods of all images, or those of a shard, in all processes together.

        Shard i of n has the batches i - 1, i - 1 + n, … of each set. Its processes take them in turn.
        """
        team, shard = Team(accelerator), shard or Shard(1, 1)
        found = {}
        for each in self.passes:
            each.model.eval().to(team.device)
            threads = ThreadChoice(team.device)
            kind = "" if each.name == FLOAT else f" ({each.name})"
            for name, (images, limit) in self.sets.items():
                share = share_of(
                    each.model,
                    each.chosen,
                    images,
                    # A shard has the same batches with any number of processes.
                    rank=shard.number - 1 + shard.count * team.rank,
                    processes=shard.count * team.processes,
                    device=team.device,
                    batch_size=self.recipe.evaluation.batch_size,
                    limit=limit,
                    description=f"evaluation{kind}, {name} images" if team.rank == 0 else None,
                    without_condition=each.without_condition,
                    threads=threads,
                )
                found[each.name, name] = gathered(share, team)
        return found

    def conclude(self, shares: Shares, *, write: bool = True) -> dict[str, Evaluation]:
        """Derives the evaluation in each arithmetic from the log-likelihoods of all images.

        With `write`, the evaluations and the log-likelihoods are written to the run's output folder.
        """
        nats = {each.name: self._nats(shares, each) for each in self.passes}
        floats = nats.get(FLOAT, {})
        chain, data = self.model.factors, self.data
        facts = DataFacts(
            self.recipe.data.path,
            data.train.fingerprint,
            data.heldout.fingerprint,
            len(data.skipped),
            digest_of(shares[FLOAT, "heldout"].hashes) if "heldout" in floats else None,
        )
        result: dict[str, Evaluation] = {}
        for arithmetic in (FLOAT, *(name for name in nats if name not in (FLOAT, NULL_CONDITION, OF_CONDITIONS))):
            own = nats.get(arithmetic, {})
            evaluation = evaluation_of(chain, own, self.metadata, self.histories, facts)
            if self.model.condition is not None:
                evaluation = attrs.evolve(evaluation, condition=self.model.condition.kind)
            if arithmetic == FLOAT:
                evaluation = self._with_samples(evaluation) if write else evaluation
                null, conditions = nats.get(NULL_CONDITION, {}), nats.get(OF_CONDITIONS, {})
                evaluation = attrs.evolve(
                    evaluation,
                    without_condition={name: figures_without_condition(null[name], own[name], chain) for name in null},
                    condition_figures={
                        name: figures_of_conditions(*by_factor.values()) for name, by_factor in conditions.items()
                    },
                )
            else:
                cost = {name: cost_of(own[name], floats[name], chain) for name in own}
                digests = digests_of(self.run, arithmetic)
                evaluation = attrs.evolve(evaluation, arithmetic=arithmetic, cost=cost, digests=digests)
            if write:
                # The table is written last, so that it exists only if the evaluation is complete.
                output = self.run.output
                _write_image_nats(image_nats_path(output, arithmetic), list(self.metadata), own, facts)
                write_json(output.evaluation_in(arithmetic), attrs.asdict(evaluation))
            result[arithmetic] = evaluation
        return result

    def _with_samples(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation with figures for samples of the model, if the recipe asks for them and all is trained."""
        config = self.recipe.evaluation
        if not config.samples or len(self.metadata) < len(self.model.factors):
            return evaluation
        found = sample_figures(
            self.model,
            self.data.heldout,
            min(config.samples, config.heldout_images or config.samples),
            seed=self.recipe.sampling.seed,
            batch_size=config.batch_size,
        )
        factors = [attrs.evolve(factor, samples=found[factor.factor]) for factor in evaluation.factors]
        return attrs.evolve(evaluation, factors=factors)

    def _nats(self, shares: Shares, of: Pass) -> dict[str, dict[str, FactorNats]]:
        """The log-likelihoods of a pass, by set and factor."""
        found = {}
        for name in self.sets:
            rows = nats_by_factor(shares[of.name, name], of.chosen)
            found[name] = {factor.name: row for factor, row in zip(of.chosen, rows, strict=True)}
        return found


def evaluate_run(
    run: RunFolder,
    recipe: Recipe,
    model: Chain,
    data: DataSets,
    accelerator: Accelerator,
    *,
    others: Mapping[str, Chain] | None = None,
) -> dict[str, Evaluation]:
    """Evaluates the trained factors on held-out and training images, and returns the results by arithmetic.

    The result in floating point, `float`, is written to `evaluation.json`. `others` are the models in other arithmetics
    by name, with all factors. They are evaluated on the same images, and each result, with its cost against floating
    point, is written to a file of its own. The log-likelihoods of single images are written to the files at
    `image_nats_path`. All files are in the run's output folder.
    """
    evaluation = RunEvaluation.of(run, recipe, model, data, others)
    if accelerator.is_main_process:
        evaluation.warn()
    return evaluation.conclude(evaluation.compute(accelerator), write=accelerator.is_main_process)


def _checked(metadata: Mapping[str, str], path: Path) -> Mapping[str, str]:
    """The metadata of a weights file.

    Raises `DamagedFile` if an entry of `FACTS` is missing or has another form. Weights of a user's own training loop
    may lack all of them except `weights`.
    """
    own = metadata_entry(metadata, WEIGHTS, path) == OWN
    for key, form in FACTS.items():
        if own and key not in metadata:
            continue
        value = metadata_entry(metadata, key, path)
        if not re.fullmatch(form, value):
            raise DamagedFile(
                f"{path} is damaged: the metadata entry '{key}' is {shown(value)}; expected a match of the regular "
                f"expression {form}"
            )
    return metadata


def _write_image_nats(
    path: Path, names: Sequence[str], nats: Mapping[str, Mapping[str, FactorNats]], data: DataFacts
) -> None:
    tensors = {}
    for images, of in nats.items():
        tensors[f"{images}.nats"] = torch.stack([of[name].total for name in names])
        tensors[f"{images}.indices"] = torch.arange(tensors[f"{images}.nats"].shape[1])
    fingerprints = {"heldout": data.heldout_fingerprint, "training": data.fingerprint}
    write_tensors(path, tensors, {"factors": json.dumps(list(names)), **fingerprints})
