"""Tests of experiment trackers: those of Accelerate with their options, and those of plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

        def log_images(self, values: dict[str, Any]) -> None:
            found.update(values)

    install_components(monkeypatch, Component("tracker", "list", ListConfig, List))
    changes = {"training__trackers": [{"name": "list", "title": "figures"}], "training__checkpoint_every": 1}
    folder = run(tmp_path / "run", tiny(pictures, stage=None, training__steps=3, training__log_every=1, **changes))
    keys = ("step", "bits_per_dim", "learning_rate")
    *training, results = lines
    assert [(each["step"], *(each[f"prior/{key}"] for key in keys[1:])) for each in training] == [
        tuple(line[key] for key in keys) for line in metrics(folder)
    ]
    assert reports == [False, True, True, True]
    assert results["heldout/total"] == results["heldout/prior"] == figures_of(folder)["bits_per_dim"]["heldout"]
    assert (found["training.steps"], found["prior.name"]) == (3, "pixelcnn")
    with Image.open(folder / "samples" / "samples.png") as picture:
        assert np.array_equal(found["samples"], [np.asarray(picture.convert("RGB"))])


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, ("run", ["run"], {})), ({"project": "faces", "entity": "us"}, ("faces", [], {"entity": "us"}))],
)
def test_options_of_accelerates_trackers_are_those_of_their_start(pictures, tmp_path, monkeypatch, options, expected):
    started = []

    class Tracker(GeneralTracker):
        name, requires_logging_directory, tracker = "tensorboard", not options, None

        def __init__(self, project: str, *folders: Path, **others: Any) -> None:
            started.append((project, [folder.name for folder in folders], others))

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", Tracker)
    monkeypatch.setattr("auxar.training.trackers.get_available_trackers", lambda: ["tensorboard"])
    chosen = {"name": "tensorboard", **options} if options else "tensorboard"
    run(tmp_path / "run", tiny(pictures, stage=None, training__trackers=[chosen], training__steps=1), only=["prior"])
    assert started == [expected]


def test_an_option_that_a_tracker_refuses_is_told(pictures, tmp_path, monkeypatch):
    def refusing(project: str) -> None:
        """Has no options."""

    refusing.requires_logging_directory = False  # type: ignore[attr-defined]
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", refusing)
    monkeypatch.setattr("auxar.training.trackers.get_available_trackers", lambda: ["tensorboard"])
    trackers = [{"name": "tensorboard", "entity": "us"}]
    with pytest.raises(UserError, match=r"training\.trackers: .* unexpected keyword argument 'entity'"):
        run(tmp_path / "run", tiny(pictures, stage=None, training__trackers=trackers))
