"""Tests that the key of shared work depends on everything that decides its result, and on nothing else.

Each argument of each kind of work is changed, one at a time. A kind of work, an argument, an option of drawing or a key
of [evaluation] that is missing here fails a test.
"""

import importlib
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers.matrix import at_once

import auxar
from auxar.draw.figures import Figures
from auxar.draw.loading import opened
from auxar.draw.plan import Given, plan_of_recipe
from auxar.draw.samples import Samples, facts_of_model
from auxar.draw.scoring import ScoreTable
from auxar.evaluation.likelihoods import RunEvaluation
from auxar.files import read_tensors, write_tensors
from auxar.model import Ancestral
from auxar.recipe.schema import EvaluationConfig, SamplingConfig
from auxar.runs.opening import open_run
from auxar.work.chunks import Work
from auxar_codec import codec
from auxar_codec.archive import chosen_of
from auxar_codec.compression import Compression
from auxar_codec.container import read_container
from auxar_codec.decompression import Decompression
from auxar_rules import Map
from auxar_samplers import RasterSampler

Changes = dict[str, Any]
"""Other values of arguments. `plan.seed` is the attribute `seed` of the argument `plan`, and `seed-1` another."""


@attrs.frozen
class Case:
    """Arguments of a kind of work."""

    arguments: dict[str, Any]
    different: Changes
    """Values that give other results."""
    same: Changes
    """Values that give the same result, perhaps at another place."""


