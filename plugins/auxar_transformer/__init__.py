"""A prior and a decoder that are causal transformers over pixels, without convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from auxar import Component, hookimpl
from auxar_transformer.components import TransformerConfig, decoder, prior

AUXAR_INTERFACE = 2


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the prior and the decoder `transformer`."""
    return [
        Component("prior", "transformer", TransformerConfig, prior, given_features=decoder),
        Component("decoder", "transformer", TransformerConfig, decoder),
    ]
