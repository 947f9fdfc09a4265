"""Tests that images which are drawn together, in several batches, equal images that are drawn one by one."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from helpers.choices import chosen
from helpers.one_by_one import OneByOne
from helpers.sheets import cells, enlarged
from helpers.tiny_runs import arrays_of
from helpers.values import views_of
from PIL import Image
from torch import Tensor

import auxar
from auxar.cli import main
from auxar.draw.conditions import usual_conditions
from auxar.draw.plan import plan_of_recipe
from auxar.draw.previews import Previews
from auxar.draw.samples import Samples
from auxar.model import Known, Rule
from auxar.recipe import SamplingConfig
from auxar_rules import Map, Reduced
from auxar_samplers import RasterSampler

DIMS = 3 * 4 * 4
HOW: dict[str, Any] = {"rule": "reduced:reduction=0.7,min_weight=0.3", "seed": 5, "batch_size": 2}
RULE = Reduced(0.7, min_weight=0.3)


@pytest.fixture(params=["labels", "masks"])
def path(request, random_run_of) -> Path:
    """A run with labels, and one with masks."""
    return random_run_of(request.param)


@pytest.fixture
def plain(path) -> OneByOne:
    """The model of the run, which draws one image after another."""
    return OneByOne(path)


@pytest.fixture
def conditions(path) -> Tensor | None:
    """Three conditions that differ, int64 (3, …); None for a model without a condition."""
    return three_conditions(path)


def three_conditions(path: Path) -> Tensor | None:
    if path.name == "masks":
        return torch.stack([torch.arange(16).view(1, 4, 4) % 2, torch.ones(1, 4, 4), torch.zeros(1, 4, 4)]).long()
    found = {"labels": [[2], [-1], [0]], "attributes": [[1, 0, 1], [-1, -1, -1], [0, 1, 0]]}.get(path.name)
    return None if found is None else torch.tensor(found).reshape(3, -1, 1, 1)


def row(conditions: Tensor | None, number: int) -> Tensor | None:
    """The condition of an image, of which all images have the given ones in turn."""
    return None if conditions is None else conditions[number % len(conditions)][None]


def pictures_in(folder: Path) -> list[np.ndarray]:
    """The pictures in a folder of samples, sorted by name: uint8, (h, w, 3)."""
    return [np.asarray(Image.open(file)) for file in sorted((folder / "images").iterdir())]


def shown(image: Tensor, levels: int = 256) -> np.ndarray:
    """The picture of an image (1, c, h, w): uint8, (h, w, 3)."""
    colors = np.floor(image[0].permute(1, 2, 0).double().numpy() * 255 / (levels - 1) + 0.5).astype(np.uint8)
    return np.broadcast_to(colors, (*colors.shape[:2], 3))


def bits_per_dim(nats: list[float]) -> float:
    return sum(nats) / (-math.log(2) * DIMS)


@pytest.mark.parametrize(
    ("path", "arithmetic"),
    [("labels", "float"), ("masks", "integer"), ("attributes", "float"), ("plain", "integer")],
    indirect=["path"],
)
def test_samples_and_their_figures_are_those_of_single_images(path, conditions, tmp_path, arithmetic, monkeypatch):
    plain = OneByOne(path, arithmetic)
    monkeypatch.setattr("auxar.draw.samples.SHEET_IMAGES", 6)
    folder = auxar.sample(path, images=7, condition=conditions, arithmetic=arithmetic, out=tmp_path / "out", **HOW)
    expected = [plain.drawn(number, 5, RULE, row(conditions, number)) for number in range(7)]
    found = pictures_in(folder)
    assert len(found) == 7
    for views, picture in zip(expected, found, strict=True):
        assert np.array_equal(picture, shown(views[0]))
    record = json.loads((folder / "samples.json").read_text())
    bits = [bits_per_dim(plain.nats(views, row(conditions, number))) for number, views in enumerate(expected[:6])]
    assert record["bits_per_dim"] == pytest.approx(bits, rel=1e-5)
    assert (record["rule"]["name"], record["sampler"], record["rule"]["reduction"]) == ("reduced", "auto", 0.7)
    kind = "exact" if path.name == "labels" else "bound"
    assert (record["kind"], record["arithmetic"], record["count"], record["seed"]) == (kind, arithmetic, 7, 5)
    growth = cells(Image.open(folder / "growth.png"), 4, 3, 128, 128)
    for number, line in enumerate(growth):
        for depth, cell in enumerate(line[::-1]):
            levels = plain.specs[depth].levels
            assert np.array_equal(cell, enlarged(shown(expected[number][depth], levels), 128, 128)), (number, depth)
    if conditions is not None and path.name != "masks":  # The rows show the masks.
        columns = record["columns"]
        assert columns == 3
        sheet = cells(Image.open(folder / "samples.png"), 2, 3, 128, 128).reshape(6, 128, 128, 3)
        assert all(np.array_equal(cell, enlarged(image, 128, 128)) for cell, image in zip(sheet, found, strict=False))


def test_a_sheet_shows_masks_beside_the_images_that_are_given_them(random_run_of, tmp_path):
    path = random_run_of("masks")
    conditions, plain = three_conditions(path), OneByOne(path)
    assert conditions is not None
    folder = auxar.sample(path, images=7, condition=conditions, out=tmp_path / "out", **HOW)
    sheet = cells(Image.open(folder / "samples.png"), 3, 3, 128, 128)
    for number in range(3):
        mask = shown(conditions[number][None], 2)
        drawn = [shown(plain.drawn(number + 3 * draw, 5, RULE, row(conditions, number))[0]) for draw in range(2)]
        for cell, image in zip(sheet[number], [mask, *drawn], strict=True):
            assert np.array_equal(cell, enlarged(image, 128, 128))


@pytest.mark.parametrize("path", ["labels", "masks", "attributes", "plain"], indirect=True)
def test_held_out_images_beside_samples_are_those_that_lend_them_their_conditions(path, plain, tmp_path):
    """Samples have the masks and attributes of the first held-out images. Otherwise, evenly spaced ones are shown."""
    model = auxar.load(path)
    recipe: Any = model.recipe
    heldout = auxar.load_images(model).heldout
    usual: Any = usual_conditions(plain.condition, heldout)
    plan = plan_of_recipe(model.chain, recipe, 4, usual)
    Samples(model.chain, plan, SamplingConfig(), tmp_path, {}, heldout=heldout).do()
    examples: list[Any] = [example for _, example in heldout.every_example(1, 0, None)]
    last = len(examples) - 1
    spaced = path.name in ("labels", "plain")
    numbers = [round(place * last / 3) if spaced else place for place in range(4)]
    assert last > 9
    record = json.loads((tmp_path / "samples.json").read_text())
    columns = record["columns"]
    sheet = cells(Image.open(tmp_path / "heldout.png"), -(-4 // columns), columns, 128, 128).reshape(-1, 128, 128, 3)
    for cell, number in zip(sheet, numbers, strict=False):
        assert np.array_equal(cell, enlarged(shown(examples[number]["image"]), 128, 128)), number
    for number in () if spaced else range(4):
        condition: Any = examples[number].get("condition")
        assert torch.equal(usual.values[number], condition[0].long())
        assert np.array_equal(pictures_in(tmp_path)[number], shown(plain.drawn(number, 0, None, condition.long())[0]))


@pytest.mark.parametrize("path", ["labels"], indirect=True)
def test_views_of_another_size_are_given_without_conditions(path, tmp_path):
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "view.png")
    given = ["--given", str(tmp_path / "view.png"), "--as-view", "-n", "1"]
    assert main(["sample", str(path), *given, "--out", str(tmp_path / "drawn")]) == 0
    assert arrays_of(tmp_path / "drawn")["images"].shape == (1, 1, 3, 8, 8)


def given_images(path: Path) -> Tensor:
    """Three images of the data that differ: int64, (3, c, h, w)."""
    return torch.stack([auxar.load_images(auxar.load(path)).heldout[number] for number in (7, 2, 4)]).long()


def masked(image: Tensor, keep: Any) -> Known:
    """The image (c, h, w) with its upper rows, or the pixels of a mask (h, w), as known pixels."""
    mask = torch.arange(4)[:, None].expand(4, 4) < keep if isinstance(keep, int) else keep
    return Known(image[None], mask[None])


MASKS = torch.arange(48).view(3, 4, 4) % torch.tensor([2, 3, 4])[:, None, None] == 0


@pytest.mark.parametrize("keep", [None, MASKS], ids=["view", "masks"])
def test_draws_of_python_are_those_of_single_given_images(path, plain, conditions, keep):
    """Each of three given images, or views, has its own condition for all of its draws."""
    model, images = auxar.load(path), given_images(path)
    model.chain.train()
    options = {**HOW, "condition": conditions, "draws": 3}
    views = model.views(images)
    found: list[auxar.Draws]
    if keep is None:
        found = [model.draw_given(views[1], **options), model.draw_given(views[2], 2, **options)]
        found += [model.enlarge(images, **options)]
        found += [model.colorize(each, **options) for each in (images, views[1].tensor)]
    else:
        found = [model.complete(images, keep, **options)]
    depths = [1, 2, 1, 2, 2] if keep is None else [0]
    for draws, depth in zip(found, depths, strict=True):
        assert draws.shape == (3, 3, 3, 4, 4)
        for number in range(9):
            own: dict[str, Any] = {"condition": row(conditions, number // 3)}
            if depth:
                own["view"] = views_of(plain.chain, images[number // 3][None])[depth]
            else:
                own["known"] = masked(images[number // 3], keep if isinstance(keep, int) else keep[number // 3])
            expected = plain.drawn(number, 5, RULE, **own)
            assert torch.equal(draws.tensor[number // 3, number % 3], expected[0][0])
            assert torch.equal(draws.views[1].tensor[number // 3, number % 3], expected[1][0])


@pytest.mark.parametrize(
    ("path", "how"),
    [("labels", "stage 0"), ("masks", "stage 1"), ("masks", "rows"), ("labels", "mask")],
    indirect=["path"],
)
def test_draws_of_the_command_are_those_of_single_given_images(path, plain, conditions, tmp_path, how):
    images = given_images(path)
    for number, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).byte().numpy()).save(tmp_path / f"{number}.png")
    Image.fromarray(MASKS[1].numpy()).save(tmp_path / "mask.png")
    options: dict[str, Any] = {"stage 0": {}, "stage 1": {"stage": 1}, "rows": {"keep": 2}}.get(
        how, {"keep": tmp_path / "mask.png"}
    )
    options["given"] = [tmp_path / f"{number}.png" for number in range(3)]
    folder = auxar.sample(path, images=3, condition=conditions, out=tmp_path / "out", **options, **HOW)
    arrays, pictures = arrays_of(folder), pictures_in(folder)
    agreements = []
    for number in range(9):
        image, given = images[number // 3], row(conditions, number // 3)
        own: dict[str, Any] = {"known": masked(image, 2 if how == "rows" else MASKS[1])}
        depth = 1
        if how.startswith("stage"):
            depth = options.get("stage", 0) + 1
            own = {"view": views_of(plain.chain, image[None])[depth]}
        else:
            assert np.array_equal(arrays["known"][number // 3], own["known"].mask[0])
            assert np.array_equal(arrays["given"][number // 3], image)
        expected = plain.drawn(number, 5, RULE, given, **own)
        assert np.array_equal(pictures[number], shown(expected[0]))
        place = (number // 3, number % 3)
        for key, view in zip(["images", "view1"], expected[: depth if "view" in own else 2], strict=False):
            assert np.array_equal(arrays[key][place], view[0]), key
        of_factors = plain.nats(expected, given)[: depth if "view" in own else 3]
        for name, nats in zip(["stage0", "stage1", "prior"], of_factors, strict=False):
            assert arrays[f"nats_{name}"][place] == pytest.approx(nats, rel=1e-5)
        again = views_of(plain.chain, expected[0])[depth]
        agreements.append(float((again == expected[depth]).all(1).double().mean()))
    assert arrays["view_agreement"].ravel() == pytest.approx(agreements)
    record = json.loads((folder / "samples.json").read_text())
    assert record["view_agreement"] == pytest.approx(sum(agreements) / 9)
    drawn_from = f"depth {depth}" if how.startswith("stage") else "known pixels"
    assert (record["drawn_from"], record["draws_each"], len(record["given"])) == (drawn_from, 3, 3)


def test_only_restricted_stages_limit_the_views_of_completions(random_run_of):
    chain = auxar.load(random_run_of("masks")).chain
    free = [factor for factor in chain.factors if factor.view is not None and not factor.restricted]
    assert free
    for factor in free:
        mask = torch.eye(4, dtype=torch.bool)[None, : factor.image.height, : factor.image.width]
        values = torch.ones((1, *factor.image.shape), dtype=torch.int64)
        assert factor.known_of_view(Known(values, mask)).limits is None
    for factor in auxar.load(random_run_of("labels")).chain.factors[:-1]:  # Views have as many levels as images, or 16.
        nothing = torch.zeros((1, *factor.image.shape), dtype=torch.int64)
        limits = factor.known_of_view(Known(nothing, nothing[:, 0].bool())).limits
        assert limits is not None
        assert factor.view_spec is not None
        assert (int(limits.low.max()), int(limits.high.min())) == (0, factor.view_spec.levels - 1)


def test_drawn_conditions_are_those_of_p_of_y(random_run_of, tmp_path):
    path = random_run_of("labels")
    plain, model = OneByOne(path), auxar.load(path)
    factor: Any = plain.chain.condition_factor
    model.chain.train()
    with torch.no_grad():
        # The noise is that of the depth after the coarsest view.
        requests = [auxar.SampleRequest((number,), 5, depth=3) for number in range(60)]
        drawn = [int(factor.distribution.draw(request, RasterSampler())) for request in requests]
    assert len(set(drawn)) > 1
    assert model.sample_conditions(56, first=4, seed=5).values.flatten().tolist() == drawn[4:]
    folder = auxar.sample(path, images=9, condition="drawn", out=tmp_path / "out", **HOW)
    for number, picture in enumerate(pictures_in(folder)):
        assert np.array_equal(picture, shown(plain.drawn(number, 5, RULE, torch.full((1, 1, 1, 1), drawn[number]))[0]))
    conditions = model.sample_conditions(3, first=5, seed=5)
    for number, image in enumerate(model.sample(3, first=5, condition=conditions, **HOW).tensor, start=5):
        expected = plain.drawn(number, 5, RULE, torch.full((1, 1, 1, 1), drawn[number]))
        assert torch.equal(image, expected[0][0])


def nearest(image: Tensor, candidates: Tensor) -> int:
    """The number of the candidate (n, c, h, w) that is nearest to an image (1, c, h, w)."""
    return int((candidates.double() - image.double()).square().sum((1, 2, 3)).argmin())


@pytest.mark.parametrize("path", ["labels"], indirect=True)
def test_figures_show_images_that_are_drawn_one_by_one(path, plain, tmp_path):
    """A row of drawn images has one condition: the usual ones in turn, or for given images that of the held-out one."""
    folder = Path(shutil.copytree(path, tmp_path / "run"))
    settings = ["sampling.seed=5", "sampling.rule=reduced:reduction=0.7,min_weight=0.3"]
    auxar.figures(folder, rows=2, settings=[*settings, "sampling.batch_size=1"])
    data = auxar.load_images(auxar.load(path))
    heldout, training = data.heldout.spaced_examples(2), next(data.train.in_order_examples(100))
    usual = torch.arange(3).reshape(3, 1, 1, 1)

    def drawn(number: int, line: int, rule: Rule = RULE, **options: Any) -> list[Tensor]:
        return plain.drawn(number, 5, rule, row(usual, line), **options)

    rules = [Reduced(value, min_weight=0.3 if value else 0) for value in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    expected: dict[str, list[list[tuple[Tensor, int]]]] = {
        name: [] for name in ("views", "given", "reduction", "map", "growth", "memorization")
    }
    for line in range(2):
        image, view, coarsest = drawn(line, line)
        of_view = [drawn(4 * line + draw, line, view=view)[0] for draw in range(4)]
        expected["views"].append([(view, 1), *((each, 0) for each in of_view)])
        real = heldout["image"][line][None].long()
        view_of_real, condition = views_of(plain.chain, real)[1], row(heldout.get("condition"), line)
        of_real = [plain.drawn(4 * line + draw, 5, RULE, condition, view=view_of_real)[0] for draw in range(4)]
        expected["given"].append([(real, 0), (view_of_real, 1), *((each, 0) for each in of_real)])
        columns = [drawn(line, line, rule)[0] for rule in (*rules, Map(0.3))]
        expected["reduction"].append([(each, 0) for each in columns])
        centers = [drawn(6 * line + k, 6 * line + k, Map(0.3))[0] for k in range(6)]
        expected["map"].append([(each, 0) for each in centers])
        expected["growth"].append([(coarsest, 2), (view, 1), (image, 0)])
    images = [drawn(line, line)[0] for line in range(2)] + [image[None] for image in heldout["image"][:2]]
    views, beside = views_of(plain.chain, training["image"].long()), []
    for shown_image in images:
        own = views_of(plain.chain, shown_image.long())
        places = nearest(shown_image, training["image"]), nearest(own[2], views[2])
        beside.append([(shown_image, 0), *((training["image"][place][None], 0) for place in places)])
    expected["memorization"] = [beside[line] + beside[line + 2] for line in range(2)]
    for name, lines in expected.items():
        sheet = cells(Image.open(folder / "figures" / f"{name}.png"), len(lines), len(lines[0]), 128, 128)
        for place, (found, wanted) in enumerate(zip(sheet, lines, strict=True)):
            for column, (cell, (each, depth)) in enumerate(zip(found, wanted, strict=True)):
                picture = enlarged(shown(each, plain.specs[depth].levels), 128, 128)
                assert np.array_equal(cell, picture), (name, place, column)


@pytest.mark.parametrize("path", ["masks"], indirect=True)
def test_pictures_during_training_have_the_conditions_of_the_first_samples(path, plain, tmp_path):
    """They are drawn in evaluation mode, from the views that the trained coarser factors draw."""
    run = auxar.RunFolder(Path(shutil.copytree(path, tmp_path / "run")))
    data = auxar.load_images(auxar.load(path))
    config = SamplingConfig(seed=5, rule=chosen("rule", "reduced", reduction=0.7, min_weight=0.3))
    usual = usual_conditions(plain.condition, data.heldout)
    recipe: Any = attrs.evolve(auxar.load(path).recipe, sampling=config)  # type: ignore[misc]
    previews = Previews(run, plan_of_recipe(plain.chain, recipe, 8, usual))
    expected = [plain.drawn(number, 5, RULE, row(usual.values, number)) for number in range(8)]
    chain = OneByOne(path).chain.train()
    for depth, factor in enumerate(chain.factors):
        previews(chain, factor, 7, Accelerator(cpu=True))
        sheet = cells(Image.open(run.factor(factor.name) / "samples-000000007.png"), 1, 8, 112, 112)[0]
        for cell, views in zip(sheet, expected, strict=True):
            assert np.array_equal(cell, enlarged(shown(views[depth], plain.specs[depth].levels), *cell.shape[:2]))
    assert all(module.training for factor in chain.factors for module in factor.modules())
