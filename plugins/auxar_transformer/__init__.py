"""A causal transformer over pixels, without convolutions."""

from collections.abc import Sequence

from auxar import Component, hookimpl
from auxar_transformer.network import TransformerConfig, transformer

AUXAR_INTERFACE = 1


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the network `transformer`."""
    return [Component("network", "transformer", TransformerConfig, transformer)]
