"""Optimizers, and schedules of their learning rates."""

from __future__ import annotations

from collections.abc import Sequence

from auxar import Component, hookimpl
from auxar_optimizers import adam, muon
from auxar_optimizers.schedules import Constant, Cosine, Exponential

AUXAR_INTERFACE = 1


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the optimizers `adam`, `adamw` and `muon`, and the schedules `constant`, `exponential` and `cosine`."""
    return [
        Component("optimizer", "adam", adam.AdamConfig, adam.build_adam),
        Component("optimizer", "adamw", adam.AdamWConfig, adam.build_adamw),
        Component("optimizer", "muon", muon.MuonConfig, muon.build),
        Component("schedule", "constant", Constant),
        Component("schedule", "cosine", Cosine),
        Component("schedule", "exponential", Exponential),
    ]
