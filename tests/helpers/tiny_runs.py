"""Helpers to train tiny recipes on real image files, and to run commands of `auxar`."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image
from safetensors.torch import load_file

from auxar.commands.run import run as run_recipe
from auxar.errors import UserError
from auxar.training.averaging import WeightAverage
from auxar.work.signals import Interrupted, requests

PROJECT = Path(__file__).parents[2]
NAMES = ["cat", "dog", "owl"]
"""The names of the labels of pictures."""
TINY = """
[data]
path = "pictures"
split = { train = 0.75 }

[image]
height = 8
width = 8

[[stage]]
view = { name = "pyramid", factor = 2 }
embedding = { name = "resnet", filters = 4, blocks_per_group = 1, dropout = 0.0 }

[stage.decoder]
name = "pixelcnn"
filters = 4
blocks = 1
dropout = 0.0
head = { name = "logistic_mixture", components = 2 }

[prior]
name = "pixelcnn"
filters = 4
blocks = 1
dropout = 0.0
head = { name = "logistic_mixture", components = 2 }

[training]
steps = 4
batch_size = 4
optimizer = { name = "adam" }
schedule = { name = "constant" }
ema = 0.9
log_every = 1
initialization_images = 8

[sampling]
images = 3
figure_rows = 0
"""
# A plugin file with the view `thin`.
VIEW = '''
"""A view that keeps some rows and columns of pixels."""

from __future__ import annotations

import attrs

from auxar import Component, ImageSpec, UserError, View, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class ThinConfig:
    """Every `every`-th pixel of every `every`-th row.

    More about it.
    """

    every: int
    share: float | None = None
    names: tuple[str, ...] = ("a", "b")


class ThinView(View):
    def __init__(self, config, image):
        if image.height % config.every:
            raise UserError("does not fit")
        self.every = config.every
        self.image = image
        self.view = attrs.evolve(image, height=image.height // self.every, width=image.width // self.every)

    def __call__(self, image):
        return image[:, :, :: self.every, :: self.every]


@hookimpl
def auxar_register_components():
    return [Component("view", "thin", ThinConfig, ThinView)]
'''


def write_pictures(folder: Path, count: int = 24, side: int = 8) -> Path:
    """Creates a folder with PNG files, and returns it."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        slopes = random.uniform(-12, 12, (3, 2))
        values = 128 + np.einsum("cd,dhw->hwc", slopes, np.mgrid[:side, :side] - side / 2) + random.normal(0, 4, 3)
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")
    return folder


def write_labeled(folder: Path) -> Path:
    """Creates a folder with PNG files and their labels in text files, and returns it."""
    for number, file in enumerate(sorted(write_pictures(folder).glob("*.png"))):
        file.with_suffix(".txt").write_text(NAMES[number % 3])
    return folder


def tiny(pictures: Path, **changes: Any) -> dict[str, Any]:
    """Returns the tiny recipe's table with changed keys; `training__steps=2` sets `steps` in the table `training`."""
    return changed(tomllib.loads(TINY), **{"data__path": str(pictures), **changes})


