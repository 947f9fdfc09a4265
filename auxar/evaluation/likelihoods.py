"""Evaluating the likelihood of a model factor by factor: bits/dim as in the paper's tables 1 and 2.

A run stores its mean figures in `evaluation.json`, and the log-likelihoods of single images in
`evaluation.safetensors`, so that two runs can be compared image by image.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Literal

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor

from auxar.data import DataSets, ImageSet, evaluation_examples
from auxar.distributed.group import Team
from auxar.errors import shown
from auxar.evaluation.pixels import PixelDigest
from auxar.evaluation.records import (
    ChannelFigures,
    ConditionFigures,
    Cost,
    DataFacts,
    Difference,
    Evaluation,
    Exactness,
    FactorFigures,
    Figures,
    SupportName,
    WeightsKind,
    WithoutCondition,
)
from auxar.files import DamagedFile, is_file, write_json, write_tensors
from auxar.interfaces import FLOAT, Factor, ImageSpec, Prior
from auxar.progress import progress_bar
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


@attrs.frozen(eq=False)
class FactorNats:
    """The log-likelihood of each image under one factor: nats, float64."""

    total: Tensor
    """Log-likelihood of the whole image: (images,)."""
    channels: Tensor | None
    """Log-likelihood of each channel given the channels before it: (c, images). None if the factor cannot split its
    likelihood by channel."""
    inside: Tensor | None
    """For a free decoder, the log-probability that the sub-pixels of each channel take values that the view allows:
    (c, images), the sum over pixels, where each sub-pixel is given those before it. Restricting the decoder adds the
    negative of this to its log-likelihood. None for other factors, and if the view or the head cannot compute it."""


def image_nats_path(run: RunFolder, arithmetic: str = FLOAT) -> Path:
    """The path of the file with the log-likelihoods of single images in an arithmetic, `evaluation.safetensors`.

    The file holds two tensors for each evaluated set (`heldout`, `training`): `SET.nats`, float64 (factors, images),
    and `SET.indices`, the numbers of the images in the set, int64 (images,). Its metadata holds the names of the
    factors, as a JSON list under `factors`, and the fingerprint of each set, under the set's name.
    """
    return run.evaluation_in(arithmetic).with_suffix(".safetensors")


@torch.no_grad()
def factor_nats(
    model: Prior,
    chosen: Sequence[Factor],
    images: ImageSet,
    team: Team,
    *,
    batch_size: int,
    limit: int | None = None,
    description: str | None = "evaluation",
    digest: PixelDigest | None = None,
    without_condition: bool = False,
) -> list[FactorNats]:
    """The log-likelihood of each image under each chosen factor.

    For free decoders, the result includes the log-probability of values that the view allows (`FactorNats.inside`).
    Every image is evaluated exactly once, for any batch size and number of processes. Each process returns the values
    of all images. The images of this process are added to `digest`, if it is given. A progress bar is shown with the
    `description`, unless it is None. With `without_condition`, images have the null condition instead of their own.
    """
    found: list[tuple[Tensor, Tensor]] = []
    # A process without images does not know which factors have values by channel: the other processes tell it below.
    tells = torch.zeros((len(chosen), 2), dtype=torch.int64)
    shares = evaluation_examples(images, batch_size=batch_size, limit=limit, rank=team.rank, processes=team.processes)
    total = None  # The length of a stream is unknown.
    if isinstance(images, Sized):
        count = len(images) if limit is None else min(limit, len(images))
        total = len(range(team.rank, math.ceil(count / batch_size), team.processes))
    silent = description is None or team.rank != 0
    for indices, batch in progress_bar(shares, total=total, desc=description, unit="batch", disable=silent, delay=1):
        if digest is not None:
            digest.add(indices, batch.image)
        batch = batch.to(team.device)
        views = model.views(batch.image)
        condition = None if without_condition else batch.condition
        rows = []
        for place, factor in enumerate(chosen):
            of = factor.log_prob_by_channel(*factor.inputs(views, condition))
            by_channel = (of.channels, of.inside)
            tells[place] = torch.tensor([part is not None for part in by_channel])
            nothing = of.total.new_zeros(len(of.total), factor.image.channels)
            parts = (of.total[:, None], *(nothing if part is None else part for part in by_channel))
            rows.append(torch.cat([part.double().T for part in parts]))
        found.append((indices, torch.cat(rows).cpu()))
    count = int(team.sum(torch.tensor(sum(len(indices) for indices, _ in found))))
    sizes = [1 + 2 * factor.image.channels for factor in chosen]
    every = torch.zeros((sum(sizes), count), dtype=torch.float64)
    for indices, values in found:
        every[:, indices] = values
    # Each column is filled by one process and is zero in all others, so that their sum has all columns.
    every = team.sum(every).cpu()
    tells = team.sum(tells).cpu()
    return [
        FactorNats(rows[0], *(part if told else None for part, told in zip(rows[1:].chunk(2), of_factor, strict=True)))
        for rows, of_factor in zip(every.split(sizes), tells.tolist(), strict=True)
    ]


def evaluate_run(
    run: RunFolder,
    recipe: Recipe,
    model: Prior,
    data: DataSets,
    accelerator: Accelerator,
    *,
    others: Mapping[str, Prior] | None = None,
) -> dict[str, Evaluation]:
    """Evaluates the trained factors on held-out and training images, and returns the results by arithmetic.

    The result in floating point, `float`, is written to `evaluation.json`. `others` are the models in other arithmetics
    by name, with all factors. They are evaluated on the same images, and each result, with its cost against floating
    point, is written to a file of its own. The log-likelihoods of single images are written to the files at
    `image_nats_path`. All files are in the run's output folder.
    """
    chain = model.factors
    trained = [factor for factor in chain if is_file(run.weights(factor.name))]
    metadata = {factor.name: _checked(load_weights(run, factor), run.weights(factor.name)) for factor in trained}
    histories = {name: read_history(entry, run.weights(name)) for name, entry in metadata.items()}
    if accelerator.is_main_process:
        for name, entry in metadata.items():
            if entry.get("images", data.train.fingerprint) != data.train.fingerprint:
                logger.warning(
                    "factor %s was trained on other images than this training set, and perhaps on held-out images", name
                )
    names = [factor.name for factor in trained]
    digest = PixelDigest()
    found = {FLOAT: _nats_of(_named(model, names), model, data, recipe, accelerator, "", digest)}
    for arithmetic, other in (others or {}).items():
        found[arithmetic] = _nats_of(_named(other, names), other, data, recipe, accelerator, f" ({arithmetic})")
    null = {}
    if model.condition is not None and model.condition.optional:
        null = _nats_of(
            _named(model, names), model, data, recipe, accelerator, ", null condition", without_condition=True
        )
    of_conditions = _condition_figures(run, model, data, recipe, accelerator)
    facts = DataFacts(
        recipe.data.path,
        data.train.fingerprint,
        data.heldout.fingerprint,
        len(data.skipped),
        digest.joined(accelerator) if "heldout" in found[FLOAT] else None,
    )
    result: dict[str, Evaluation] = {}
    for arithmetic, nats in found.items():
        evaluation = _evaluation(chain, nats, metadata, histories, facts)
        if model.condition is not None:
            evaluation = attrs.evolve(evaluation, condition=model.condition.kind)
        if arithmetic == FLOAT:
            without = {name: _without_condition(null[name], nats[name], chain) for name in null}
            evaluation = attrs.evolve(evaluation, without_condition=without, condition_figures=of_conditions)
        else:
            cost = {name: _cost(nats[name], found[FLOAT][name], chain) for name in nats}
            digests = digests_of(run, arithmetic)
            evaluation = attrs.evolve(evaluation, arithmetic=arithmetic, cost=cost, digests=digests)
        if accelerator.is_main_process:
            # The table is written last, so that it exists only if the evaluation is complete.
            _write_image_nats(image_nats_path(run.output, arithmetic), names, nats, facts)
            write_json(run.output.evaluation_in(arithmetic), attrs.asdict(evaluation))
        result[arithmetic] = evaluation
    return result


def _named(model: Prior, names: Sequence[str]) -> list[Factor]:
    """The factors with these names."""
    return [factor for factor in model.factors if factor.name in names]


def _nats_of(
    chosen: Sequence[Factor],
    model: Prior,
    data: DataSets,
    recipe: Recipe,
    accelerator: Accelerator,
    description: str,
    digest: PixelDigest | None = None,
    *,
    without_condition: bool = False,
) -> dict[str, dict[str, FactorNats]]:
    """The log-likelihoods of held-out and of training images under these factors, by set and factor."""
    model.eval().to(accelerator.device)
    config = recipe.evaluation
    nats: dict[str, dict[str, FactorNats]] = {}
    for name, images, limit in (
        ("heldout", data.heldout, config.heldout_images),
        ("training", data.train, config.train_images),
    ):
        if limit != 0 and chosen:
            values = factor_nats(
                model,
                chosen,
                images,
                Team(accelerator),
                batch_size=config.batch_size,
                limit=limit,
                description=f"evaluation{description}, {name} images",
                digest=digest if name == "heldout" else None,
                without_condition=without_condition,
            )
            nats[name] = {factor.name: row for factor, row in zip(chosen, values, strict=True)}
    return nats


def _cost(nats: Mapping[str, FactorNats], floats: Mapping[str, FactorNats], chain: Sequence[Factor]) -> Cost:
    """The bits/dim of `nats` minus those of `floats`, the log-likelihoods of the same images."""
    apart = torch.stack([floats[name].total - nats[name].total for name in nats]).sum(0)
    apart = apart / (math.log(2) * chain[0].image.dims)
    return Cost(apart.mean().item(), _standard_error(apart))


def _condition_figures(
    run: RunFolder, model: Prior, data: DataSets, recipe: Recipe, accelerator: Accelerator
) -> dict[str, ConditionFigures]:
    """The bits of conditions under the factor `condition`, by set of images; empty if there is no such factor."""
    factor = model.condition_factor
    if factor is None or not is_file(run.weights(factor.name)):
        return {}
    _checked(load_weights(run, factor), run.weights(factor.name))
    found = {}
    for name, nats in _nats_of([factor], model, data, recipe, accelerator, ", conditions").items():
        bits = nats[factor.name].total / -math.log(2)
        found[name] = ConditionFigures(bits.mean().item(), _standard_error(bits))
    return found


def _without_condition(
    null: Mapping[str, FactorNats], given: Mapping[str, FactorNats], chain: Sequence[Factor]
) -> WithoutCondition:
    """The figures of the log-likelihoods `null`, given the null condition, of the same images as `given`."""
    bits = math.log(2) * chain[0].image.dims
    alone = torch.stack([-of.total for of in null.values()]).sum(0) / bits
    saved = alone - torch.stack([-given[name].total for name in null]).sum(0) / bits
    return WithoutCondition(alone.mean().item(), _standard_error(alone), saved.mean().item(), _standard_error(saved))


def _checked(metadata: Mapping[str, str], path: Path) -> Mapping[str, str]:
    """The metadata of a weights file. Raises `DamagedFile` if a value does not have the form in `FACTS`."""
    for key, form in FACTS.items():
        if key in metadata and not re.fullmatch(form, metadata[key]):
            raise DamagedFile(
                f"{path} is damaged: the metadata entry '{key}' is {shown(metadata[key])}; expected a match of the "
                f"regular expression {form}"
            )
    return metadata


def _write_image_nats(
    path: Path, names: Sequence[str], nats: Mapping[str, Mapping[str, FactorNats]], data: DataFacts
) -> None:
    tensors = {}
    for images, of in nats.items():
        tensors[f"{images}.nats"] = torch.stack([of[name].total for name in names])
        tensors[f"{images}.indices"] = torch.arange(tensors[f"{images}.nats"].shape[1])
    fingerprints = {"heldout": data.heldout_fingerprint or "", "training": data.fingerprint or ""}
    write_tensors(path, tensors, {"factors": json.dumps(list(names)), **fingerprints})


def _evaluation(
    chain: Sequence[Factor],
    nats: Mapping[str, Mapping[str, FactorNats]],
    metadata: Mapping[str, Mapping[str, str]],
    histories: Mapping[str, History | None],
    data: DataFacts,
) -> Evaluation:
    entries = []
    supports = [_support(factor) for factor in chain]
    for index, factor in enumerate(chain):
        facts = metadata.get(factor.name, {})
        heldout, training = (
            _figures([nats.get(name, {}).get(below.name) for below in chain[index:]], factor.image, chain[0].image)
            for name in ("heldout", "training")
        )
        difference = None
        if heldout and training:
            pair = (heldout.bits_per_dim, training.bits_per_dim), (heldout.standard_error, training.standard_error)
            difference = _difference(*pair)
        entries.append(
            FactorFigures(
                factor.name,
                factor.image,
                factor.view_spec,
                heldout,
                training,
                difference,
                parameters=sum(parameter.numel() for parameter in factor.parameters()),
                steps=int(facts.get("step", 0)),
                weights=facts.get("weights"),
                trained_on=facts.get("images"),
                kept=_kept(facts),
                trained_steps=int(facts["trained_steps"]) if "trained_steps" in facts else None,
                # A factor without trainable parameters has no steps.
                stopped_early=0 < int(facts.get("trained_steps", 0)) < int(facts.get("complete_at", 0)),
                history=histories.get(factor.name),
                support=supports[index],
                kind=_kind([factor]),
                cumulative_kind=_kind(chain[index:]),
            )
        )
    top = {"heldout": entries[0].heldout, "training": entries[0].training}
    bits = {name: figures.cumulative_bits_per_dim if figures else None for name, figures in top.items()}
    errors = {name: figures.cumulative_standard_error if figures else None for name, figures in top.items()}
    free = [factor.name for factor, support in zip(chain, supports, strict=True) if support == "free"]
    wasted = {name: _wasted([of.get(factor) for factor in free], chain[0].image) for name, of in nats.items()}
    kinds = {entry.get(WEIGHTS) for entry in metadata.values()}
    return Evaluation(
        bits,
        errors,
        _kind(chain),
        entries,
        {name: max((len(row.total) for row in rows.values()), default=0) for name, rows in nats.items()},
        _kind_of_weights(kinds),
        data,
        _difference((bits["heldout"], bits["training"]), (errors["heldout"], errors["training"])),
        {name: wasted[name][0] if name in wasted else None for name in top},
        {name: wasted[name][1] if name in wasted else None for name in top},
    )


def _kept(facts: Mapping[str, str]) -> Literal["best", "last"] | None:
    """Whether the best or the last weights of a factor were kept; None if it is unknown or there are no weights."""
    if not facts or facts.get(WEIGHTS) == OWN:
        return None
    return "best" if facts.get("kept") == "best" else "last"


def _kind_of_weights(kinds: set[str | None]) -> WeightsKind:
    if kinds == {"ema"}:
        return "ema"
    if kinds == {"last"}:
        return "last"
    return "own" if kinds == {OWN} else "mixed"


def _support(factor: Factor) -> SupportName | None:
    if factor.view_spec is None:
        return None
    return "restricted" if factor.restricted else "free"


def _kind(factors: Sequence[Factor]) -> Exactness:
    """The exactness of the sum of these factors: `exact` if all of them are exact, else `bound`."""
    return "exact" if all(factor.exact for factor in factors) else "bound"


def _wasted(free: Sequence[FactorNats | None], image: ImageSpec) -> tuple[float | None, float | None]:
    """The bits that all free decoders waste together, divided by the sub-pixels of `image`, and their standard error.

    Both are None if the amount is unknown for one of the decoders.
    """
    if not free:
        return 0.0, 0.0
    inside = [row.inside.sum(0) for row in free if row is not None and row.inside is not None]
    if len(inside) < len(free):
        return None, None
    return _lost(torch.stack(inside).sum(0), math.log(2) * image.dims)


def _figures(coarser: Sequence[FactorNats | None], own: ImageSpec, image: ImageSpec) -> Figures | None:
    """The mean figures of the first factor in `coarser`, with cumulative figures of all factors in `coarser` together.

    None if the first factor was not evaluated.
    """
    nats = coarser[0]
    if nats is None:
        return None
    own_bits = math.log(2) * own.dims
    image_bits = math.log(2) * image.dims
    error = _standard_error(nats.total)
    together = [row.total for row in coarser if row is not None]
    cumulative = torch.stack(together).sum(0) / -own_bits if len(together) == len(coarser) else None
    channels = None
    if nats.channels is not None:
        inside = [None] * len(nats.channels) if nats.inside is None else nats.inside
        channels = [_channel_figures(*rows, own, image) for rows in zip(nats.channels, inside, strict=True)]
    total_inside = None if nats.inside is None else nats.inside.sum(0)
    return Figures(
        nats.total.mean().item(),
        nats.total.mean().item() / -own_bits,
        _over(error, own_bits),
        nats.total.mean().item() / -image_bits,
        None if cumulative is None else cumulative.mean().item(),
        None if cumulative is None else _standard_error(cumulative),
        error,
        _over(error, image_bits),
        channels,
        *_lost(total_inside, own_bits),
        *_lost(total_inside, image_bits),
    )


def _channel_figures(nats: Tensor, inside: Tensor | None, own: ImageSpec, image: ImageSpec) -> ChannelFigures:
    mean = nats.mean().item()
    bits = math.log(2) * own.height * own.width
    image_bits = math.log(2) * image.dims
    error = _over(_standard_error(nats), bits)
    wasted_of_image, _ = _lost(inside, image_bits)
    return ChannelFigures(mean, mean / -bits, error, mean / -image_bits, *_lost(inside, bits), wasted_of_image)


def _lost(inside: Tensor | None, bits: float) -> tuple[float | None, float | None]:
    """The mean of -`inside`, (images,), and its standard error, both divided by `bits`; None if `inside` is None."""
    if inside is None:
        return None, None
    # Subtracting from 0 instead of negating avoids -0.0, which would appear in the file.
    return (0.0 - inside.mean()).item() / bits, _over(_standard_error(inside), bits)


def _difference(bits: tuple[float | None, float | None], errors: tuple[float | None, float | None]) -> Difference:
    """The difference of two means over different images. The means are independent."""
    first, second = bits
    if first is None or second is None:
        return Difference(None, None)
    error = None if errors[0] is None or errors[1] is None else math.hypot(errors[0], errors[1])
    return Difference(first - second, error)


def _over(value: float | None, divisor: float) -> float | None:
    return None if value is None else value / divisor


def _standard_error(values: Tensor) -> float | None:
    """The standard error of the mean over images; None for a single image."""
    return (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else None
