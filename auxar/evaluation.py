"""Likelihoods of a model, factor by factor: bits/dim as in the paper's tables 1 and 2.

A run keeps its figures in `evaluation.json`, and what they are means of, the log-likelihood of every single image, in
`evaluation.safetensors`: with it, two runs can be compared on the same images.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from auxar.causal import ByChannel, CausalDecoder, CausalPrior
from auxar.data import DataSets, ImageSet, evaluation_batches
from auxar.files import DamagedFile, write_json, write_tensors
from auxar.interfaces import ImageSpec, Prior
from auxar.model import DecoderFactor, Factor, PriorFactor, factors, image_levels
from auxar.recipe import Recipe
from auxar.recipe.schema import MOST_STAGES
from auxar.recipe.telling import shown
from auxar.runs import RunFolder, load_weights

logger = logging.getLogger("auxar")
FACTS = {"step": "[0-9]{1,18}", "weights": "ema|last", "images": r"[\w./-]{1,200}"}
"""Forms of what a trained factor's file says of itself: steps, the kind of weights, the fingerprint of its images."""


@attrs.frozen(eq=False)
class FactorNats:
    """The log-likelihood of each image under one factor: nats, float64."""

    total: Tensor
    """(images,)."""
    channels: Tensor | None
    """Of each channel given those before it: (c, images). None where the factor's head does not tell them apart."""


@attrs.frozen
class ChannelFigures:
    """One channel of a factor's image, given the channels before it; means over images."""

    nats: float
    bits_per_dim: float
    """Of the channel's own values: the mean over channels is the factor's."""
    standard_error: float | None
    bits_per_dim_of_image: float
    """Over the sub-pixels of the whole image: the sum over channels is the factor's."""


@attrs.frozen
class Figures:
    """A factor's likelihood: means over images, each with its standard error, which is None for a single image."""

    nats: float
    bits_per_dim: float
    """Of the factor's own size."""
    standard_error: float | None
    bits_per_dim_of_image: float
    """Over the sub-pixels of the whole image: the sum over factors is the model's."""
    cumulative_bits_per_dim: float | None = None
    """Of this factor and all coarser ones, over this factor's sub-pixels; None if one of them is not trained."""
    cumulative_standard_error: float | None = None
    nats_standard_error: float | None = None
    standard_error_of_image: float | None = None
    channels: list[ChannelFigures] | None = None


@attrs.frozen
class Difference:
    """Held-out less training images, in bits/dim: a model that overfits has more of it than its standard errors."""

    bits_per_dim: float | None
    standard_error: float | None


@attrs.frozen
class FactorFigures:
    """p(image | view), or p(image) of the coarsest, which has no view. Without figures it is not trained yet."""

    factor: str
    image: ImageSpec
    view: ImageSpec | None = None
    heldout: Figures | None = None
    training: Figures | None = None
    difference: Difference | None = None
    """Of `bits_per_dim`."""
    parameters: int = 0
    steps: int = 0
    weights: str | None = None
    """`ema` or `last`."""
    trained_on: str | None = None
    """Fingerprint of the images it was trained on."""


@attrs.frozen
class DataFacts:
    """Where the images came from. Equal fingerprints are equal images in equal order."""

    path: str
    fingerprint: str | None = None
    """Of the training images."""
    heldout_fingerprint: str | None = None
    skipped: int = 0


@attrs.frozen
class Evaluation:
    """`evaluation.json`. Mappings go by the set of images, `heldout` and `training`."""

    bits_per_dim: dict[str, float | None]
    standard_error: dict[str, float | None]
    kind: Literal["bound", "exact"]
    """Whether bits/dim bound the image's from above or are the very ones: log p(X, X̂) ≤ log p(X)."""
    factors: list[FactorFigures] = attrs.field(
        validator=[attrs.validators.min_len(1), attrs.validators.max_len(MOST_STAGES + 1)]
    )
    """From the image down to its coarsest view."""
    images: dict[str, int]
    weights: Literal["ema", "last", "mixed"]
    data: DataFacts
    difference: Difference | None = None


def image_nats_path(run: RunFolder) -> Path:
    """The file with the log-likelihoods of single images.

    For each set, `heldout` and `training`, that was evaluated: `SET.nats`, float64 (factors, images), and
    `SET.indices`, the images' numbers in that set, int64 (images,). The metadata hold the names of the factors as JSON
    and the sets' fingerprints.
    """
    return run.evaluation.with_suffix(".safetensors")


