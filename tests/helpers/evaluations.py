"""Stored evaluations and other files of runs, as tests read and change them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from auxar.evaluation.stored import read_evaluation
from auxar.files import read_tensors, to_json, write_tensors
from auxar.runs.records import FACTS


def figures_of(folder: Path, name: str = "evaluation") -> dict[str, Any]:
    """The figures of a run's evaluation, as `auxar evaluate --json` prints them."""
    table: dict[str, Any] = json.loads(to_json(read_evaluation(folder / f"{name}.safetensors").to_dict()))
    return table


def nats_of(folder: Path, images: str = "heldout", name: str = "evaluation") -> np.ndarray:
    """The stored log-likelihood of each image under each trained factor: nats, (factors, images)."""
    found = read_evaluation(folder / f"{name}.safetensors")
    rows = [found.nats(images, [factor]) for factor in found.factors]
    return np.stack([nats.numpy() for nats in rows if nats is not None])


def with_metadata(file: Path, /, **changes: str | None) -> None:
    """Changes entries in the metadata of a file of tensors. None removes an entry."""
    tensors, metadata = read_tensors(file)
    write_tensors(file, tensors, {key: value for key, value in {**metadata, **changes}.items() if value is not None})


def with_facts(folder: Path, **changes: object) -> None:
    """Changes the facts of a run's evaluation; `data__path` is the key `path` in the table `data`."""
    tensors, metadata = read_tensors(folder / "evaluation.safetensors")
    table = json.loads(metadata[FACTS])
    for path, value in changes.items():
        *parents, key = path.split("__")
        node = table
        for parent in parents:
            node = node[int(parent)] if isinstance(node, list) else node[parent]
        node[key] = value
    write_tensors(folder / "evaluation.safetensors", tensors, {FACTS: json.dumps(table)})
