"""Likelihood heads: the distribution of a pixel given the parameters that a network predicts for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auxar import Component, HeadChoice, UserError, hookimpl
from auxar.errors import shown
from auxar_heads.logistic_mixture import LogisticMixtureConfig, LogisticMixtureHead
from auxar_heads.softmax import SoftmaxConfig, SoftmaxHead

AUXAR_INTERFACE = 2

LOGISTIC_MIXTURE = Component(
    "head",
    "logistic_mixture",
    LogisticMixtureConfig,
    lambda config, image: LogisticMixtureHead(image, config.components),
)
SOFTMAX = Component("head", "softmax", SoftmaxConfig, lambda config, image: SoftmaxHead(image))


def logistic_mixture(components: int = 10) -> HeadChoice:
    """The mixture of logistics as an option of a network, in Python."""
    return HeadChoice(LOGISTIC_MIXTURE, LogisticMixtureConfig(components))


def softmax() -> HeadChoice:
    """The softmax as an option of a network, in Python."""
    return HeadChoice(SOFTMAX, SoftmaxConfig())


def upgraded(options: Mapping[str, Any]) -> dict[str, Any]:
    """A network's options with `components` inside of `head`, beside which recipes of earlier versions have it.

    Raises `UserError` where `head` is a table of its own beside which `components` has no meaning.
    """
    if "components" not in options:
        return dict(options)
    head = options.get("head", LOGISTIC_MIXTURE.name)
    table = {key: value for key, value in options.items() if key != "components"}
    if head == LOGISTIC_MIXTURE.name:
        table["head"] = {"name": head, "components": options["components"]}
    elif isinstance(head, Mapping):
        raise UserError(
            "components: with a table as head, it is an option in it: "
            f'head = {{ name = "logistic_mixture", components = {shown(options["components"])} }}'
        )
    elif head != SOFTMAX.name:
        # A name that is wrong, or a head that has no such option: `components` is then reported as unknown.
        return dict(options)
    return table


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """The heads `logistic_mixture` and `softmax`."""
    return [LOGISTIC_MIXTURE, SOFTMAX]
