"""Likelihood heads: the distribution of a pixel given the parameters that a network predicts for it."""

AUXAR_INTERFACE = 2
