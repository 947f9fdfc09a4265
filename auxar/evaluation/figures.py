"""Figures of an evaluation, derived from the log-likelihoods of single images: means and their standard errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from auxar.evaluation.image_nats import FactorNats
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
from auxar.model import Factor, ImageSpec
from auxar.runs.history import History
from auxar.runs.weights import OWN, WEIGHTS


def evaluation_of(
    chain: Sequence[Factor],
    nats: Mapping[str, Mapping[str, FactorNats]],
    metadata: Mapping[str, Mapping[str, str]],
    histories: Mapping[str, History],
    data: DataFacts,
) -> Evaluation:
    """The record of an evaluation in floating point, of a model without a condition.

    `nats` are the log-likelihoods by set and factor. `metadata` and `histories` have the metadata of the weights, and
    the history of the training, of each trained factor.
    """
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


def cost_of(nats: Mapping[str, FactorNats], floats: Mapping[str, FactorNats], chain: Sequence[Factor]) -> Cost:
    """The bits/dim of `nats` minus those of `floats`, the log-likelihoods of the same images."""
    apart = torch.stack([floats[name].total - nats[name].total for name in nats]).sum(0)
    apart = apart / (math.log(2) * chain[0].image.dims)
    return Cost(apart.mean().item(), standard_error(apart))


def figures_without_condition(
    null: Mapping[str, FactorNats], given: Mapping[str, FactorNats], chain: Sequence[Factor]
) -> WithoutCondition:
    """The figures of the log-likelihoods `null`, given the null condition, of the same images as `given`."""
    bits = math.log(2) * chain[0].image.dims
    alone = torch.stack([-of.total for of in null.values()]).sum(0) / bits
    saved = alone - torch.stack([-given[name].total for name in null]).sum(0) / bits
    return WithoutCondition(alone.mean().item(), standard_error(alone), saved.mean().item(), standard_error(saved))


def figures_of_conditions(nats: FactorNats) -> ConditionFigures:
    """The figures of the log-likelihoods of images' conditions."""
    bits = nats.total / -math.log(2)
    return ConditionFigures(bits.mean().item(), standard_error(bits))


def _kept(facts: Mapping[str, str]) -> Literal["best", "last"] | None:
    """Whether the best or the last weights of a factor were kept; None for weights of a user's loop or no weights."""
    kept = facts.get("kept")
    return "best" if kept == "best" else "last" if kept == "last" else None


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
    error = standard_error(nats.total)
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
        None if cumulative is None else standard_error(cumulative),
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
    error = _over(standard_error(nats), bits)
    wasted_of_image, _ = _lost(inside, image_bits)
    return ChannelFigures(mean, mean / -bits, error, mean / -image_bits, *_lost(inside, bits), wasted_of_image)


def _lost(inside: Tensor | None, bits: float) -> tuple[float | None, float | None]:
    """The mean of -`inside`, (images,), and its standard error, both divided by `bits`; None if `inside` is None."""
    if inside is None:
        return None, None
    # Subtracting from 0 instead of negating avoids -0.0, which would appear in the file.
    return (0.0 - inside.mean()).item() / bits, _over(standard_error(inside), bits)


def _difference(bits: tuple[float | None, float | None], errors: tuple[float | None, float | None]) -> Difference:
    """The difference of two means over different images. The means are independent."""
    first, second = bits
    if first is None or second is None:
        return Difference(None, None)
    error = None if errors[0] is None or errors[1] is None else math.hypot(errors[0], errors[1])
    return Difference(first - second, error)


def _over(value: float | None, divisor: float) -> float | None:
    return None if value is None else value / divisor


def standard_error(values: Tensor) -> float | None:
    """The standard error of the mean over images; None for a single image."""
    return (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else None
