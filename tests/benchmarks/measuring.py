"""The frame of the benchmarks: options, times of calls that take turns, steps of training, and held-out images."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

import auxar


def options_of(text: str | None, **arguments: Any) -> argparse.Namespace:
    """The options of a script that is described by `text`, its docstring. Each script has `--json`.

    An argument is a type, if it is no option but positional; the default of an option, whose type and number of values
    the option has; or the settings of `add_argument`, with `positional` if it is no option.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON, in one line")
    for name, given in arguments.items():
        if isinstance(given, type):
            settings: dict[str, Any] = {"positional": True, "type": given}
        elif isinstance(given, bool):
            settings = {"action": "store_true"}
        elif isinstance(given, list):
            settings = {"nargs": "+", "type": type(given[0]), "default": given}
        else:
            settings = given if isinstance(given, dict) else {"type": type(given), "default": given}
        flag = name if settings.pop("positional", False) else f"--{name.replace('_', '-')}"
        parser.add_argument(flag, **settings)
    return parser.parse_args()


def show(found: object, options: argparse.Namespace) -> None:
    """Prints what was found as JSON, in one line with `--json`."""
    print(json.dumps(found, indent=None if options.json else 2), flush=True)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """The duration of a call in seconds, and its result."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def seconds_in_turn(
    calls: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """The durations of several calls, which take turns in alternating order. The first `warm_up` turns are left out."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        for name in list(calls) if turn % 2 else list(calls)[::-1]:
            duration, _ = timed(calls[name])
            found[name] += [duration] if turn >= warm_up else []
    return found


def seconds(call: Callable[[], object], repeats: int, warm_up: int = 1) -> float:
    """The median duration of a call in seconds."""
    return statistics.median(seconds_in_turn({"": call}, repeats, warm_up)[""])


def training_step(factor: auxar.Factor, optimizer: torch.optim.Optimizer, values: auxar.Values, *, bf16: bool) -> None:
    """A step of training with a batch of values of the factor's variables."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = -factor(values).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def heldout_images(model: auxar.ImageModel, count: int | None = None) -> torch.Tensor:
    """The first held-out images of a model's data, or all: uint8, (b, c, h, w)."""
    return torch.cat(list(auxar.load_images(model).heldout.in_order(64, limit=count)))
