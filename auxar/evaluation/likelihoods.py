"""Evaluating the likelihood of a model factor by factor: bits/dim as in the paper's tables 1 and 2.

A run stores the log-likelihoods of single images in `evaluation.safetensors`. All figures follow from them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence, Sized

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor

from auxar.data import DataSets, ImageSet
from auxar.evaluation.evaluation import INSIDE, NATS, NULL, Evaluation
from auxar.evaluation.facts import DataFacts, FactorFacts
from auxar.evaluation.image_nats import Share, joined, nats_by_factor, share_of
from auxar.evaluation.own_samples import sample_nats
from auxar.evaluation.pixels import digest_of
from auxar.evaluation.stored import stored_evaluation, write_evaluation
from auxar.files import DamagedFile, is_file, metadata_entry, read_checksum
from auxar.model import FLOAT, Chain, Factor
from auxar.numerics.threads import ThreadChoice
from auxar.recipe import Recipe
from auxar.runs.converted import digests_of
from auxar.runs.history import read_history
from auxar.runs.layout import RunFolder
from auxar.runs.weights import OWN, WEIGHTS, load_weights
from auxar.work.chunks import Tensors, Work

logger = logging.getLogger("auxar")
NULL_CONDITION, OF_CONDITIONS = "null condition", "the conditions"
"""Names of the passes over images with the null condition, and over the conditions of images."""
REQUIRED = ("step", "images", "kept", "trained_steps", "complete_at")
"""Metadata keys of weights, which only weights of a user's own training loop may lack."""
OF_FLOATS = (FLOAT, NULL_CONDITION, OF_CONDITIONS)
"""Names of the passes whose log-likelihoods are in the evaluation in floating point."""
CHUNK, MOST_CHUNKS = 64, 256
"""Number of images of a chunk, as far as there are no more chunks than `MOST_CHUNKS`."""
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


class RunEvaluation(Work):
    """The evaluation of the trained factors of a run on held-out and training images.

    The log-likelihoods of single images are computed in chunks, by one or several processes. The evaluation is then
    derived from those of all images, and written into the run's output folder.
    """

    def __init__(
        self,
        run: RunFolder,
        recipe: Recipe,
        model: Chain,
        data: DataSets,
        others: Mapping[str, Chain] | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Loads the weights of the trained factors into a model. `others` are the models in other arithmetics by name.

        Raises `UserError` if weights cannot be read.
        """
        self.run, self.recipe, self.model, self.data = run, recipe, model, data
        self.device = device or torch.device("cpu")
        self.threads = ThreadChoice(self.device)
        found = {factor.name: _facts(run, factor) for factor in model.all_factors}
        self.factors = [found[factor.name] for factor in model.factors]
        """The factors of the model."""
        self.checksums = {name: read_checksum(run.weights(name)) for name in found if is_file(run.weights(name))}
        """The checksums of the weights of the trained factors, which include the factor of conditions."""
        passes = [
            Pass(name, chain, [factor for factor in chain.factors if factor.name in self.checksums])
            for name, chain in {FLOAT: model, **(others or {})}.items()
        ]
        if model.condition is not None and model.condition.optional:
            passes.append(Pass(NULL_CONDITION, model, passes[0].chosen, without_condition=True))
        if (factor := model.condition_factor) is not None and factor.name in self.checksums:
            passes.append(Pass(OF_CONDITIONS, model, [factor]))
        self.passes = [each for each in passes if each.chosen]
        """The passes over the images. The first is in floating point, and those in other arithmetics follow."""
        self.found: dict[str, Evaluation] = {}
        """The evaluations by arithmetic, when they are written."""
        facts = {
            "weights": self.checksums,
            "factors": [attrs.asdict(factor) for factor in self.factors],
            "integers": {name: chain.digests for name, chain in (others or {}).items()},
            "images": [recipe.data.path, data.train.fingerprint, data.heldout.fingerprint],
            "options": attrs.asdict(recipe.evaluation),
            "seed": recipe.sampling.seed if recipe.evaluation.samples else None,
        }
        super().__init__(run.output.evaluation, facts, self._chunks())

    def _chunks(self) -> int:
        """The number of chunks: one for about `CHUNK` images of the largest set, and a single one for a stream."""
        counts = [1]
        for images, limit in self.sets.values():
            if not isinstance(images, Sized):
                return 1
            counts.append(math.ceil(min(len(images), limit or len(images)) / CHUNK))
        return min(MOST_CHUNKS, max(counts))

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

    def compute(self, number: int) -> Tensors:
        """Computes the log-likelihoods of the images of a chunk.

        Chunk i of n has the batches i, i + n, … of each set.
        """
        found: Tensors = {}
        for each in self.passes:
            each.model.eval().to(self.device)
            for name, (images, limit) in self.sets.items():
                share = share_of(
                    each.model,
                    each.chosen,
                    images,
                    rank=number,
                    processes=self.count,
                    device=self.device,
                    batch_size=self.recipe.evaluation.batch_size,
                    limit=limit,
                    description=self._description(each.name, name) if self.count == 1 else None,
                    without_condition=each.without_condition,
                    threads=self.threads,
                )
                found |= {f"{each.name}/{name}/{part}": value for part, value in share.tensors.items()}
        return found

    def conclude(self, found: list[Tensors]) -> None:
        """Writes the evaluation in each arithmetic, from the log-likelihoods of all images."""
        shares = {
            (each.name, name): joined([Share.of(own, f"{each.name}/{name}/") for own in found])
            for each in self.passes
            for name in self.sets
        }
        floats = self._evaluation(shares)
        passes = {each.name: self._tensors(shares, each) for each in self.passes}
        tensors = {key: nats for name in OF_FLOATS for key, nats in passes.pop(name, {}).items()}
        self.found = {FLOAT: attrs.evolve(floats, tensors=tensors | self._samples())}
        for name, tensors in passes.items():
            self.found[name] = attrs.evolve(
                floats, arithmetic=name, digests=digests_of(self.run, name), tensors=tensors
            )
        # The evaluation in floating point is written last, because it says that the work is done.
        for evaluation in reversed(self.found.values()):
            write_evaluation(self.run.output, evaluation)

    def is_concluded(self) -> bool:
        """Whether the evaluations in all arithmetics are there. Those of streams, whose content may change, never are.

        They also have the facts of this evaluation, because the files may be changed.
        """
        if self.found or not all(isinstance(images, Sized) for images, _ in self.sets.values()):
            return bool(self.found)
        found, expected = {}, self._evaluation({})
        for name in dict.fromkeys([FLOAT, *(each.name for each in self.passes if each.name not in OF_FLOATS)]):
            evaluation = stored_evaluation(self.run.output.evaluation_in(name))
            if evaluation is None or evaluation.key != self.key or not evaluation.has_facts_of(expected):
                return False
            found[name] = evaluation
        self.found = found
        return True

    @staticmethod
    def _description(arithmetic: str, images: str) -> str:
        return f"evaluation{'' if arithmetic == FLOAT else f' ({arithmetic})'}, {images} images"

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
        kind = None if condition is None else condition.kind
        return Evaluation(self.factors, facts, self.checksums, condition=kind, key=self.key)

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
    result is written to a file of its own. Processes that evaluate the same weights on the same images share the work,
    and nothing is computed if the results are there.
    """
    evaluation = RunEvaluation(run, recipe, model, data, others, accelerator.device)
    if accelerator.is_main_process:
        evaluation.warn()
    evaluation.do("evaluation" if accelerator.is_main_process and evaluation.count > 1 else None)
    return evaluation.found


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
