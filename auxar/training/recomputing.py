"""Recomputation of the blocks of a factor in training, as `training.recompute` asks for."""

from __future__ import annotations

import contextlib
import logging

from auxar.model import Factor, recomputable_blocks, recomputing
from auxar.recipe import TrainingConfig
from auxar.work.team import Team

logger = logging.getLogger("auxar")


def recomputing_if_asked(factor: Factor, config: TrainingConfig, team: Team) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which the blocks of a factor are recomputed if `config.recompute` is true.

    Logs a warning if the factor has no block that can be recomputed.
    """
    if not config.recompute:
        return contextlib.nullcontext()
    if team.rank == 0 and not recomputable_blocks(factor):
        logger.warning(
            "training.recompute has no effect on %s: its networks have no auxar.RecomputableBlock", factor.name
        )
    return recomputing(factor)
