"""Images drawn from views of given ones, and given images completed: what is drawn, written and refused."""

from __future__ import annotations

import io
import itertools
import shutil
import struct
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from networks import SEEDS, all_images, generator, masks, random_images, randomized
from PIL import Image
from runs import call, changed, command, run, snapshot, tiny, write_pictures

import auxar
from auxar.cli import main
from auxar.conditional import Given, draw_from_view, draw_given_to_folder, given_view
from auxar.errors import UserError
from auxar.files import read_json
from auxar.given import read_images, read_mask, read_views
from auxar.interfaces import DrawRule, Draws, ImageSpec, Known
from auxar.model import AuxiliaryModel, factors, image_levels, level_specs
from auxar.recipe import DataConfig, SamplingConfig
from auxar.sheets import MARGIN, TITLE, to_uint8
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_pixelcnn import components
from auxar_pixelcnn.samplers import AutoSampler, CachedSampler, RasterSampler, WavefrontSampler
from auxar_pyramid import PyramidConfig, PyramidView

SAMPLERS = st.sampled_from([AutoSampler(), RasterSampler(), CachedSampler("plain"), WavefrontSampler("plain")])
GRAYS = 16

DATA = DataConfig("pictures")


def chain_of(image: ImageSpec, *configs: PyramidConfig | GrayscaleConfig):
    """Views one after the other, from the image down."""
    views = []
    for config in configs:
        views.append((PyramidView if isinstance(config, PyramidConfig) else GrayscaleView)(config, image))
        image = views[-1].view
    return views


def model_of(views, seed=3):
    """A small model of a chain of views, in float64 and initialised such that what is drawn depends on the view."""
    light = components.LightConfig(filters=3, blocks=1, components=2)
    found = components.light_prior(light, views[-1].view)
    for view in reversed(views):
        config = components.EmbeddingConfig(filters=2, blocks_per_group=1)
        embedding = components.embedding(config, view.view, view.image)
        decoder = components.light_decoder(light, view.image, embedding.features_channels)
        found = AuxiliaryModel(view, embedding, decoder, found)
    randomized(found, seed)
    for factor in factors(found):
        coarser = None if factor.view is None else random_images(64, factor.view, seed + 1)
        factor.initialize(random_images(64, factor.image, seed), coarser)
    return found


CHAINS = {
    "nested pyramids": chain_of(ImageSpec(3, height=8, width=4, levels=8), PyramidConfig(2), PyramidConfig(2)),
    "means and their grays": chain_of(ImageSpec(3, height=4, width=4), PyramidConfig(2), GrayscaleConfig(3)),
    "grays and their means": chain_of(ImageSpec(3, height=4, width=6, levels=32), GrayscaleConfig(5), PyramidConfig(2)),
    "grays": chain_of(ImageSpec(3, height=3, width=5, levels=16), GrayscaleConfig(4)),
}
MODELS = {name: model_of(views) for name, views in CHAINS.items()}


@st.composite
def cases(draw):
    """A model and one of its stages."""
    model = MODELS[draw(st.sampled_from(sorted(MODELS)))]
    return model, draw(st.integers(0, len(level_specs(model)) - 2))


def drawn(model, source, folder, sampler=None, **config):
    """What `draw_given_to_folder` leaves: the arrays, and the facts beside them."""
    sampling = SamplingConfig(**config)
    draw_given_to_folder(model, source, sampling, sampler or AutoSampler(), folder, Accelerator(cpu=True))
    return arrays_of(folder), read_json(folder / "samples.json")


def arrays_of(folder):
    with np.load(folder / "draws.npz", allow_pickle=False) as file:
        return dict(file)


def names(count):
    return tuple(f"{number}.png" for number in range(count))


def from_images(model, images, stage):
    return Given(names(len(images)), stage, given_view(model, images, stage), images)


def completing(images, mask):
    return Given(names(len(images)), 0, None, images, Known(images, mask))


# Drawn from a view ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(case=cases(), sampler=SAMPLERS, seed=SEEDS, indices=st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_what_is_drawn_from_a_view_is_what_the_decoders_draw_pixel_by_pixel(case, sampler, seed, indices):
    model, stage = case
    specs = level_specs(model)
    view = random_images(len(indices), specs[stage + 1], seed)
    draws = Draws(seed, tuple(indices))
    with torch.no_grad():
        levels = draw_from_view(model, view, stage, draws, sampler)
        assert len(levels) == stage + 2
        assert torch.equal(levels[-1], view)
        parts = [model]
        while isinstance(parts[-1].prior, AuxiliaryModel):
            parts.append(parts[-1].prior)
        for level in range(stage + 1):
            part = parts[level]
            own = attrs.evolve(draws, level=level)
            expected = RasterSampler().sample(part.decoder.network, part.embedding(levels[level + 1]), own)
            specs[level].check_range(expected)
            assert torch.equal(levels[level], expected)


