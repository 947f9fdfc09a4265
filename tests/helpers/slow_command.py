"""A command whose module imports a slow library."""

import numpy as np

import auxar


@auxar.command("Measure", show=lambda found: auxar.Result([str(found)], found))
def slow() -> float:
    """Returns the number pi."""
    return float(np.pi)
