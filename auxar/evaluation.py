"""Likelihoods of a model, factor by factor: bits/dim as in the paper's tables 1 and 2."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from auxar.data import DataSets, ImageSet, evaluation_batches
from auxar.files import write_json
from auxar.interfaces import ImageSpec, Prior
from auxar.model import Factor, factors, image_levels
from auxar.recipe import Recipe
from auxar.runs import RunFolder, load_weights

logger = logging.getLogger("auxar")


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
) -> Tensor:
    """log-likelihood of each image under each chosen factor: nats, float64, shape (factors, images).

    Every image counts exactly once, whatever the batch size and the number of processes.
    """
    names = [factor.name for factor in factors(model)]
    found: list[tuple[Tensor, Tensor]] = []
    shares = evaluation_batches(
        images, batch_size=batch_size, limit=limit, rank=accelerator.process_index, processes=accelerator.num_processes
    )
    for indices, batch in tqdm(shares, desc=description, unit="batch", disable=not accelerator.is_main_process):
        levels = [*image_levels(model, batch.to(accelerator.device)), None]
        rows = []
        for factor in chosen:
            k = names.index(factor.name)
            level = levels[k]
            assert level is not None
            rows.append(factor(level, levels[k + 1]).double())
        found.append((indices, torch.stack(rows).cpu()))
    count = int(_total(accelerator, sum(len(indices) for indices, _ in found)))
    nats = torch.zeros((len(chosen), count), dtype=torch.float64)
    for indices, values in found:
        nats[:, indices] = values
    # Each column is filled in by one process and zero in all others.
    return accelerator.reduce(nats.to(accelerator.device), reduction="sum").cpu()


def _total(accelerator: Accelerator, value: float) -> float:
    return accelerator.reduce(torch.tensor(value, device=accelerator.device), reduction="sum").item()


def evaluate_run(
    run: RunFolder, recipe: Recipe, model: Prior, data: DataSets, accelerator: Accelerator
) -> dict[str, Any]:
    """Evaluates each trained factor on held-out and training images, writes `evaluation.json` and returns its table."""
    chain = factors(model)
    trained = [factor for factor in chain if run.weights(factor.name).is_file()]
    metadata = {factor.name: load_weights(run, factor) for factor in trained}
    if accelerator.is_main_process:
        for name, entry in metadata.items():
            if entry.get("images", data.train.fingerprint) != data.train.fingerprint:
                logger.warning("factor %s was trained on other images than these: some may not be held out", name)
    model.eval().to(accelerator.device)
    config = recipe.evaluation
    nats = {}
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
    table = _table(chain, nats)
    for entry in table["factors"]:
        entry["parameters"] = sum(p.numel() for p in _by_name(chain, entry["factor"]).parameters())
        entry["steps"] = int(metadata.get(entry["factor"], {}).get("step", 0))
    kinds = {entry.get("weights") for entry in metadata.values()}
    table["weights"] = kinds.pop() if kinds in ({"ema"}, {"last"}) else "mixed"
    table["data"] = {
        "path": recipe.data.path,
        "fingerprint": data.train.fingerprint,
        "skipped": len(data.skipped),
    }
    if accelerator.is_main_process:
        write_json(run.evaluation, table)
    return table


def _by_name(chain: Sequence[Factor], name: str) -> Factor:
    return next(factor for factor in chain if factor.name == name)


def _table(chain: Sequence[Factor], nats: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for index, factor in enumerate(chain):
        entry: dict[str, Any] = {
            "factor": factor.name,
            "image": attrs.asdict(factor.image),
            "view": None if factor.view is None else attrs.asdict(factor.view),
        }
        for name in ("heldout", "training"):
            coarser = [nats.get(name, {}).get(below.name) for below in chain[index:]]
            entry[name] = _figures(coarser, factor.image, chain[0].image)
        entries.append(entry)
    top = entries[0]

    def of_top(key: str) -> dict[str, float | None]:
        return {name: top[name] and top[name][key] for name in ("heldout", "training")}

    return {
        "bits_per_dim": of_top("cumulative_bits_per_dim"),
        "standard_error": of_top("cumulative_standard_error"),
        "kind": "bound" if len(chain) > 1 else "exact",
        "factors": entries,
        "images": {name: max((len(row) for row in rows.values()), default=0) for name, rows in nats.items()},
    }


def _figures(coarser: list[Tensor | None], own: ImageSpec, image: ImageSpec) -> dict[str, float | None] | None:
    """Mean figures of a factor, first in `coarser`, and of it and all below together."""
    nats = coarser[0]
    if nats is None:
        return None
    own_bits = nats / (-math.log(2) * own.dims)
    figures: dict[str, float | None] = {
        "nats": nats.mean().item(),
        "bits_per_dim": own_bits.mean().item(),
        "standard_error": _standard_error(own_bits),
        "bits_per_dim_of_image": nats.mean().item() / (-math.log(2) * image.dims),
        "cumulative_bits_per_dim": None,
        "cumulative_standard_error": None,
    }
    if all(row is not None for row in coarser):
        together = torch.stack([row for row in coarser if row is not None]).sum(0) / (-math.log(2) * own.dims)
        figures["cumulative_bits_per_dim"] = together.mean().item()
        figures["cumulative_standard_error"] = _standard_error(together)
    return figures


def _standard_error(values: Tensor) -> float | None:
    """Of the mean over images; None for a single one, of which nothing can be said."""
    return (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else None