@settings(deadline=None, max_examples=25)
@given(case=cases(), sampler=SAMPLERS, seed=SEEDS, first=st.integers(0, 10**6), count=st.integers(1, 4))
def test_a_sample_is_drawn_again_from_its_own_drawn_view(case, sampler, seed, first, count):
    model, stage = case
    draws = Draws(seed, tuple(range(first, first + count)))
    with torch.no_grad():
        levels = model.draw_levels(draws, sampler)
        again = draw_from_view(model, levels[stage + 1], stage, draws, sampler)
    for level, other in zip(levels[: stage + 2], again, strict=True):
        assert torch.equal(level, other)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_draws_depend_on_their_own_view_alone(model, seed):
    for stage, spec in enumerate(level_specs(model)[1:]):
        view = random_images(1, spec, seed)
        other = spec.levels - 1 - view
        draws = Draws(seed, tuple(range(8)))
        with torch.no_grad():
            alone = draw_from_view(model, view.expand(8, -1, -1, -1), stage, draws, AutoSampler())
            mixed = draw_from_view(model, torch.cat([view, other] * 4), stage, draws, AutoSampler())
        assert all(torch.equal(mixed[level][::2], alone[level][::2]) for level in range(stage + 1))
        assert not torch.equal(mixed[stage][1::2], alone[stage][1::2])


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=cases(),
    seed=SEEDS,
    count=st.integers(1, 3),
    more=st.integers(0, 2),
    each=st.integers(1, 3),
    sizes=st.tuples(st.integers(1, 10), st.integers(1, 10)),
    completes=st.booleans(),
)
def test_noise_follows_from_the_numbers_of_image_and_draw(tmp_path, case, seed, count, more, each, sizes, completes):
    """Neither how many are drawn at once nor what is given after an image changes what is drawn from it."""
    model, stage = case
    images = random_images(count + more, model.image, seed)
    mask = torch.rand(images[:, 0].shape, generator=generator(seed)) < 0.4

    def source(upto):
        return completing(images[:upto], mask[:upto]) if completes else from_images(model, images[:upto], stage)

    few, _ = drawn(model, source(count), tmp_path, images=each, seed=seed, batch_size=sizes[0])
    many, _ = drawn(model, source(count + more), tmp_path, images=each, seed=seed, batch_size=sizes[1])
    assert few.keys() == many.keys()
    for name, values in few.items():
        if name.startswith("nats"):
            np.testing.assert_allclose(many[name][:count], values, rtol=1e-12)
        else:
            assert np.array_equal(many[name][:count], values)


# Completed -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), seed=SEEDS, count=st.integers(1, 3), each=st.integers(1, 3), data=st.data())
def test_completion_never_changes_a_pixel_that_is_kept(tmp_path, case, seed, count, each, data):
    model, _ = case
    images = random_images(count, model.image, seed)
    mask = data.draw(masks(model.image, count))
    arrays, facts = drawn(model, completing(images, mask), tmp_path, images=each, seed=seed, batch_size=4)
    kept = np.broadcast_to(mask.numpy()[:, None, None], arrays["images"].shape)
    given_pixels = np.broadcast_to(images.numpy()[:, None], arrays["images"].shape)
    assert (arrays["images"][kept] == given_pixels[kept]).all()
    assert (arrays["known"] == mask.numpy()).all()
    assert (arrays["given"] == images.numpy()).all()
    assert facts["drawn_from"] == "known pixels"
    for number, draw in np.ndindex(count, each):
        with Image.open(tmp_path / "images" / f"{number:06d}-{draw:03d}.png") as picture:
            expected = to_uint8(torch.from_numpy(arrays["images"][number, draw])[None], model.image)[0]
            assert (np.asarray(picture) == expected).all()


TINY_VIEWS = {
    "pyramid": chain_of(ImageSpec(1, height=2, width=4, levels=2), PyramidConfig(2)),
    "pyramid of 3 levels": chain_of(ImageSpec(1, height=2, width=2, levels=3), PyramidConfig(2)),
    "pyramid of colours": chain_of(ImageSpec(3, height=2, width=2, levels=2), PyramidConfig(2)),
    "pyramid by 3": chain_of(ImageSpec(1, height=3, width=3, levels=2), PyramidConfig(3)),
    "grays": chain_of(ImageSpec(3, height=2, width=2, levels=2), GrayscaleConfig(2)),
    "grays of 4 levels": chain_of(ImageSpec(3, height=1, width=2, levels=4), GrayscaleConfig(3)),
    "nested pyramids": chain_of(ImageSpec(1, height=4, width=4, levels=2), PyramidConfig(2), PyramidConfig(2)),
    "means and their grays": chain_of(ImageSpec(3, height=2, width=2, levels=2), PyramidConfig(2), GrayscaleConfig(2)),
    "grays and their means": chain_of(ImageSpec(3, height=2, width=2, levels=2), GrayscaleConfig(2), PyramidConfig(2)),
}


