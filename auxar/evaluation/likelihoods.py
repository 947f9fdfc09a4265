"""Evaluating the likelihood of a model factor by factor: bits/dim as in the paper's tables 1 and 2.

A run stores the log-likelihoods of single images in `evaluation.safetensors`. All figures follow from them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import attrs
from accelerate import Accelerator
from torch import Tensor

from auxar.data import DataSets, ImageSet
from auxar.distributed.group import Team
from auxar.distributed.shards import Shard
from auxar.evaluation.evaluation import INSIDE, NATS, NULL, Evaluation
from auxar.evaluation.facts import DataFacts, FactorFacts
from auxar.evaluation.image_nats import Share, gathered, nats_by_factor, share_of
from auxar.evaluation.own_samples import sample_nats
from auxar.evaluation.pixels import digest_of
from auxar.evaluation.stored import write_evaluation
from auxar.files import DamagedFile, is_file, metadata_entry, read_checksum
from auxar.model import FLOAT, Chain, Factor
from auxar.numerics.threads import ThreadChoice
from auxar.recipe import Recipe
from auxar.runs.converted import digests_of
from auxar.runs.history import read_history
from auxar.runs.layout import RunFolder
from auxar.runs.weights import OWN, WEIGHTS, load_weights

logger = logging.getLogger("auxar")
NULL_CONDITION, OF_CONDITIONS = "null condition", "the conditions"
"""Names of the passes over images with the null condition, and over the conditions of images."""
REQUIRED = ("step", "images", "kept", "trained_steps", "complete_at")
"""Metadata keys of weights, which only weights of a user's own training loop may lack."""
OF_FLOATS = (FLOAT, NULL_CONDITION, OF_CONDITIONS)
"""Names of the passes whose log-likelihoods are in the evaluation in floating point."""
Shares = Mapping[tuple[str, str], Share]
"""The log-likelihoods of single images, by the name of the pass and the name of the set."""


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
    factors: list[FactorFacts]
    """The factors of the model."""
    passes: Sequence[Pass]
    """The passes over the images. The first is in floating point, and those in other arithmetics follow."""
    checksums: dict[str, str]
    """The checksums of the weights of the trained factors, which include the factor of conditions."""

    @classmethod
    def of(
        cls, run: RunFolder, recipe: Recipe, model: Chain, data: DataSets, others: Mapping[str, Chain] | None = None
    ) -> RunEvaluation:
        """Loads the weights of the trained factors into a model. `others` are the models in other arithmetics by name.

        Raises `UserError` if weights cannot be read.
        """
        found = {factor.name: _facts(run, factor) for factor in model.all_factors}
        checksums = {name: read_checksum(run.weights(name)) for name in found if is_file(run.weights(name))}
        passes = [
            Pass(name, chain, [factor for factor in chain.factors if factor.name in checksums])
            for name, chain in {FLOAT: model, **(others or {})}.items()
        ]
        if model.condition is not None and model.condition.optional:
            passes.append(Pass(NULL_CONDITION, model, passes[0].chosen, without_condition=True))
        if (factor := model.condition_factor) is not None and factor.name in checksums:
            passes.append(Pass(OF_CONDITIONS, model, [factor]))
        factors = [found[factor.name] for factor in model.factors]
        return cls(run, recipe, model, data, factors, [each for each in passes if each.chosen], checksums)

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
        for factor in self.factors:
            if factor.trained_on not in (None, self.data.train.fingerprint):
                logger.warning(
                    "factor %s was trained on other images than this training set, and perhaps on held-out images",
                    factor.factor,
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
        """Returns the evaluation in each arithmetic, from the log-likelihoods of all images.

        With `write`, the evaluations are written to the run's output folder.
        """
        floats = self._evaluation(shares)
        passes = {each.name: self._tensors(shares, each) for each in self.passes}
        tensors = {key: nats for name in OF_FLOATS for key, nats in passes.pop(name, {}).items()}
        found = {FLOAT: attrs.evolve(floats, tensors=tensors | (self._samples() if write else {}))}
        for name, tensors in passes.items():
            found[name] = attrs.evolve(floats, arithmetic=name, digests=digests_of(self.run, name), tensors=tensors)
        for evaluation in found.values() if write else ():
            write_evaluation(self.run.output, evaluation)
        return found

    def _evaluation(self, shares: Shares) -> Evaluation:
        """The facts of the evaluation."""
        data, condition = self.data, self.model.condition
        heldout = shares.get((FLOAT, "heldout"))
        facts = DataFacts(
            self.recipe.data.path,
            data.train.fingerprint,
            data.heldout.fingerprint,
            len(data.skipped),
            None if heldout is None else digest_of(heldout.hashes),
        )
        return Evaluation(self.factors, facts, self.checksums, condition=None if condition is None else condition.kind)

    def _samples(self) -> dict[str, Tensor]:
        """The log-likelihoods of samples of the model, if the recipe asks for them and all factors are trained."""
        config = self.recipe.evaluation
        if not config.samples or not all(factor.factor in self.checksums for factor in self.factors):
            return {}
        return sample_nats(
            self.model,
            self.data.heldout,
            min(config.samples, config.heldout_images or config.samples),
            seed=self.recipe.sampling.seed,
            batch_size=config.batch_size,
        )

    def _tensors(self, shares: Shares, of: Pass) -> dict[str, Tensor]:
        """The log-likelihoods of a pass, by set, factor and part."""
        found = {}
        for name in self.sets:
            for factor, nats in zip(of.chosen, nats_by_factor(shares[of.name, name], of.chosen), strict=True):
                found[f"{name}.{factor.name}.{NULL if of.without_condition else NATS}"] = nats.nats
                if nats.inside is not None and not of.without_condition:
                    found[f"{name}.{factor.name}.{INSIDE}"] = nats.inside
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

    The result in floating point, `float`, is written to `evaluation.safetensors` in the run's output folder. `others`
    are the models in other arithmetics by name, with all factors. They are evaluated on the same images, and each
    result is written to a file of its own.
    """
    evaluation = RunEvaluation.of(run, recipe, model, data, others)
    if accelerator.is_main_process:
        evaluation.warn()
    return evaluation.conclude(evaluation.compute(accelerator), write=accelerator.is_main_process)


def _facts(run: RunFolder, factor: Factor) -> FactorFacts:
    """Loads the weights of a factor, if it is trained, and returns their facts."""
    path = run.weights(factor.name)
    if not is_file(path):
        return FactorFacts.of(factor, {}, None)
    metadata = load_weights(run, factor)
    if metadata_entry(metadata, WEIGHTS, path) != OWN:
        for key in REQUIRED:
            metadata_entry(metadata, key, path)
    try:
        return FactorFacts.of(factor, metadata, read_history(metadata, path))
    except ValueError as error:
        raise DamagedFile(f"{path} is damaged: its metadata has a wrong number of steps ({error})") from None
