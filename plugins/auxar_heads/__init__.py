"""Likelihood heads: distributions of a pixel given the parameters that a network predicts for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auxar import Component, HeadChoice, UserError, hookimpl
from auxar.errors import shown
from auxar_heads.logistic_mixture import LogisticMixtureConfig, LogisticMixtureHead
from auxar_heads.softmax import SoftmaxConfig, SoftmaxHead

AUXAR_INTERFACE = 1

LOGISTIC_MIXTURE = Component(
    "head",
    "logistic_mixture",
    LogisticMixtureConfig,
    lambda config, image: LogisticMixtureHead(image, config.components),
)
SOFTMAX = Component("head", "softmax", SoftmaxConfig, lambda config, image: SoftmaxHead(image))


def logistic_mixture(components: int = 10) -> HeadChoice:
    """The value of a network's option `head` that selects `logistic_mixture`, for use in Python code."""
    return HeadChoice(LOGISTIC_MIXTURE, LogisticMixtureConfig(components))


def softmax() -> HeadChoice:
    """The value of a network's option `head` that selects `softmax`, for use in Python code."""
    return HeadChoice(SOFTMAX, SoftmaxConfig())


def upgraded(options: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a network's options from recipes of earlier versions, in which `components` stands next to `head`.

    `components` is moved into `head`, or dropped if the head is `softmax`. Raises `UserError` if `components` is given
    although `head` is a table.
    """
    if "components" not in options:
        return dict(options)
    head = options.get("head", LOGISTIC_MIXTURE.name)
    table = {key: value for key, value in options.items() if key != "components"}
    if head == LOGISTIC_MIXTURE.name:
        table["head"] = {"name": head, "components": options["components"]}
    elif isinstance(head, Mapping):
        raise UserError(
            "components: `head` is a table, so `components` must be written inside it: "
            f'head = {{ name = "logistic_mixture", components = {shown(options["components"])} }}'
        )
    elif head != SOFTMAX.name:
        # For any other head, the options stay unchanged. A network has no option `components`, so an error is reported
        # later.
        return dict(options)
    return table


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the heads `logistic_mixture` and `softmax`."""
    return [LOGISTIC_MIXTURE, SOFTMAX]
