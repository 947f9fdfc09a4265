"""Tests of experiment trackers: those of Accelerate with their options, and those of plugins."""

from pathlib import Path
from typing import Any
from unittest.mock import ANY

import attrs
import numpy as np
import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from helpers.evaluations import figures_of
from helpers.installed import install_components
from helpers.tiny_runs import metrics, run, tiny
from PIL import Image

from auxar import Component
from auxar.errors import UserError
from auxar.locks import holding


@attrs.frozen
class ListConfig:
    """A list with a title."""

    title: str


def test_a_tracker_of_a_plugin_gets_the_recipe_all_figures_and_pictures(pictures, tmp_path, monkeypatch):
    """Training figures are followed by the results. There is a report from the first checkpoint on."""
    lines: list[dict[str, Any]] = []
    found: dict[str, Any] = {}
    reports = []

    class List(GeneralTracker):
        name, requires_logging_directory, tracker = "list", False, None

        def __init__(self, config: ListConfig) -> None:
            super().__init__()
            assert config.title == "figures"

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            found.update(values)

        def log(self, values: dict[str, Any], step: int | None = None, **options: Any) -> None:
            lines.append({**values, "step": step})
            reports.append((tmp_path / "run" / "report.html").exists())

        def log_images(self, values: dict[str, Any], step: int | None = None) -> None:
            found.update(values, pictures_at=step)

    install_components(monkeypatch, Component("tracker", "list", ListConfig, List))
    changes = {"training__trackers": [{"name": "list", "title": "figures"}], "training__checkpoint_every": 1}
    folder = run(tmp_path / "run", tiny(pictures, stage=None, training__steps=3, training__log_every=1, **changes))
    keys = ("step", "bits_per_dim", "learning_rate")
    *training, results = lines
    assert [(each["step"], *(each[f"prior/{key}"] for key in keys[1:])) for each in training] == [
        tuple(line[key] for key in keys) for line in metrics(folder)
    ]
    assert reports == [False, True, True, True]
    assert results["step"] == found["pictures_at"] == 3
    assert results["heldout/total"] == results["heldout/prior"] == figures_of(folder)["bits_per_dim"]["heldout"]
    assert (found["training.steps"], found["prior.name"]) == (3, "pixelcnn")
    with Image.open(folder / "samples" / "samples.png") as picture:
        assert np.array_equal(found["samples"], [np.asarray(picture.convert("RGB"))])


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("tensorboard", {}, ("run", ["run"], {})),
        ("tensorboard", {"project": "faces", "entity": "us"}, ("faces", [], {"entity": "us"})),
        ("wandb", {"entity": "us"}, ("run", [], {"name": "run", "id": ANY, "resume": "allow", "entity": "us"})),
    ],
)
def test_trackers_of_accelerate_are_started_with_options(pictures, tmp_path, monkeypatch, name, options, expected):
    """A run of W&B is continued, but not by another worker at the same time, nor by another run of the same name."""
    started: list[Any] = []

    class Tracker(GeneralTracker):
        requires_logging_directory, tracker = not options, None

        def __init__(self, project: str, *folders: Path, **others: Any) -> None:
            started.append((project, [folder.name for folder in folders], others))

    Tracker.name = name
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, name, Tracker)
    monkeypatch.setattr("auxar.training.trackers.get_available_trackers", lambda: [name])
    table = tiny(pictures, stage=None, training__trackers=[{"name": name, **options} if options else name])
    for steps, folder in ((1, tmp_path), (2, tmp_path), (1, tmp_path / "other")):
        run(folder / "run", table, settings=[f"training.steps={steps}"], only=["prior"])
    with holding(tmp_path / "run" / ".wandb.lock", "train"):
        run(tmp_path / "run", table, settings=["training.steps=3"], only=["prior"])
    assert started[:3] == [expected] * 3
    ids = [others.get("id") for _, _, others in started]
    assert name == "tensorboard" or (ids[0] == ids[1] != ids[2] and ids[3] is None)
    monkeypatch.setattr(Tracker, "__init__", lambda self: None)
    with pytest.raises(UserError, match=r"training\.trackers: .*"):
        run(tmp_path / "again", table, only=["prior"])
