"""Runs with random weights, and plain code that draws their images and computes their likelihoods one by one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

import auxar
from auxar.model import Ancestral, Chain, Condition, Known, Rule, SampleRequest, Values, variable_at
from auxar.recipe import load_recipe
from auxar.recipe.building import build_model
from auxar_samplers import AutoSampler
from helpers.matrix import NAMES, SIDE
from helpers.tiny_runs import tiny, with_dropout, write
from helpers.values import values_of

SOFTMAX = {"name": "pixelcnn", "filters": 3, "blocks": 1, "head": "softmax", "dropout": 0.4}
CONDITIONS: dict[str, dict[str, Any]] = {
    "labels": {"kind": "label", "suffix": ".txt", "names": NAMES, "drop": 0.2, "prior": SOFTMAX},
    "attributes": {"kind": "attributes", "suffix": ".txt", "names": NAMES, "drop": 0.2},
    "masks": {"kind": "mask", "suffix": ".mask.png", "classes": 2},
    "plain": {},
}
"""The conditions of runs by name. Decoders are restricted to the views of images with labels, and free otherwise."""


def random_run(folder: Path, name: str, pictures: Path, **changes: Any) -> Path:
    """Writes a run with random weights, dropout, and two views: means over squares, and the gray values of these.

    `name` is a key of `CONDITIONS`, and `changes` are those of `tiny`. Images depend on the noise of dropout and on
    their condition, so that a wrong mode or the condition of another image changes them.
    """
    support = "restricted" if name == "labels" else "free"
    common = {"image__height": SIDE, "image__width": SIDE, "data__split": {"train": 0.25}, "stage__0__support": support}
    if CONDITIONS[name]:
        common["condition"] = CONDITIONS[name]
    table = with_dropout(tiny(pictures, **common, **changes), 0.4)
    if name == "labels":
        table["prior"] = SOFTMAX
    table["stage"].append({**table["stage"][0], "view": {"name": "grayscale", "levels": 16}})
    model = auxar.build(write(folder / f"{name}.toml", table))
    examples = next(auxar.load_images(model).train.in_order_examples(100))
    noise = torch.Generator().manual_seed(1)
    chain: Any = model.chain.eval()
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=noise) / 2)
        chain.initialize(examples["image"].long(), condition=examples.get("condition"))
        for factor in chain.factors:  # Predictions of new networks hardly depend on their inputs.
            predictor: Any = factor.distribution
            predictor.network.out.gain.mul_(3)
            conditioning: Any = factor.conditioning
            if conditioning is not None and conditioning.null is not None:
                conditioning.null.mul_(8)  # The largest features are those of the null condition.
        if chain.condition_factor is not None:
            for parameter in chain.condition_factor.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=noise) / 4)
    model.save(folder / name)
    return folder / name


class OneByOne:
    """The model of a run without dropout, which gets one image after another, each with its own condition.

    Conditions are rows of integers, (1, *condition.spec.shape), or None.
    """

    def __init__(self, run: Path, arithmetic: str = "float") -> None:
        recipe = load_recipe(run / "recipe.toml")
        chain = build_model(recipe)
        for factor in chain.all_factors:
            factor.load_state_dict(load_file(run / "factors" / factor.name / "weights.safetensors"))
        if arithmetic != "float":
            chain = auxar.load(run, arithmetic=arithmetic).chain
            assert chain.arithmetic == arithmetic
        assert isinstance(chain, Chain)
        self.chain = chain.eval()
        self.specs = chain.specs

    @property
    def condition(self) -> Condition | None:
        """The condition of the model."""
        return self.chain.condition

    @torch.no_grad()
    def drawn(
        self,
        number: int,
        seed: int = 0,
        rule: Rule | None = None,
        condition: Tensor | None = None,
        *,
        view: Tensor | None = None,
        known: Known | None = None,
    ) -> list[Tensor]:
        """The image with a number, and the views that it is drawn from, by depth: int64, (1, *spec.shape).

        It is drawn from `view` (1, c, h, w), which has the shape of one of the views, or else with the pixels `known`.
        """
        depth = len(self.specs) - 1
        if view is not None:
            depth = next(depth for depth, spec in enumerate(self.specs) if depth and view.shape[1:] == spec.shape)
        given = [known]
        for stage in self.chain.factors[:depth]:
            given.append(None if given[-1] is None else stage.known_of_view(given[-1]))
        sampler, rule = AutoSampler(), rule or Ancestral()

        def request(depth: int) -> SampleRequest:
            return SampleRequest((number,), seed, rule, depth, given[depth])

        def draw(factor: Any, depth: int, view: Tensor | None = None) -> Tensor:
            values = Values({"condition": condition, variable_at(factor.depth + 1): view}, 1)
            image: Tensor = factor.given(values).draw(request(depth), sampler)
            return image

        found = [draw(self.chain.factors[-1], depth) if view is None else view]
        for stage in reversed(self.chain.factors[:depth]):
            depth -= 1
            found.insert(0, draw(stage, depth, found[0]))
        return found

    @torch.no_grad()
    def nats(self, views: Sequence[Tensor], condition: Tensor | None = None) -> list[float]:
        """The log-likelihood of an image under each of its factors, by depth, given its views (1, *spec.shape)."""
        found = []
        for depth, image in enumerate(views):
            factor, view = self.chain.factors[depth], views[depth + 1] if depth + 1 < len(views) else None
            if view is None and depth + 1 < len(self.specs):
                continue  # The last view is given.
            found.append(float(factor(values_of(factor, image, view, condition))))
        return found

    def nats_of(self, image: Tensor, condition: Tensor | None = None) -> list[float]:
        """The log-likelihood of an image (c, h, w) under each of its factors, by depth."""
        views = [image[None].long()]
        for stage in self.chain.factors[:-1]:
            views.append(stage.view_of(views[-1]))
        return self.nats(views, condition)