def extent(values, group):
    """The least and the greatest value of each group, for (n, …) values: (groups, …) each."""
    flat = values.flatten(1)
    start = torch.zeros((int(group.max()) + 1, flat.shape[1]), dtype=torch.int64)
    places = group[:, None].expand_as(flat)
    found = [start.scatter_reduce(0, places, flat, which, include_self=False) for which in ("amin", "amax")]
    return [part.view(-1, *values.shape[1:]) for part in found]


@pytest.mark.parametrize("views", TINY_VIEWS.values(), ids=TINY_VIEWS)
def test_known_of_a_view_is_what_is_the_same_for_every_filling(views):
    """By all images there are. What is said to be unknown differs between two that agree where pixels are known."""
    image = views[0].image
    every = all_images(image)
    levels = [every]
    for view in views:
        levels.append(view(levels[-1]))
    subsets = list(itertools.product([False, True], repeat=image.height * image.width))
    for subset in subsets[:: max(1, len(every) * len(subsets) // 2**22)]:
        mask = torch.tensor(subset).view(image.height, image.width)
        # Images are in one group if they agree where they are known.
        digits = every[:, :, mask].flatten(1)
        group = (digits * image.levels ** torch.arange(digits.shape[1])).sum(1)
        known = Known(every, mask.expand(len(every), -1, -1))
        for view, values in zip(views, levels[1:], strict=True):
            known = view.known(known)
            low, high = extent(values, group)
            assert torch.equal((low == high).all(1).all(0), known.mask[0])
            assert (known.mask == known.mask[:1]).all()
            where = known.mask[:, None].expand_as(values)
            assert torch.equal(known.values[where], values[where])


# What is written -----------------------------------------------------------------------------------------------------


def slow_agreement(first, second):
    """The share of pixels whose channels all agree, of (c, h, w) each."""
    _, height, width = first.shape
    agree = [all(first[:, row, column] == second[:, row, column]) for row in range(height) for column in range(width)]
    return sum(agree) / len(agree)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), seed=SEEDS, count=st.integers(1, 3), each=st.integers(1, 3), completes=st.booleans())
def test_figures_are_those_of_the_drawn_images(tmp_path, case, seed, count, each, completes):
    """Shapes, agreement with the view and likelihoods, each computed anew."""
    model, stage = case
    specs = level_specs(model)
    images = random_images(count, model.image, seed)
    mask = torch.rand(images[:, 0].shape, generator=generator(seed)) < 0.4
    source = completing(images, mask) if completes else from_images(model, images, stage)
    arrays, facts = drawn(model, source, tmp_path, images=each, seed=seed, batch_size=4)
    rows = torch.arange(count).repeat_interleave(each)
    draws = Draws(seed, tuple(range(count * each)))
    with torch.no_grad():
        if completes:
            levels = model.draw_levels(draws, RasterSampler(), Known(images[rows], mask[rows]))
            last, chain = 1, factors(model)
            assert arrays.keys() == {"given", "known", "images", "view_agreement", *(f"nats_{f.name}" for f in chain)}
        else:
            levels = draw_from_view(model, source.view[rows], stage, draws, RasterSampler())
            last, chain = stage + 1, factors(model)[: stage + 1]
            assert arrays.keys() == {"given", "view", "images", "view_agreement", *(f"nats_{f.name}" for f in chain)}
            assert np.array_equal(arrays["view"], image_levels(model, images)[last])
            assert facts["drawn_from"] == f"level {last}"
        nats = [factor(*levels[k : k + 2]) for k, factor in enumerate(chain)]
    assert np.array_equal(arrays["given"], images)
    assert np.array_equal(arrays["images"], levels[0].view(count, each, *specs[0].shape))
    for factor, expected in zip(chain, nats, strict=True):
        assert arrays[f"nats_{factor.name}"].shape == (count, each)
        np.testing.assert_allclose(arrays[f"nats_{factor.name}"], expected.view(count, each), rtol=1e-10)
    own = image_levels(model, levels[0])[last]
    agreement = [slow_agreement(*pair) for pair in zip(own.numpy(), levels[last].numpy(), strict=True)]
    assert arrays["view_agreement"].shape == (count, each)
    np.testing.assert_allclose(arrays["view_agreement"].ravel(), agreement)
    assert facts["view_agreement"] == pytest.approx(np.mean(agreement))
    assert (facts["count"], facts["draws_each"], facts["given"]) == (count * each, each, list(names(count)))
    pictures = sorted(file.name for file in (tmp_path / "images").iterdir())
    assert pictures == [f"{number:06d}-{draw:03d}.png" for number, draw in np.ndindex(count, each)]