@torch.no_grad()
def factor_nats(
    model: Prior,
    chosen: Sequence[Factor],
    images: ImageSet,
    accelerator: Accelerator,
    *,
    batch_size: int,
    limit: int | None = None,
    description: str = "evaluation",
) -> list[FactorNats]:
    """log-likelihood of each image under each chosen factor.

    Every image counts exactly once, whatever the batch size and the number of processes.
    """
    names = [factor.name for factor in factors(model)]
    found: list[tuple[Tensor, Tensor]] = []
    # A process without images does not know which factors tell channels apart: the others have to say.
    tells = torch.zeros(len(chosen), dtype=torch.int64)
    shares = evaluation_batches(
        images, batch_size=batch_size, limit=limit, rank=accelerator.process_index, processes=accelerator.num_processes
    )
    for indices, batch in tqdm(shares, desc=description, unit="batch", disable=not accelerator.is_main_process):
        levels = [*image_levels(model, batch.to(accelerator.device)), None]
        rows = []
        for place, factor in enumerate(chosen):
            k = names.index(factor.name)
            level = levels[k]
            assert level is not None
            found_here = _by_channel(factor, level, levels[k + 1])
            nats, channels = found_here.total, found_here.channels
            tells[place] = channels is not None
            if channels is None:
                channels = nats.new_zeros(len(nats), factor.image.channels)
            rows.append(torch.cat([nats.double()[None], channels.double().T]))
        found.append((indices, torch.cat(rows).cpu()))
    count = int(_total(accelerator, sum(len(indices) for indices, _ in found)))
    sizes = [1 + factor.image.channels for factor in chosen]
    every = torch.zeros((sum(sizes), count), dtype=torch.float64)
    for indices, values in found:
        every[:, indices] = values
    # Each column is filled in by one process and zero in all others.
    every = accelerator.reduce(every.to(accelerator.device), reduction="sum").cpu()
    tells = accelerator.reduce(tells.to(accelerator.device), reduction="sum").cpu()
    return [
        FactorNats(rows[0], rows[1:] if told else None)
        for rows, told in zip(every.split(sizes), tells.tolist(), strict=True)
    ]


def _by_channel(factor: Factor, image: Tensor, view: Tensor | None) -> ByChannel:
    """The factor's nats and those of its channels, if there are any, in one pass of its network."""
    if isinstance(factor, PriorFactor) and isinstance(factor.prior, CausalPrior):
        return factor.prior.log_prob_by_channel(image)
    if isinstance(factor, DecoderFactor) and isinstance(factor.decoder, CausalDecoder):
        assert view is not None
        intervals = None if factor.support is None else factor.support.intervals(image, view)
        features = factor.embedding(view)
        if factor.restricted:
            return factor.decoder.log_prob_by_channel(image, features, intervals)
        inside = intervals if factor.decoder.restricts else None
        return factor.decoder.log_prob_by_channel(image, features, inside=inside)
    return ByChannel(factor(image, view), None)


def _total(accelerator: Accelerator, value: float) -> float:
    return accelerator.reduce(torch.tensor(value, device=accelerator.device), reduction="sum").item()


def evaluate_run(
    run: RunFolder, recipe: Recipe, model: Prior, data: DataSets, accelerator: Accelerator
) -> dict[str, Any]:
    """Evaluates each trained factor on held-out and training images; returns the table that `evaluation.json` holds.

    The log-likelihoods of single images are written beside it, see `image_nats_path`.
    """
    chain = factors(model)
    trained = [factor for factor in chain if run.weights(factor.name).is_file()]
    metadata = {factor.name: _checked(load_weights(run, factor), run.weights(factor.name)) for factor in trained}
    if accelerator.is_main_process:
        for name, entry in metadata.items():
            if entry.get("images", data.train.fingerprint) != data.train.fingerprint:
                logger.warning("factor %s was trained on other images than these: some may not be held out", name)
    model.eval().to(accelerator.device)
    config = recipe.evaluation
    nats: dict[str, dict[str, FactorNats]] = {}
    for name, images, limit in (
        ("heldout", data.heldout, config.heldout_images),
        ("training", data.train, config.train_images),
    ):
        if limit != 0 and trained:
            values = factor_nats(
                model,
                trained,
                images,
                accelerator,
                batch_size=config.batch_size,
                limit=limit,
                description=f"evaluation, {name} images",
            )
            nats[name] = {factor.name: row for factor, row in zip(trained, values, strict=True)}
    facts = DataFacts(recipe.data.path, data.train.fingerprint, data.heldout.fingerprint, len(data.skipped))
    table = attrs.asdict(_evaluation(chain, nats, metadata, facts))
    if accelerator.is_main_process:
        # The table comes last: where it is, all of the evaluation is.
        _write_image_nats(run, [factor.name for factor in trained], nats, facts)
        write_json(run.evaluation, table)
    return table