def changed(table: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Sets keys of a table in place, and returns it. None removes a key."""
    for path, value in changes.items():
        *parents, key = path.split("__")
        node: Any = table
        for parent in parents:
            node = node[int(parent)] if isinstance(node, list) else node.setdefault(parent, {})
        if value is None:
            node.pop(key, None)
        else:
            node[int(key) if isinstance(node, list) else key] = value
    return table


def with_dropout(table: dict[str, Any], rate: float = 0.3) -> dict[str, Any]:
    """Sets the dropout of all networks in a recipe's table in place, and returns it."""
    for component in (table["prior"], table["stage"][0]["embedding"], table["stage"][0]["decoder"]):
        component["dropout"] = rate
    return table


def write(path: Path, table: dict[str, Any]) -> Path:
    """Writes a recipe file, and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(table), encoding="utf-8")
    return path


def run(out: Path, table: dict[str, Any], *, trust_plugins: bool = True, **options: Any) -> Path:
    """Runs a recipe in this process, and returns the run's folder. The recipe's plugin files are trusted by default."""
    recipe = write(out.parent / f"{out.name}.toml", table)
    return run_recipe(recipe, out=out, trust_plugins=trust_plugins, **options).path


def said(action: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Returns the message of the `UserError` that an action raises, or "" if it works. Other errors are not caught."""
    try:
        action(*arguments, **options)
    except UserError as error:
        return str(error) or "an error without words"
    return ""


class Stopped(Exception):
    """An exception that simulates the end of a process."""


@contextlib.contextmanager
def stopping_at(place: Any, name: str, calls: int, *, after: bool = False, signaled: bool = False) -> Iterator[None]:
    """Ends the block at a call of a function, before or after its work, or when a signal asks for it in this call."""
    own: Callable[..., Any] = getattr(place, name)
    numbers = itertools.count(1)

    def call(*arguments: Any, **options: Any) -> Any:
        last = next(numbers) == calls
        if last and signaled:
            requests.add(Interrupted.by_signal(signal.SIGTERM))
        elif last and not after:
            raise Stopped
        found = own(*arguments, **options)
        if last and after:
            raise Stopped
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, call)
        with pytest.raises((Stopped, Interrupted)):
            yield


@contextlib.contextmanager
def calls_of(place: Any, name: str) -> Iterator[list[Any]]:
    """A context that gives a list of the last arguments of the calls of a method in it."""
    found, own = list[Any](), getattr(place, name)

    def call(*arguments: Any) -> Any:
        found.append(arguments[-1])
        return own(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, call)
        yield found


def stopping_after(steps: int) -> contextlib.AbstractContextManager[None]:
    """Ends the block when a training in it begins the update of the averaged weights after `steps` steps."""
    return stopping_at(WeightAverage, "update", steps + 1)


def weights(run: Path, name: str = "weights") -> dict[str, torch.Tensor]:
    """Returns all trained tensors of a run, or all tensors of its newest checkpoints (`name="training"`)."""
    files = [sorted(folder.glob(f"{name}*.safetensors"))[-1:] for folder in sorted(run.glob("factors/*"))]
    return {
        f"{file.parent.name}/{key}": tensor
        for file in itertools.chain(*files)
        for key, tensor in load_file(file).items()
    }


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors agree to the last bit."""
    assert first
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Returns the largest difference between two sets of tensors."""
    assert first.keys() == second.keys()
    return max((first[name] - second[name]).abs().max().item() for name in first)


def metrics(run: Path) -> list[dict[str, Any]]:
    """Returns the lines of metrics of all factors without their times and the planned number of steps."""
    lines = [
        json.loads(text)
        for file in sorted(run.glob("factors/*/metrics.jsonl"))
        for text in file.read_text().splitlines()
    ]
    left_out = ("seconds", "images_per_second", "total_steps")
    return [{key: value for key, value in line.items() if key not in left_out} for line in lines]


def assert_same_training(first: Path, second: Path) -> None:
    """Asserts that two runs have the same weights and checkpoints, to the last bit, and the same metrics."""
    for name in ("weights", "training"):
        assert same(weights(first, name), weights(second, name))
    assert metrics(first) == metrics(second)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Returns the modification time and the content of every file below a folder."""
    # A lock file only shows that a process is at work.
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def command(*arguments: str | Path, processes: int = 1) -> list[str]:
    """Returns the command line that runs `auxar` in one process, or in several processes with torch's launcher."""
    auxar = ["-m", "auxar", *map(str, arguments)]
    if processes == 1:
        return [sys.executable, *auxar]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [sys.executable, *launcher, *auxar]


def call(
    arguments: Sequence[str], folder: Path, timeout: float = 240, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder to its end, on the CPU and without a network."""
    return subprocess.run(
        arguments, cwd=folder, env=process_environment(**environment), capture_output=True, text=True, timeout=timeout
    )


def process_environment(**environment: str) -> dict[str, str]:
    """Returns the environment variables of processes that tests start."""
    return {**os.environ, "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", **environment}


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    """Returns the arrays in `draws.npz`."""
    with np.load(folder / "draws.npz", allow_pickle=False) as file:
        return dict(file)