class World:
    """Runs, images and files that work is made of."""

    def __init__(self, folder: Path, run: Path, pictures: Path, other: Path) -> None:
        self.run, self.folder, self.other = run, folder, auxar.load(other, arithmetic="integer")
        self.files = sorted(pictures.glob("*.png"))[:3]
        self.changed = Path(shutil.copytree(run, folder / "changed"))
        weights = self.changed / "factors" / "prior" / "weights.safetensors"
        tensors, metadata = read_tensors(weights)
        write_tensors(weights, {name: 2 * tensor for name, tensor in tensors.items()}, metadata)
        self.source, self.source_changed = (opened(path, trust_plugins=False) for path in (run, self.changed))
        self.twin = auxar.load(run)
        self.integers = auxar.load(run, arithmetic="integer")
        self.data = auxar.load_images(self.source.model)
        self.fewer = attrs.evolve(self.data, heldout=self.data.train)
        self.others = attrs.evolve(self.data, train=self.data.heldout)
        self.images = [torch.full((3, 4, 4), value) for value in (1, 2, 3)]

    @property
    def chain(self) -> Any:
        return self.source.model.chain

    def evaluation(self) -> Case:
        recipe = attrs.evolve(self.source.recipe, evaluation=EvaluationConfig(samples=2))
        arguments = {
            "run": self.source.folder,
            "recipe": recipe,
            "model": self.chain,
            "data": self.data,
            "others": {"integer": self.integers.chain},
            "device": torch.device("cpu"),
        }
        _, ruled = open_run(self.run, tables={"evaluation": {"rule": "reduced"}}, trust_plugins=False)
        evaluation: dict[str, object] = {
            "heldout_images": 3,
            "train_images": 3,
            "samples": 3,
            "batch_size": 3,
            "rule": ruled.evaluation.rule,
        }
        different: dict[str, object] = {
            "run": self.source_changed.folder,
            **{f"recipe.evaluation.{name}": value for name, value in evaluation.items()},
            "recipe.sampling.seed": 1,
            "data": self.fewer,
            "data-1": self.others,
            "others": {},
        }
        assert evaluation.keys() == attrs.fields_dict(EvaluationConfig).keys()
        same = {
            "model": self.twin.chain,
            "device": torch.device("meta"),
            "recipe.sampling.images": 5,
            "recipe.training.seed": 5,
        }
        return Case(arguments, different, same)

    def samples(self) -> Case:
        recipe, image = self.source.recipe, torch.zeros(2, *self.chain.specs[1].shape, dtype=torch.int64)
        plan = plan_of_recipe(self.chain, recipe, 6, [0, 1], Given(1, image))
        arguments = {
            "model": self.chain,
            "plan": plan,
            "config": recipe.sampling,
            "folder": self.folder / "a" / "samples",
            "facts": facts_of_model(self.source.folder, recipe, self.chain),
            "heldout": None,
            "replace": False,
        }
        different: dict[str, object] = {
            "plan.numbers": range(5),
            "plan.seed": 1,
            "plan.conditions": attrs.evolve(plan.conditions, values=plan.conditions.values.flip(0)),
            "plan.given": None,
            "plan.given-1": Given(1, image + 1),
            "plan.given-2": Given(2, torch.zeros(2, *self.chain.specs[2].shape, dtype=torch.int64)),
            "plan.draws": 3,
            "config.rule": auxar.load_recipe(self.source.folder.recipe, ["sampling.rule=map"]).sampling.rule,
            "facts": facts_of_model(self.source_changed.folder, recipe, self.chain),
            "facts-1": facts_of_model(self.source.folder, recipe, self.integers.chain),
            "facts-2": facts_of_model(self.source.folder, recipe, self.chain.at(8, 8)),
        }
        same = {
            "model": self.twin.chain,
            "plan.rule": Map(0.5) if plan.rule == Ancestral() else Ancestral(),
            "plan.sampler": RasterSampler(),
            "plan.batch_size": 1,
            **{f"config.{key}": 1 for key in attrs.fields_dict(SamplingConfig) if key not in ("rule", "sampler")},
            "config.sampler": "raster",
            "folder": self.folder / "b" / "samples",
            "heldout": self.data.heldout,
            "replace": True,
        }
        fields = {f"plan.{name}" for name in attrs.fields_dict(type(plan))}
        assert fields == {name.partition("-")[0] for name in (*different, *same) if name.startswith("plan.")}
        return Case(arguments, different, same)

    def figures(self) -> Case:
        recipe, other = (
            auxar.load_recipe(self.source.folder.recipe, [f'training.augment=[{{name="shift",pixels={pixels}}}]', rule])
            for pixels, rule in ((1, "sampling.rule=ancestral"), (2, "sampling.rule=map"))
        )
        arguments = {
            "run": self.source.folder,
            "recipe": recipe,
            "model": self.chain,
            "data": self.data,
            "training": self.data.train,
            "rows": 2,
        }
        different: dict[str, object] = {
            "run": self.source_changed.folder,
            "model": self.integers.chain,
            "model-1": self.chain.at(8, 8),
            "recipe.sampling.rule": other.sampling.rule,
            "recipe.sampling.seed": 1,
            "recipe.training.augment": other.training.augment,
            "data": self.fewer,
            "training": None,
            "training-1": self.data.heldout,
            "rows": 3,
        }
        same = {f"recipe.sampling.{name}": 1 for name in ("images", "batch_size", "figure_rows")}
        return Case(arguments, different, {**same, "recipe.evaluation.samples": 2})

    def scores(self) -> Case:
        model = self.source.model
        arguments = {
            "models": (model, self.other),
            "files": self.files[:2],
            "images": self.images,
            "condition": torch.zeros(3, 1, 1, 1, dtype=torch.int64),
            "table": self.folder / "a" / "scores.csv",
        }
        different: dict[str, object] = {
            "models": (self.source_changed.model, self.other),
            "models-1": (model, None),
            "models-2": (self.other, model),
            "models-3": (self.integers, self.other),
            "models-4": (model, model),
            "files": self.files[1:],
            "files-1": self.files,
            "images": self.images[::-1],
            "images-1": self.images[:2],
            "condition": None,
            "condition-1": torch.tensor([0, 1, 0]).view(3, 1, 1, 1),
        }
        return Case(arguments, different, {"table": self.folder / "b" / "scores.csv"})

    def compression(self) -> Case:
        arguments = {
            "codec": codec(self.integers),
            "files": self.files,
            "out": self.folder / "a" / "out.auxar",
            "condition": None,
            "tile": (4, 4),
            "replace": False,
            "skip": False,
        }
        twin = shutil.copy(self.files[0], self.folder / "other.png")
        different: dict[str, object] = {
            "codec": codec(self.other),
            "files": self.files[:2],
            "files-1": self.files[::-1],
            "files-2": [Path(twin), *self.files[1:]],
            "condition": 1,
            "condition-1": [0, 1, 1],
            "tile": (4, 2),
        }
        same = {"out": self.folder / "b" / "out.auxar", "replace": True, "skip": True}
        return Case(arguments, different, same)

    def decompression(self) -> Case:
        own = codec(self.integers)
        containers = []
        for number, files in enumerate((self.files, [Path(self.files[1]), *self.files[::2]])):
            path = self.folder / f"{number}.auxar"
            with at_once(100):
                path.write_bytes(own.encode(files, names=["0.png", "1.png", "2.png"]))
            containers.append(read_container(path))
        first, *others = entries = chosen_of(containers[0], (), 0)
        arguments = {
            "container": containers[0],
            "codec": own,
            "folder": self.folder / "a",
            "chosen": entries,
            "depth": 0,
            "replace": False,
        }
        different: dict[str, object] = {
            "container": containers[1],
            "container-1": attrs.evolve(containers[0], entries=(attrs.evolve(first, checksum=0), *others)),
            "chosen": entries[:2],
            "chosen-1": entries[1:],
            "depth": 1,
            "depth-1": 2,
        }
        same = {"codec": codec(self.integers), "folder": self.folder / "b", "replace": True}
        return Case(arguments, different, same)