def _checked(metadata: Mapping[str, str], path: Path) -> Mapping[str, str]:
    """What a trained factor's file says of itself, which the evaluation repeats. Raises `DamagedFile` for nonsense."""
    for key, form in FACTS.items():
        if key in metadata and not re.fullmatch(form, metadata[key]):
            raise DamagedFile(f"{path} is damaged: its {key} is {shown(metadata[key])}")
    return metadata


def _write_image_nats(
    run: RunFolder, names: Sequence[str], nats: Mapping[str, Mapping[str, FactorNats]], data: DataFacts
) -> None:
    tensors = {}
    for images, of in nats.items():
        tensors[f"{images}.nats"] = torch.stack([of[name].total for name in names])
        tensors[f"{images}.indices"] = torch.arange(tensors[f"{images}.nats"].shape[1])
    fingerprints = {"heldout": data.heldout_fingerprint or "", "training": data.fingerprint or ""}
    write_tensors(image_nats_path(run), tensors, {"factors": json.dumps(list(names)), **fingerprints})


def _evaluation(
    chain: Sequence[Factor],
    nats: Mapping[str, Mapping[str, FactorNats]],
    metadata: Mapping[str, Mapping[str, str]],
    data: DataFacts,
) -> Evaluation:
    entries = []
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
                factor.view,
                heldout,
                training,
                difference,
                parameters=sum(parameter.numel() for parameter in factor.parameters()),
                steps=int(facts.get("step", 0)),
                weights=facts.get("weights"),
                trained_on=facts.get("images"),
            )
        )
    top = {"heldout": entries[0].heldout, "training": entries[0].training}
    bits = {name: figures.cumulative_bits_per_dim if figures else None for name, figures in top.items()}
    errors = {name: figures.cumulative_standard_error if figures else None for name, figures in top.items()}
    kinds = {entry.get("weights") for entry in metadata.values()}
    return Evaluation(
        bits,
        errors,
        "bound" if len(chain) > 1 else "exact",
        entries,
        {name: max((len(row.total) for row in rows.values()), default=0) for name, rows in nats.items()},
        "ema" if kinds == {"ema"} else "last" if kinds == {"last"} else "mixed",
        data,
        _difference((bits["heldout"], bits["training"]), (errors["heldout"], errors["training"])),
    )


def _figures(coarser: Sequence[FactorNats | None], own: ImageSpec, image: ImageSpec) -> Figures | None:
    """Mean figures of a factor, first in `coarser`, and of it and all below together."""
    nats = coarser[0]
    if nats is None:
        return None
    own_bits = math.log(2) * own.dims
    image_bits = math.log(2) * image.dims
    error = _standard_error(nats.total)
    together = [row.total for row in coarser if row is not None]
    cumulative = torch.stack(together).sum(0) / -own_bits if len(together) == len(coarser) else None
    return Figures(
        nats.total.mean().item(),
        nats.total.mean().item() / -own_bits,
        _over(error, own_bits),
        nats.total.mean().item() / -image_bits,
        None if cumulative is None else cumulative.mean().item(),
        None if cumulative is None else _standard_error(cumulative),
        error,
        _over(error, image_bits),
        None if nats.channels is None else [_channel_figures(row, own, image) for row in nats.channels],
    )


def _channel_figures(nats: Tensor, own: ImageSpec, image: ImageSpec) -> ChannelFigures:
    mean = nats.mean().item()
    bits = math.log(2) * own.height * own.width
    return ChannelFigures(mean, mean / -bits, _over(_standard_error(nats), bits), mean / (-math.log(2) * image.dims))


def _difference(bits: tuple[float | None, float | None], errors: tuple[float | None, float | None]) -> Difference:
    """Of two means over different images, which are independent."""
    first, second = bits
    if first is None or second is None:
        return Difference(None, None)
    error = None if errors[0] is None or errors[1] is None else math.hypot(errors[0], errors[1])
    return Difference(first - second, error)


def _over(value: float | None, divisor: float) -> float | None:
    return None if value is None else value / divisor


def _standard_error(values: Tensor) -> float | None:
    """Of the mean over images; None for a single one, of which nothing can be said."""
    return (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else None
