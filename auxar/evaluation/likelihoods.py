"""Evaluating the likelihood of a model factor by factor: bits/dim as in the paper's tables 1 and 2.

A run stores the log-likelihoods of single images in `evaluation.safetensors`. All figures follow from them.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sized

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor

from auxar.data.batches import evaluation_examples
from auxar.data.sets import DataSets, ImageSet
from auxar.errors import logger
from auxar.evaluation.codecs import codec_nats
from auxar.evaluation.evaluation import CODECS, NATS, NULL, PIXELS, RULE, SAMPLES, Evaluation
from auxar.evaluation.facts import DataFacts, FactorFacts, settings_of
from auxar.evaluation.image_nats import HASHES, INDICES, Pass, digest_of, joined, share_of, share_of_samples
from auxar.evaluation.stored import stored_evaluation, write_evaluation
from auxar.files import is_file, read_checksum
from auxar.model import FLOAT, Chain, Factor, Rule, Values, evaluating
from auxar.model.checks import check_causal
from auxar.numerics.threads import ThreadChoice
from auxar.progress import progress_bar
from auxar.recipe import Recipe
from auxar.recipe.building import model_under
from auxar.recipe.cost import multiply_adds
from auxar.runs.converted import ConvertedFactors
from auxar.runs.history import read_history
from auxar.runs.layout import RunFolder
from auxar.runs.weights import load_weights
from auxar.work.chunks import Tensors, Work, part_of

CHUNK, MOST_CHUNKS = 64, 256
"""Number of images of a chunk, as far as there are no more chunks than `MOST_CHUNKS`."""


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
        others: Mapping[str, Chain],
        device: torch.device,
    ) -> None:
        """Loads the weights of the trained factors into a model. `others` are the models in other arithmetics by name.

        Raises `UserError` if weights cannot be read.
        """
        self.run, self.recipe, self.model, self.data = run, recipe, model, data
        self.device, self.threads = device, ThreadChoice(device)
        found = {factor.name: _facts(run, factor) for factor in model.all_factors}
        self.factors = [found[factor.name] for factor in model.factors]
        """The factors of the model."""
        self.checksums = {name: read_checksum(run.weights(name)) for name in found if is_file(run.weights(name))}
        """The checksums of the weights of the trained factors, which include the factor of conditions."""
        chains = {"": model, **{f" ({name})": chain for name, chain in others.items()}}
        passes = [
            Pass(chain, [factor for factor in chain.factors if factor.name in self.checksums], label)
            for label, chain in chains.items()
        ]
        own = passes[0].chosen
        for each in own:
            check_causal(each)
        # A training loop of the user's own may leave the null condition untrained.
        if all(factor.conditioning is not None and factor.conditioning.knows_null for factor in own):
            passes.append(Pass(model, own, " (null condition)", NULL))
        if (under := model_under(model, recipe)) is not None:
            chosen = [factor for factor in under.factors if factor.name in self.checksums]
            passes.append(Pass(under, chosen, " (by the rule)", RULE))
        if (factor := model.condition_factor) is not None and factor.name in self.checksums:
            passes.append(Pass(model, [factor], " (the conditions)"))
        self.passes = [each for each in passes if each.chosen]
        """The passes over the images. The first is in floating point."""
        self.found: dict[str, Evaluation] = {}
        """The evaluations by arithmetic, when they are written."""
        facts = {
            "weights": self.checksums,
            "factors": [attrs.asdict(factor) for factor in self.factors],
            "integers": {name: chain.digests for name, chain in others.items()},
            "images": [data.train.fingerprint, data.heldout.fingerprint],
            "settings": settings_of(recipe),
        }
        # There is one chunk for about `CHUNK` images of the largest set, and a single one for a stream.
        lengths = [_length(images, limit) for images, limit in self.sets.values()]
        known = [length for length in lengths if length is not None]
        chunks = min(MOST_CHUNKS, math.ceil(max(known) / CHUNK)) if lengths and len(known) == len(lengths) else 1
        super().__init__(run.output.evaluation, facts, chunks)

    @functools.cached_property
    def sets(self) -> dict[str, tuple[ImageSet, int | None]]:
        """The sets of images that are evaluated, and the maximum number of images of each, by name.

        `SAMPLES` are the held-out images for which samples are drawn, if all factors are trained.
        """
        config = self.recipe.evaluation
        samples = config.samples if self._is_trained else 0
        found = {
            "heldout": (self.data.heldout, config.heldout_images),
            "training": (self.data.train, config.train_images),
            SAMPLES: (self.data.heldout, min(samples, config.heldout_images or samples)),
        }
        return {
            name: (images.spaced(limit) if limit else images, limit)
            for name, (images, limit) in found.items()
            if limit != 0
        }

    @property
    def _is_trained(self) -> bool:
        """Whether all factors are trained."""
        return all(factor.factor in self.checksums for factor in self.factors)

    def compute(self, number: int) -> Tensors:
        """Computes the log-likelihoods of the images of a chunk.

        Chunk i of n has the batches i, i + n, … of each set.
        """
        found: Tensors = {}
        with evaluating(self.model):
            if SAMPLES in self.sets:
                batches, seed = self._batches(number, SAMPLES, ""), self.recipe.sampling.seed
                share = share_of_samples(self.model, batches, self.device, seed)
                found |= {f"{FLOAT}/{SAMPLES}/{part}": values for part, values in share.items()}
            for each in self.passes:
                each.model.eval().to(self.device)
                for name in (name for name in self.sets if name != SAMPLES):
                    share = share_of(each, self._batches(number, name, each.label), self.device, self.threads)
                    # All passes over a set give the same numbers and hashes of its images.
                    found |= {f"{each.model.arithmetic}/{name}/{part}": values for part, values in share.items()}
        return found

    def _batches(self, number: int, name: str, label: str) -> Iterable[tuple[Tensor, Values]]:
        """The batches of a set in a chunk. A single chunk shows its progress."""
        (images, limit), size = self.sets[name], self.recipe.evaluation.batch_size
        batches = evaluation_examples(images, batch_size=size, limit=limit, rank=number, processes=self.count)
        if self.count > 1:
            return batches
        length = _length(images, limit)
        total = None if length is None or images.crops is not None else math.ceil(length / size)
        what = "bits of samples" if name == SAMPLES else f"evaluation{label}, {name} images"
        return progress_bar(batches, total=total, desc=what, unit="batch", delay=1)

    def conclude(self, found: list[Tensors]) -> None:
        """Writes the evaluation in each arithmetic, from the log-likelihoods of all images."""
        costs = map(multiply_adds, self.model.factors)
        self.factors = [attrs.evolve(each, multiply_adds=cost) for each, cost in zip(self.factors, costs, strict=True)]
        self.found = {name: self._joined(name, found) for name in self.arithmetics}
        # The evaluation in floating point is written last, because it says that the work is done.
        for evaluation in reversed(self.found.values()):
            write_evaluation(self.run.output, evaluation)

    def _joined(self, arithmetic: str, found: list[Tensors]) -> Evaluation:
        """The evaluation in an arithmetic, from the results of all chunks."""
        tensors: Tensors = {}
        digest = None
        for name in (name for name in self.sets if arithmetic == FLOAT or name != SAMPLES):
            share = joined([part_of(own, f"{arithmetic}/{name}/") for own in found])
            hashes = share.pop(HASHES, None)
            digest = digest_of(hashes) if hashes is not None and name == "heldout" else digest
            tensors |= {
                f"{name}.{part}": nats.T.contiguous() for part, nats in share.items() if self._tells(part, nats)
            }
        digests = {} if arithmetic == FLOAT else ConvertedFactors(self.run, arithmetic).digests
        # The content of a stream is read only once.
        if arithmetic == FLOAT and self._is_trained and isinstance(self.data.heldout, Sized):
            sizes = codec_nats(*self.sets["heldout"])
            tensors |= {f"{CODECS}.{name}.{NATS}": nats for name, nats in sizes.items()}
        return attrs.evolve(self._evaluation(digest), arithmetic=arithmetic, digests=digests, tensors=tensors)

    def _tells(self, part: str, values: Tensor) -> bool:
        """Whether values belong to an evaluation: numbers of pixels do if images have other sizes than the model's."""
        usual = {f"{each.factor}.{PIXELS}": each.image.height * each.image.width for each in self.factors}
        return part != INDICES and not (part in usual and bool((values == usual[part]).all()))

    @property
    def arithmetics(self) -> list[str]:
        """The names of the arithmetics that are evaluated, `float` first."""
        return list(dict.fromkeys([FLOAT, *(each.model.arithmetic for each in self.passes)]))

    def is_concluded(self) -> bool:
        """Whether the evaluations in all arithmetics are there. Those of streams, whose content may change, never are.

        They also have the facts of this evaluation, because the files may be changed.
        """
        if self.found or not all(isinstance(images, Sized) for images, _ in self.sets.values()):
            return bool(self.found)
        found, expected = {}, self._evaluation(None)
        for name in self.arithmetics:
            evaluation = stored_evaluation(self.run.output.evaluation_in(name))
            if evaluation is None or evaluation.key != self.key or not evaluation.has_facts_of(expected):
                return False
            found[name] = evaluation
        self.found = found
        return True

    def _evaluation(self, digest: str | None) -> Evaluation:
        """The facts of the evaluation, with the digest of the held-out images."""
        data, condition = self.data, self.model.condition
        prints = data.train.fingerprint, data.heldout.fingerprint
        facts = DataFacts(self.recipe.data.path, *prints, len(data.skipped), digest, settings_of(self.recipe))
        kind = None if condition is None else condition.kind
        choice = self.recipe.evaluation.rule
        rule = None if choice is None else choice.build_as(Rule).meaning  # type: ignore[type-abstract]
        return Evaluation(self.factors, facts, self.checksums, condition=kind, rule=rule, key=self.key)


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
    evaluation = RunEvaluation(run, recipe, model, data, others or {}, accelerator.device)
    evaluation.do("evaluation" if accelerator.is_main_process and evaluation.count > 1 else None)
    for name in evaluation.found[FLOAT].trained_elsewhere if accelerator.is_main_process else ():
        logger.warning(
            "factor %s was trained on other images than this training set, and perhaps on held-out images", name
        )
    return evaluation.found


def _facts(run: RunFolder, factor: Factor) -> FactorFacts:
    """Loads the weights of a factor, if it is trained, and returns their facts."""
    path = run.weights(factor.name)
    if not is_file(path):
        return FactorFacts.of(factor, {}, None, path)
    metadata = load_weights(run, factor)
    return FactorFacts.of(factor, metadata, read_history(metadata, path), path)


def _length(images: ImageSet, limit: int | None) -> int | None:
    """The number of images of a set that are evaluated; None for a stream, whose length is unknown."""
    return min(len(images), limit or len(images)) if isinstance(images, Sized) else None
