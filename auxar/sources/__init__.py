"""Pixel sources: `DrawSource` draws pixels, `ForceSource` copies given images, and `DecodeSource` decodes bytes."""

from auxar.sources.decode import DecodeSource, coding_order
from auxar.sources.draw import DrawSource, restrictable
from auxar.sources.force import ForceSource

__all__ = ["DecodeSource", "DrawSource", "ForceSource", "coding_order", "restrictable"]
