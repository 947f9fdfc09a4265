"""Rules by which values are drawn."""

from auxar import Ancestral, Component, hookimpl
from auxar_rules.adjusting import Map, Reduced, Tempered
from auxar_rules.by_depth import ByDepth, RuleChoice
from auxar_rules.guided import Guided

__all__ = ["ByDepth", "Guided", "Map", "Reduced", "RuleChoice", "Tempered"]

AUXAR_INTERFACE = 1


@hookimpl
def auxar_register_components() -> list[Component]:
    """Registers the rules `ancestral`, `reduced`, `map`, `tempered`, `guided` and `by_depth`."""
    return [
        Component("rule", "ancestral", Ancestral),
        Component("rule", "reduced", Reduced),
        Component("rule", "map", Map),
        Component("rule", "tempered", Tempered),
        Component("rule", "guided", Guided),
        Component("rule", "by_depth", ByDepth),
    ]