def test_agreement_is_whole_where_the_view_leaves_no_choice(tmp_path):
    """An image that is known as a whole has the view that it has."""
    model = MODELS["nested pyramids"]
    images = random_images(2, model.image)
    whole = torch.ones_like(images[:, 0], dtype=torch.bool)
    arrays, facts = drawn(model, completing(images, whole), tmp_path, images=2)
    assert (arrays["view_agreement"] == 1).all()
    assert facts["view_agreement"] == 1
    assert (arrays["images"] == images.numpy()[:, None]).all()


def test_the_sheet_shows_what_is_given_and_what_is_drawn(tmp_path):
    model = MODELS["nested pyramids"]
    images = random_images(2, model.image)
    mask = torch.zeros_like(images[:, 0], dtype=torch.bool)
    mask[:, :3] = True
    for source, stage in ((from_images(model, images, 1), 2), (completing(images, mask), 0)):
        arrays, _ = drawn(model, source, tmp_path, images=2)
        with Image.open(tmp_path / "samples.png") as picture:
            sheet = np.asarray(picture)
        second = source.view if source.view is not None else source.known.filled()
        spec = level_specs(model)[stage]
        columns = [(images, model.image), (second, spec)]
        columns += [(torch.from_numpy(arrays["images"][:, draw]), model.image) for draw in range(2)]
        width = (sheet.shape[1] - MARGIN) // len(columns) - MARGIN
        height = (sheet.shape[0] - TITLE - MARGIN) // len(images) - MARGIN
        for column, (shown, shown_spec) in enumerate(columns):
            for row, colours in enumerate(to_uint8(shown, shown_spec)):
                top, left = TITLE + MARGIN + row * (height + MARGIN), MARGIN + column * (width + MARGIN)
                tile = sheet[top : top + height, left : left + width, :3]
                rows = np.arange(height) * shown_spec.height // height
                assert (tile == colours[rows[:, None], np.arange(width) * shown_spec.width // width]).all()


# Files that are given ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_views_come_back_as_they_were(tmp_path, channels):
    for levels in range(2, 257):
        spec = ImageSpec(channels, height=2, width=levels, levels=levels)
        rising = torch.arange(levels).expand(channels, 1, levels)
        view = torch.cat([rising, rising.flip(0, 2).roll(1, 2)], 1)[None]
        colours = to_uint8(view, spec)[0]
        Image.fromarray(colours if channels == 3 else colours[..., 0]).save(tmp_path / "view.png")
        found = read_views([tmp_path / "view.png"], spec)
        assert found.dtype == torch.int64
        assert torch.equal(found, view)


def test_pictures_of_gray_views_come_back_in_the_colours_that_they_are_drawn_in(tmp_path):
    """Auxar shows a gray image in red, green and blue that are equal."""
    spec = ImageSpec(1, height=2, width=3, levels=5)
    view = random_images(1, spec)
    Image.fromarray(to_uint8(view, spec)[0]).save(tmp_path / "view.png")
    assert torch.equal(read_views([tmp_path / "view.png"], spec), view)
    assert read_images([tmp_path / "view.png"], spec, DATA).shape == view.shape


@settings(deadline=None, max_examples=50)
@given(levels=st.integers(2, 256))
def test_any_value_becomes_the_nearest_level(tmp_path_factory, levels):
    file = tmp_path_factory.getbasetemp() / "values.png"
    Image.fromarray(np.arange(256, dtype=np.uint8)[None]).save(file)
    found = read_views([file], ImageSpec(1, height=1, width=256, levels=levels))[0, 0, 0]
    shown = 255 * np.arange(levels) / (levels - 1)
    distance = np.abs(np.arange(256)[:, None] - shown)
    assert (distance[np.arange(256), found] <= distance.min(1) + 1e-9).all()


def test_images_are_read_as_training_reads_them(pictures):
    files = sorted(pictures.iterdir())[:3]
    for levels in (2, 16, 255, 256):
        found = read_images(files, ImageSpec(3, height=8, width=8, levels=levels), DATA)
        for file, image in zip(files, found, strict=True):
            with Image.open(file) as picture:
                assert (image.numpy() == np.asarray(picture).transpose(2, 0, 1).astype(int) * levels // 256).all()


def test_images_of_another_size_are_brought_to_it_as_the_recipe_says(tmp_path):
    file = write_pictures(tmp_path / "large", 1, side=16) / "000.png"
    spec = ImageSpec(3, height=8, width=8)
    with Image.open(file) as picture:
        expected = np.asarray(picture.resize((8, 8), Image.Resampling.LANCZOS))
    found = read_images([file], spec, attrs.evolve(DATA, resize="cover"))[0]
    assert (found.numpy().transpose(1, 2, 0) == expected).all()


def test_a_mask_is_known_where_it_is_light(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", ImageSpec(3, height=16, width=16))
    assert mask.dtype == torch.bool
    assert (mask.numpy() == (values >= 128)).all()


def outcome(function, *arguments):
    """What a function returns, or what it says is wrong."""
    try:
        return function(*arguments)
    except UserError as error:
        return str(error)


FORMATS = {"PNG": "RGB", "BMP": "RGB", "GIF": "P", "TIFF": "RGB", "JPEG": "RGB"}
CHANGES = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), min_size=1, max_size=4)


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(FORMATS)), changes=CHANGES, length=st.just(1000) | st.integers(0, 400))
@example(kind="BMP", changes=[(21, 54)], length=1000)
def test_a_damaged_file_is_an_image_or_a_mistake(tmp_path, kind, changes, length):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).convert(FORMATS[kind]).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for place, value in changes:
        content[place % len(content)] = value
    file = tmp_path / "damaged"
    file.write_bytes(content[:length])
    spec = ImageSpec(3, height=8, width=8)
    for found in (outcome(read_images, [file], spec, DATA), outcome(read_views, [file], spec)):
        assert str(file) in found if isinstance(found, str) else found.shape == (1, 3, 8, 8)


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory) -> Path:
    """A run of two stages: 8×8 colours, their means, the means' gray values."""
    table = tiny(pictures)
    view = {"name": "grayscale", "levels": GRAYS}
    table["stage"].append({**table["stage"][0], "view": view})
    return run(tmp_path_factory.mktemp("finished") / "run", table)


