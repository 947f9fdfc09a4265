"""Optimizers, and schedules of their learning rates."""

from collections.abc import Sequence
from functools import partial

from torch.optim import Adam, AdamW

from auxar import Component, hookimpl
from auxar_optimizers import adam, muon
from auxar_optimizers.schedules import Constant, Cosine, Exponential

AUXAR_INTERFACE = 1


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the optimizers `adam`, `adamw` and `muon`, and the schedules `constant`, `exponential` and `cosine`."""
    return [
        Component("optimizer", "adam", adam.AdamConfig, partial(adam.build, Adam)),
        Component("optimizer", "adamw", adam.AdamWConfig, partial(adam.build, AdamW)),
        Component("optimizer", "muon", muon.MuonConfig, muon.build),
        Component("schedule", "constant", Constant),
        Component("schedule", "cosine", Cosine),
        Component("schedule", "exponential", Exponential),
    ]