CASES: dict[type[Work], Callable[[World], Case]] = {
    RunEvaluation: World.evaluation,
    Samples: World.samples,
    Figures: World.figures,
    ScoreTable: World.scores,
    Compression: World.compression,
    Decompression: World.decompression,
}


@pytest.fixture(scope="module")
def world(random_run_of, pictures_of, tmp_path_factory) -> World:
    return World(
        tmp_path_factory.mktemp("keys"), random_run_of("labels"), pictures_of["labels"], random_run_of("plain")
    )


def changed(value: Any, attributes: list[str], new: Any) -> Any:
    """The value with an attribute of an attribute … replaced."""
    if not attributes:
        return new
    name, *others = attributes
    return attrs.evolve(value, **{name: changed(getattr(value, name), others, new)})


def key_of(work: type[Work], arguments: dict[str, Any], name: str = "", new: Any = None) -> str:
    """The key of work whose argument with this name has a new value."""
    argument, *attributes = name.partition("-")[0].split(".")
    others = {argument: changed(arguments[argument], attributes, new)} if name else {}
    return work(**{**arguments, **others}).key


@pytest.mark.parametrize("work", CASES, ids=lambda work: work.__name__)
def test_a_key_depends_on_what_decides_the_result(world, work, monkeypatch):
    monkeypatch.setattr("auxar.evaluation.likelihoods.check_causal", lambda _: None)  # It takes long.
    case = CASES[work](world)
    names = {name.partition("-")[0].partition(".")[0] for name in (*case.different, *case.same)}
    assert names == inspect.signature(work).parameters.keys()
    key = key_of(work, case.arguments)
    assert key == key_of(work, case.arguments)
    keys = {name: key_of(work, case.arguments, name, new) for name, new in case.different.items()}
    for name, other in keys.items():
        assert other != key, name
        assert [each for each in keys if keys[each] == other] == [name]
    for name, new in case.same.items():
        assert key_of(work, case.arguments, name, new) == key, name


def test_every_kind_of_work_has_a_test_of_its_key():
    """Kinds of work are classes in the modules of auxar and of its plugins."""
    root = Path(__file__).parents[2]
    for folder in (root / "auxar", *(root / "plugins").iterdir()):
        for file in folder.rglob("*.py"):
            if "(Work)" in file.read_text(encoding="utf-8"):
                parts = file.relative_to(folder.parent).with_suffix("").parts
                importlib.import_module(".".join(parts))
    found = {each for each in Work.__subclasses__() if each.__module__.startswith("auxar")}
    assert {each for each in found if inspect.getmodule(each) is not None} == CASES.keys()
