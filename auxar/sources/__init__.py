"""Pixel sources: `DrawSource` draws pixels from a network's predictions, and `ForceSource` copies given images."""

from auxar.sources.draw import DrawSource, restrictable
from auxar.sources.force import ForceSource

__all__ = ["DrawSource", "ForceSource", "restrictable"]