@pytest.fixture(scope="module")
def bare(pictures, tmp_path_factory) -> Path:
    """A run without a stage, of gray images."""
    table = tiny(pictures, stage=None, image__channels=1, training__steps=1)
    return run(tmp_path_factory.mktemp("bare") / "run", table)


@pytest.fixture
def sampled(finished, tmp_path, capsys):
    """Runs `auxar sample`; returns the arrays and facts that it leaves."""
    numbers = itertools.count()

    def sampled(*arguments, out=None, run=finished):
        folder = out or tmp_path / f"out{next(numbers)}"
        assert main(["sample", str(run), *map(str, arguments), "--out", str(folder)]) == 0
        assert capsys.readouterr().out == f"{folder}\n"
        return arrays_of(folder), read_json(folder / "samples.json")

    return sampled


@pytest.fixture
def refused(finished, tmp_path, capsys, monkeypatch):
    """Runs `auxar sample` that must fail and write nothing; returns what it says."""
    monkeypatch.chdir(tmp_path)

    def refused(*arguments, run=finished):
        def everything():
            return [(snapshot(folder), sorted(folder.rglob("*"))) for folder in (tmp_path, run)]

        before = everything()
        capsys.readouterr()
        for more in ([], ["--out", "out"]):
            assert main(["sample", str(run), *map(str, arguments), *more]) == 2
        output = capsys.readouterr()
        assert not output.out
        first, second = output.err.splitlines()
        assert first == second
        assert first.startswith("auxar: ")
        assert everything() == before
        return first.removeprefix("auxar: ")

    return refused


def as_tensor(values):
    return torch.from_numpy(np.array(values))


@pytest.mark.parametrize("stage", [0, 1])
def test_the_command_draws_a_sample_again_from_its_view(finished, sampled, tmp_path, stage):
    """A picture of a sample's drawn view, given as the view, leads to the sample."""
    model = auxar.load(finished)
    with torch.no_grad():
        levels = model.draw_levels(Draws(4, (0,)), AutoSampler())
    colours = to_uint8(levels[stage + 1], level_specs(model)[stage + 1])[0]
    Image.fromarray(colours if stage == 0 else colours[..., 0]).save(tmp_path / "view.png")
    arrays, facts = sampled("--given", tmp_path / "view.png", "--as-view", "--stage", stage, "-n", 1, "--seed", 4)
    assert torch.equal(as_tensor(arrays["view"]), levels[stage + 1])
    assert torch.equal(as_tensor(arrays["images"][0]), levels[0])
    assert "given" not in arrays
    assert facts["drawn_from"] == f"level {stage + 1}"
    assert {name for name in arrays if name.startswith("nats")} == {f"nats_stage{k}" for k in range(stage + 1)}
    main(["sample", str(finished), "-n", "1", "--seed", "4", "--out", str(tmp_path / "free")])
    free, again = (
        tmp_path / name / "images" / file for name, file in (("free", "000000.png"), ("out0", "000000-000.png"))
    )
    assert again.read_bytes() == free.read_bytes()


