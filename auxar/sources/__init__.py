"""Sources of pixels: drawn from what a network predicts, or forced to be those of a given image."""

from auxar.sources.draw import DrawSource, restrictable
from auxar.sources.force import ForceSource

__all__ = ["DrawSource", "ForceSource", "restrictable"]
