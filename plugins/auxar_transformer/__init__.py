"""Causal transformers over pixels: a prior and a decoder that have no convolution."""

from __future__ import annotations

from collections.abc import Sequence

from auxar import Component, hookimpl
from auxar_transformer.components import TransformerConfig, decoder, prior

AUXAR_INTERFACE = 2


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """The prior and the decoder `transformer`."""
    return [
        Component("prior", "transformer", TransformerConfig, prior),
        Component("decoder", "transformer", TransformerConfig, decoder),
    ]