def test_the_command_draws_from_the_view_of_an_image(finished, sampled, pictures, tmp_path):
    first, second = sorted(pictures.iterdir())[:2]
    arrays, _ = sampled("--given", first, "-n", 3)
    with Image.open(first) as picture:
        pixels = np.asarray(picture)
    # The same means, by pixels in other places of their squares: the same view.
    turned = pixels.reshape(4, 2, 4, 2, 3)[:, ::-1, :, ::-1].reshape(8, 8, 3)
    Image.fromarray(turned).save(tmp_path / "turned.png")
    same, _ = sampled("--given", tmp_path / "turned.png", "-n", 3)
    assert not np.array_equal(same["given"], arrays["given"])
    assert np.array_equal(same["images"], arrays["images"])
    other, _ = sampled("--given", second, "-n", 3)
    assert not np.array_equal(other["images"], arrays["images"])
    model = auxar.load(finished)
    with torch.no_grad():
        expected = given_view(model, as_tensor(arrays["given"]), 0)
        factor = factors(model)[0]
        nats = factor(as_tensor(arrays["images"][0]), expected.expand(3, -1, -1, -1))
    assert torch.equal(as_tensor(arrays["view"]), expected)
    np.testing.assert_allclose(arrays["nats_stage0"][0], nats, rtol=1e-5)


def test_the_command_takes_rule_batch_size_sampler_and_folders(sampled, pictures, tmp_path):
    folder = write_pictures(tmp_path / "few", 4)
    arguments = ["--given", pictures / "003.png", folder, "-n", 2, "--stage", 1, "--seed", 7]
    arrays, facts = sampled(*arguments)
    assert facts["given"] == ["003.png", *(f"00{number}.png" for number in range(4))]
    assert (facts["rule"], facts["seed"], facts["draws_each"], facts["count"]) == ("ancestral", 7, 2, 10)
    assert arrays["images"].shape == (5, 2, 3, 8, 8)
    again, other = sampled(*arguments, "--batch-size", 3, "--sampler", "raster")
    assert other["sampler"] == "raster"
    assert np.array_equal(again["images"], arrays["images"])
    modes, facts = sampled(*arguments, "--rule", "map")
    assert facts["rule"] == "map"
    assert not np.array_equal(modes["images"], arrays["images"])
    by_default, facts = sampled("--given", pictures / "000.png")
    assert by_default["images"].shape == (1, 4, 3, 8, 8)


def test_the_command_draws_into_the_run(finished, pictures, capsys):
    for arguments, name in (
        (["--stage", "1"], "given-level2-map-seed3"),
        (["--keep", "2"], "completed-map-seed3"),
    ):
        given_files = ["--given", str(pictures / "000.png"), "-n", "1", "--rule", "map", "--seed", "3"]
        for _ in range(2):  # Those of an earlier call make way.
            assert main(["sample", str(finished), *given_files, *arguments]) == 0
            assert capsys.readouterr().out == f"{finished / 'samples' / name}\n"
        assert sorted(file.name for file in (finished / "samples" / name).iterdir()) == [
            "draws.npz",
            "images",
            "samples.json",
            "samples.png",
        ]


@pytest.mark.parametrize("rows", [1, 4, 7])
def test_the_command_keeps_upper_rows(sampled, pictures, rows):
    arrays, facts = sampled("--given", pictures / "004.png", pictures / "005.png", "--keep", rows, "-n", 2)
    assert (arrays["known"] == (np.arange(8) < rows)[:, None]).all()
    assert (arrays["images"][..., :rows, :] == arrays["given"][:, None, :, :rows]).all()
    assert not (arrays["images"][..., rows:, :] == arrays["given"][:, None, :, rows:]).all()
    assert facts["drawn_from"] == "known pixels"
    assert {name for name in arrays if name.startswith("nats")} == {"nats_stage0", "nats_stage1", "nats_prior"}


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, share=st.sampled_from([0.0, 0.3, 0.9, 1.0]), depth=st.sampled_from(["L", "RGB", "1"]))
def test_the_command_keeps_what_is_white_in_a_picture(sampled, pictures, tmp_path, seed, share, depth):
    mask = np.random.default_rng(seed).random((8, 8)) < share
    Image.fromarray(255 * mask.astype(np.uint8)).convert(depth).save(tmp_path / "mask.png")
    files = [pictures / "000.png", pictures / "001.png"]
    arrays, _ = sampled("--given", *files, "--keep", tmp_path / "mask.png", "-n", 2, out=tmp_path / "out")
    assert (arrays["known"] == mask).all()
    assert (arrays["images"][..., mask] == arrays["given"][:, None][..., mask]).all()


def test_a_model_without_views_completes_images(bare, sampled, tmp_path, pictures):
    with Image.open(pictures / "000.png") as picture:
        picture.convert("L").save(tmp_path / "gray.png")
    arrays, facts = sampled("--given", tmp_path / "gray.png", "--keep", 5, "-n", 2, run=bare)
    assert arrays.keys() == {"given", "known", "images", "nats_prior"}
    assert arrays["images"].shape == (1, 2, 1, 8, 8)
    assert (arrays["images"][..., :5, :] == arrays["given"][:, None, :, :5]).all()
    assert facts["view_agreement"] is None


