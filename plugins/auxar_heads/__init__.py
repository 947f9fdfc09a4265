"""Likelihood heads: distributions of a pixel given the parameters that a network predicts for it."""

from collections.abc import Sequence

from auxar import Component, HeadChoice, hookimpl
from auxar_heads.logistic_mixture import LogisticMixtureConfig, LogisticMixtureHead
from auxar_heads.softmax import SoftmaxConfig, SoftmaxHead

AUXAR_INTERFACE = 1

LOGISTIC_MIXTURE = Component(
    "head",
    "logistic_mixture",
    LogisticMixtureConfig,
    lambda config, image: LogisticMixtureHead(
        image, config.components, centered=config.centered, neighbors=config.neighbors
    ),
)
SOFTMAX = Component("head", "softmax", SoftmaxConfig, lambda config, image: SoftmaxHead(image))


def logistic_mixture(components: int = 10, *, centered: bool = True, neighbors: bool = False) -> HeadChoice:
    """The value of a network's option `head` that selects `logistic_mixture`, for use in Python code."""
    return HeadChoice(LOGISTIC_MIXTURE, LogisticMixtureConfig(components, centered, neighbors))


def softmax() -> HeadChoice:
    """The value of a network's option `head` that selects `softmax`, for use in Python code."""
    return HeadChoice(SOFTMAX, SoftmaxConfig())


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the heads `logistic_mixture` and `softmax`."""
    return [LOGISTIC_MIXTURE, SOFTMAX]
