"""Versions of networks, by which weights are refused if their network has changed since they were trained.

A change of a layer or a network can leave the names and shapes of its weights as they are. Old weights would then load,
and silently give other values. A class of modules therefore has a number `weights_version`, 1 if it is not given, which
is incremented with every such change. Files of weights record the versions.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import nn

from auxar.errors import UserError
from auxar.files import DamagedFile, read_metadata
from auxar.model import Factor
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_entry

ENTRY = "versions"
"""The metadata entry that holds the versions, as a JSON object by class name."""


def versions_of(network: nn.Module) -> dict[str, int]:
    """Returns the versions of all modules of a network by class name."""
    found = {type(module).__name__: getattr(module, "weights_version", 1) for module in network.modules()}
    return dict(sorted(found.items()))


def versions_entry(network: nn.Module) -> dict[str, str]:
    """Returns the metadata entry that records the versions of a network."""
    return {ENTRY: json.dumps(versions_of(network))}


def check_versions(factor: Factor, metadata: Mapping[str, str], path: Path) -> None:
    """Raises `UserError` if the weights in a file were trained with other versions of the factor's modules.

    `metadata` is that of the file `path`. Raises `DamagedFile` if its entry is missing or invalid.
    """
    stored = read_entry(metadata, ENTRY, dict[str, int], path)
    for name, own in versions_of(factor).items():
        # A file without a version of this class belongs to another network, which the check of shapes refuses.
        found = stored.get(name, own)
        if found != own:
            raise UserError(
                f"{path} was trained with version {found} of the network's {name}, but this auxar has version "
                f"{own}, which computes other values from the same weights; use the auxar that trained it, or train "
                "the factor in a new folder (--out)"
            )


def check_saved(run: RunFolder, factors: Iterable[Factor]) -> None:
    """Checks the versions in all weights and checkpoints of the factors, from the headers of the files.

    It is called before training, so that a run with weights of other versions is refused before time is spent on its
    other factors. Raises `UserError` as `check_versions` does. Damaged files are left to the functions that load them.
    """
    for factor in factors:
        for path in run.saved:
            if path.parent == run.factor(factor.name):
                with contextlib.suppress(DamagedFile):
                    check_versions(factor, read_metadata(path), path)