def test_two_processes_draw_what_one_draws(finished, sampled, pictures, tmp_path):
    arguments = ["--given", *sorted(pictures.iterdir())[:3], "--stage", 1, "-n", 3, "--batch-size", 2]
    done = call(command("sample", finished, *map(str, arguments), "--out", "shared", processes=2), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    by_one, _ = sampled(*arguments, out=tmp_path / "alone")
    by_two = arrays_of(tmp_path / "shared")
    assert by_two.keys() == by_one.keys()
    for name, values in by_one.items():
        if name.startswith("nats"):
            np.testing.assert_allclose(by_two[name], values, rtol=1e-5)
        else:
            assert np.array_equal(by_two[name], values), name
    kept = [{**read_json(tmp_path / name / "samples.json"), "seconds": 0} for name in ("shared", "alone")]
    assert kept[0] == kept[1]
    files = [
        {name: content for name, (_, content) in snapshot(tmp_path / folder).items() if name.endswith(".png")}
        for folder in ("shared", "alone")
    ]
    assert len(files[0]) == 9 + 1
    assert files[0] == files[1]


# What is refused -----------------------------------------------------------------------------------------------------

UNREADABLE = "--given {path} cannot be read: "
WRONG_FILES = {
    "missing": (None, "--given: there is no file {path}"),
    "text": (b"not a picture\n", UNREADABLE + "it is not an image"),
    "empty": (b"", UNREADABLE + "it is not an image"),
    "truncated": ("truncated", UNREADABLE),
    "huge": ("huge", UNREADABLE),
    "large": (Image.new("RGB", (9, 8)), "data: {path} has 8×9 pixels, and [image] asks for 8×8"),
    "turned": (Image.new("RGB", (8, 4)), "data: {path} has 4×8 pixels, and [image] asks for 8×8"),
    "gray": (Image.new("L", (8, 8)), "--given {path} is gray, and red, green and blue is expected"),
    "bits": (Image.new("1", (8, 8)), "--given {path} is gray, and red, green and blue is expected"),
    "deep": (Image.new("I;16", (8, 8)), "--given {path} is gray, and red, green and blue is expected"),
    "transparent": (Image.new("RGBA", (8, 8)), "--given {path} is transparent in part, "),
    "half": (Image.new("RGBA", (8, 8), (9, 9, 9, 128)), "--given {path} is transparent in part, "),
}


def write_wrong(path, content):
    """A file that is none of what is expected."""
    buffer = io.BytesIO()
    if content == "truncated":
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue()[:120])
    elif content == "huge":
        Image.new("RGB", (8, 8)).save(buffer, "BMP")
        head = buffer.getvalue()
        path.write_bytes(head[:18] + struct.pack("<ii", 60_000, 60_000) + head[26:])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content.save(path)


@pytest.mark.parametrize(("content", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
@pytest.mark.parametrize("arguments", [[], ["--keep", "3"]], ids=["view", "completion"])
def test_files_that_cannot_be_given(refused, pictures, tmp_path, content, message, arguments):
    path = tmp_path / "wrong.png"
    write_wrong(path, content)
    # Beside one that can.
    assert refused("--given", pictures / "000.png", path, *arguments).startswith(message.format(path=path))


@pytest.mark.parametrize(
    ("stage", "content", "message"),
    [
        (0, None, "--given: there is no file {path}"),
        (0, Image.new("RGB", (8, 8)), "--given {path} has 8×8 pixels, and this view has 4×4"),
        (0, Image.new("L", (4, 4)), "--given {path} is gray, and red, green and blue is expected"),
        (1, Image.new("L", (4, 5)), "--given {path} has 5×4 pixels, and this view has 4×4"),
        (1, Image.new("RGB", (4, 4), (1, 2, 3)), "--given {path} is in colour, and one channel, gray is expected"),
        (1, Image.new("LA", (4, 4)), "--given {path} is transparent in part, "),
        (1, b"not a picture", UNREADABLE + "it is not an image"),
    ],
)
def test_files_that_are_not_the_view(refused, tmp_path, stage, content, message):
    path = tmp_path / "wrong.png"
    write_wrong(path, content)
    assert refused("--given", path, "--stage", stage, "--as-view").startswith(message.format(path=path))


def test_colours_for_a_model_of_grays(refused, bare, pictures):
    message = refused("--given", pictures / "000.png", "--keep", "3", run=bare)
    assert message == f"--given {pictures / '000.png'} is in colour, and one channel, gray is expected"


def test_a_folder_without_images(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none")
    assert refused("--given", tmp_path / "empty") == f"--given: there is no image in the folder {tmp_path / 'empty'}"


@pytest.mark.parametrize("as_view", [[], ["--as-view"]])
@pytest.mark.parametrize("stage", [-1, 2, 10])
def test_stages_that_are_not_there(refused, pictures, stage, as_view):
    message = refused("--given", pictures, "--stage", stage, *as_view)
    assert message == f"--stage {stage}: this model has stages 0 … 1"


@pytest.mark.parametrize("arguments", [[], ["--stage", "0"], ["--as-view"]])
def test_a_model_without_a_view(refused, bare, tmp_path, arguments):
    Image.new("L", (8, 8)).save(tmp_path / "gray.png")
    message = refused("--given", tmp_path / "gray.png", *arguments, run=bare)
    assert message == "--given: this model has no stage, so there is no view to draw from; --keep completes images"


@pytest.mark.parametrize("rows", ["0", "8", "9", "1000"])
def test_rows_that_leave_nothing_to_keep_or_draw(refused, pictures, rows):
    message = refused("--given", pictures, "--keep", rows)
    assert message == f"--keep {rows}: a number of rows between 1 and 7 is expected"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"not a picture", "cannot be read: it is in no image format that Pillow knows"),
        ("truncated", "cannot be read: "),
        ("huge", "cannot be read: "),
        (Image.new("L", (4, 4)), "has 4×4 pixels, and the image has 8×8"),
        (Image.new("RGB", (8, 9)), "has 9×8 pixels, and the image has 8×8"),
    ],
)
def test_masks_that_are_none(refused, pictures, tmp_path, content, message):
    path = tmp_path / "mask.png"
    write_wrong(path, content)
    assert refused("--given", pictures, "--keep", path).startswith(f"--keep {path} {message}")


def test_options_that_do_not_go_together(refused, pictures):
    apart = "--keep completes images, --stage and --as-view draw from a view: they do not go together"
    assert refused("--given", pictures, "--keep", 3, "--stage", 0) == apart
    assert refused("--given", pictures, "--keep", 3, "--as-view") == apart
    for option in (["--stage", 0], ["--as-view"], ["--keep", 3]):
        assert refused(*option) == f"{option[0]} needs --given, the images to draw from"


def test_a_run_that_is_not_finished(refused, pictures, tmp_path_factory):
    table = changed(tiny(pictures), training__steps=1)
    path = run(tmp_path_factory.mktemp("unfinished") / "run", table, only=["prior"])
    for arguments in ([], ["--keep", "3"], ["--as-view"]):
        message = refused("--given", pictures, *arguments, run=path)
        file = path / "factors" / "stage0" / "weights.safetensors"
        assert message.startswith(f"{file} is missing: factor stage0 is not trained")


@pytest.mark.parametrize("arguments", [[], ["--keep", "3"]])
def test_draws_that_are_none(refused, pictures, arguments):
    assert "samples.json" not in refused("--given", pictures, *arguments, "-n", 0)


def test_the_number_of_draws_can_be_set_as_any_key(sampled, pictures):
    arrays, _ = sampled("--given", pictures / "000.png", "--set", "sampling.images=7")
    assert arrays["images"].shape[:2] == (1, 7)


def test_an_image_without_a_transparent_pixel_may_have_a_channel_for_it(sampled, pictures, tmp_path):
    with Image.open(pictures / "000.png") as picture:
        picture.convert("RGBA").save(tmp_path / "opaque.png")
    expected, _ = sampled("--given", pictures / "000.png", "-n", 1)
    found, _ = sampled("--given", tmp_path / "opaque.png", "-n", 1)
    assert np.array_equal(found["images"], expected["images"])


def test_more_than_a_thousand_draws_make_way_as_fewer_do(sampled, pictures, tmp_path):
    images = tmp_path / "many" / "images"
    sampled("--given", pictures / "000.png", "-n", 1, out=images.parent)
    shutil.copy(images / "000000-000.png", images / "000000-1000.png")
    sampled("--given", pictures / "000.png", "-n", 1, out=images.parent)
    assert [file.name for file in images.iterdir()] == ["000000-000.png"]


def test_draws_under_every_rule_are_those_of_the_api(finished, sampled, pictures):
    model = auxar.load(finished)
    arrays, _ = sampled("--given", pictures / "002.png", "--rule", "reduced", "--reduction", 1.5, "-n", 2, "--seed", 9)
    draws = Draws(9, (0, 1), DrawRule("reduced", reduction=1.5))
    with torch.no_grad():
        expected = draw_from_view(model, as_tensor(arrays["view"]).expand(2, -1, -1, -1), 0, draws, AutoSampler())
    assert torch.equal(as_tensor(arrays["images"][0]), expected[0])
