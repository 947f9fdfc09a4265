"""Tests of drawing images from the views of given images and of completing given images: results, files and
refusals."""

from __future__ import annotations

import itertools

import attrs
import numpy as np
import pytest
import torch
from helpers.causal_networks import SEEDS, all_images, generator, masks, random_images, randomized, sample
from helpers.sheets import cells, enlarged
from helpers.tiny_runs import arrays_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from auxar.draw.images import Images
from auxar.draw.plan import Given, plan_of
from auxar.draw.samples import Samples
from auxar.draw.sheets import to_uint8
from auxar.files import read_json
from auxar.model import CausalDistribution, Chain, Factor, ImageSpec, Known, SampleRequest, View
from auxar.recipe import DataConfig, SamplingConfig
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads import logistic_mixture
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers import AutoSampler, CachedSampler, RasterSampler, WavefrontSampler

SAMPLERS = st.sampled_from([AutoSampler(), RasterSampler(), CachedSampler("torch"), WavefrontSampler("torch")])
GRAYS = 16

DATA = DataConfig("pictures")


def chain_of(image: ImageSpec, *configs: PyramidConfig | GrayscaleConfig):
    """Returns a chain of views, from the image's view to the coarsest."""
    views: list[View] = []
    for config in configs:
        views.append(PyramidView(config, image) if isinstance(config, PyramidConfig) else GrayscaleView(config, image))
        image = views[-1].view
    return views


def model_of(views, seed=3):
    """Returns a small float64 model of a chain of views, initialized such that drawn images depend on the view."""
    light = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
    prior = CausalDistribution(components.light(light, views[-1].view))
    stages: list[Factor] = []
    for view in reversed(views):
        config = components.EmbeddingConfig(filters=2, blocks_per_group=1)
        embedding = components.embedding(config, view.view, view.image)
        decoder = CausalDistribution(components.light(light, view.image, embedding.features_channels))
        stages.insert(0, Factor(decoder, view=view, embedding=embedding))
    found = Chain([*stages, Factor(prior)])
    randomized(found, seed)
    for factor in found.factors:
        coarser = None if factor.view_spec is None else random_images(64, factor.view_spec, seed + 1)
        factor.initialize(random_images(64, factor.image, seed), coarser)
    for stage in stages:
        # New networks predict nearly the same for every pixel.
        stage.distribution.network.out.gain.data.mul_(10)
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
    """Draws a model and the number of one of its stages."""
    model = MODELS[draw(st.sampled_from(sorted(MODELS)))]
    return model, draw(st.integers(0, len(model.specs) - 2))


def drawn(model, source, folder, sampler=None, **config):
    """Draws images into a folder, and returns the arrays and the JSON facts that it writes."""
    sampling = SamplingConfig(**config)
    plan = plan_of(
        model,
        None,
        None,
        given=source,
        draws=sampling.images,
        seed=sampling.seed,
        batch_size=sampling.batch_size,
        sampler=sampler or AutoSampler(),
    )
    Samples(model, plan, sampling, folder, {}, replace=True).do()
    return arrays_of(folder), read_json(folder / "samples.json")


def names(count):
    return tuple(f"{number}.png" for number in range(count))


def from_images(model, images, stage):
    return Given(stage + 1, model.views(images)[stage + 1], Images(images, model.image), names=names(len(images)))


def completing(model, images, mask):
    return Given(1, None, Images(images, model.image), Known(images, mask), names(len(images)))


# Drawn from a view ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(case=cases(), sampler=SAMPLERS, seed=SEEDS, indices=st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_what_is_drawn_from_a_view_is_what_the_decoders_draw_pixel_by_pixel(case, sampler, seed, indices):
    model, stage = case
    specs = model.specs
    view = random_images(len(indices), specs[stage + 1], seed)
    request = SampleRequest(tuple(indices), seed)
    with torch.no_grad():
        views = model.draw_from(view, request, sampler, from_depth=stage + 1)
        assert len(views) == stage + 2
        assert torch.equal(views[-1], view)
        for depth, part in enumerate(model.factors[: stage + 1]):
            own = attrs.evolve(request, depth=depth, given=part.given(views[depth + 1]))
            expected = sample(RasterSampler(), part.network, own, features=part.embedding(views[depth + 1]))
            specs[depth].check_range(expected)
            assert torch.equal(views[depth], expected)


@settings(deadline=None, max_examples=15)
@given(case=cases(), sampler=SAMPLERS, seed=SEEDS, first=st.integers(0, 10**6), count=st.integers(1, 4))
def test_a_sample_is_drawn_again_from_its_own_drawn_view(case, sampler, seed, first, count):
    model, stage = case
    request = SampleRequest(tuple(range(first, first + count)), seed)
    with torch.no_grad():
        views = model.draw_views(request, sampler)
        again = model.draw_from(views[stage + 1], request, sampler, from_depth=stage + 1)
    for view, other in zip(views[: stage + 2], again, strict=True):
        assert torch.equal(view, other)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_draws_depend_on_their_own_view_alone(model, seed):
    for stage, spec in enumerate(model.specs[1:]):
        view = random_images(1, spec, seed)
        other = spec.levels - 1 - view
        request = SampleRequest(tuple(range(32)), seed)
        with torch.no_grad():
            alone = model.draw_from(view.expand(32, -1, -1, -1), request, AutoSampler(), from_depth=stage + 1)
            mixed = model.draw_from(torch.cat([view, other] * 16), request, AutoSampler(), from_depth=stage + 1)
        assert all(torch.equal(mixed[depth][::2], alone[depth][::2]) for depth in range(stage + 1))
        assert not torch.equal(mixed[stage][1::2], alone[stage][1::2])


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    """Images drawn from a given image do not depend on the batch size or on the images that are given after it."""
    model, stage = case
    images = random_images(count + more, model.image, seed)
    mask = torch.rand(images[:, 0].shape, generator=generator(seed)) < 0.4

    def source(upto):
        return completing(model, images[:upto], mask[:upto]) if completes else from_images(model, images[:upto], stage)

    few, _ = drawn(model, source(count), tmp_path, images=each, seed=seed, batch_size=sizes[0])
    many, _ = drawn(model, source(count + more), tmp_path, images=each, seed=seed, batch_size=sizes[1])
    assert few.keys() == many.keys()
    for name, values in few.items():
        if name.startswith("nats"):
            np.testing.assert_allclose(many[name][:count], values, rtol=1e-12)
        else:
            assert np.array_equal(many[name][:count], values)


# Completed -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), seed=SEEDS, count=st.integers(1, 3), each=st.integers(1, 3), data=st.data())
def test_completion_never_changes_a_pixel_that_is_kept(tmp_path, case, seed, count, each, data):
    model, _ = case
    images = random_images(count, model.image, seed)
    mask = data.draw(masks(model.image, count))
    arrays, facts = drawn(model, completing(model, images, mask), tmp_path, images=each, seed=seed, batch_size=4)
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
    "pyramid of colors": chain_of(ImageSpec(3, height=2, width=2, levels=2), PyramidConfig(2)),
    "pyramid by 3": chain_of(ImageSpec(1, height=3, width=3, levels=2), PyramidConfig(3)),
    "grays": chain_of(ImageSpec(3, height=2, width=2, levels=2), GrayscaleConfig(2)),
    "grays of 4 levels": chain_of(ImageSpec(3, height=1, width=2, levels=4), GrayscaleConfig(3)),
    "nested pyramids": chain_of(ImageSpec(1, height=4, width=4, levels=2), PyramidConfig(2), PyramidConfig(2)),
    "means and their grays": chain_of(ImageSpec(3, height=2, width=2, levels=2), PyramidConfig(2), GrayscaleConfig(2)),
    "grays and their means": chain_of(ImageSpec(3, height=2, width=2, levels=2), GrayscaleConfig(2), PyramidConfig(2)),
}


def extent(values, group):
    """Returns the minimum and the maximum of each group of values, shape (groups, …), for values of shape (n, …)."""
    flat = values.flatten(1)
    start = torch.zeros((int(group.max()) + 1, flat.shape[1]), dtype=torch.int64)
    places = group[:, None].expand_as(flat)
    found = [start.scatter_reduce(0, places, flat, which, include_self=False) for which in ("amin", "amax")]
    return [part.view(-1, *values.shape[1:]) for part in found]


@pytest.mark.parametrize("views", TINY_VIEWS.values(), ids=TINY_VIEWS)
def test_known_of_a_view_is_what_is_the_same_for_every_filling(views):
    """A pixel of a view is known if and only if it is equal for all images that agree on the known pixels."""
    image = views[0].image
    every = all_images(image)
    views_of_all = [every]
    for view in views:
        views_of_all.append(view(views_of_all[-1]))
    subsets = list(itertools.product([False, True], repeat=image.height * image.width))
    for subset in subsets[:: max(1, len(every) * len(subsets) // 2**22)]:
        mask = torch.tensor(subset).view(image.height, image.width)
        # Images are in the same group if they agree on the known pixels.
        digits = every[:, :, mask].flatten(1)
        group = (digits * image.levels ** torch.arange(digits.shape[1])).sum(1)
        known = Known(every, mask.expand(len(every), -1, -1))
        for view, values in zip(views, views_of_all[1:], strict=True):
            known = view.known(known)
            low, high = extent(values, group)
            assert torch.equal((low == high).all(1).all(0), known.mask[0])
            assert (known.mask == known.mask[:1]).all()
            where = known.mask[:, None].expand_as(values)
            assert torch.equal(known.values[where], values[where])


# Written files -------------------------------------------------------------------------------------------------------


def slow_agreement(first, second):
    """Returns the share of pixels with equal channels in two images of shape (c, h, w)."""
    _, height, width = first.shape
    agree = [all(first[:, row, column] == second[:, row, column]) for row in range(height) for column in range(width)]
    return sum(agree) / len(agree)


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), seed=SEEDS, count=st.integers(1, 3), each=st.integers(1, 3), completes=st.booleans())
def test_figures_are_those_of_the_drawn_images(tmp_path, case, seed, count, each, completes):
    """Recomputes the shapes, the agreement with the view and the likelihoods of the drawn images."""
    model, stage = case
    specs = model.specs
    images = random_images(count, model.image, seed)
    mask = torch.rand(images[:, 0].shape, generator=generator(seed)) < 0.4
    source = completing(model, images, mask) if completes else from_images(model, images, stage)
    arrays, facts = drawn(model, source, tmp_path, images=each, seed=seed, batch_size=4)
    rows = torch.arange(count).repeat_interleave(each)
    request = SampleRequest(tuple(range(count * each)), seed)
    with torch.no_grad():
        if completes:
            views = model.draw_views(attrs.evolve(request, known=Known(images[rows], mask[rows])), RasterSampler())
            last, chain = 1, model.factors
            kept = {"given", "known"}
        else:
            views = model.draw_from(source.view[rows], request, RasterSampler(), from_depth=stage + 1)
            last, chain = stage + 1, model.factors[: stage + 1]
            kept = {"given", "view"}
            assert np.array_equal(arrays["view"], model.views(images)[last])
            assert facts["drawn_from"] == f"depth {last}"
        nats = [factor(*views[k : k + 2]) for k, factor in enumerate(chain)]
    assert np.array_equal(arrays["given"], images)
    names_of_views = ["images", *(f"view{k}" for k in range(1, len(chain)))]
    assert arrays.keys() == {*kept, *names_of_views, "view_agreement", *(f"nats_{f.name}" for f in chain)}
    for name, view, spec in zip(names_of_views, views, specs, strict=False):
        assert np.array_equal(arrays[name], view.view(count, each, *spec.shape))
    for factor, expected in zip(chain, nats, strict=True):
        assert arrays[f"nats_{factor.name}"].shape == (count, each)
        np.testing.assert_allclose(arrays[f"nats_{factor.name}"], expected.view(count, each), rtol=1e-10)
    own = model.views(views[0])[last]
    agreement = [slow_agreement(*pair) for pair in zip(own.numpy(), views[last].numpy(), strict=True)]
    assert arrays["view_agreement"].shape == (count, each)
    np.testing.assert_allclose(arrays["view_agreement"].ravel(), agreement)
    assert facts["view_agreement"] == pytest.approx(np.mean(agreement))
    assert (facts["count"], facts["draws_each"], facts["given"]) == (count * each, each, list(names(count)))
    pictures = sorted(file.name for file in (tmp_path / "images").iterdir())
    assert pictures == [f"{number:06d}-{draw:03d}.png" for number, draw in np.ndindex(count, each)]


def test_agreement_is_whole_where_the_view_leaves_no_choice(tmp_path):
    """If all pixels are known, the drawn images equal the given ones and agree fully with their view."""
    model = MODELS["nested pyramids"]
    images = random_images(2, model.image)
    whole = torch.ones_like(images[:, 0], dtype=torch.bool)
    arrays, facts = drawn(model, completing(model, images, whole), tmp_path, images=2)
    assert (arrays["view_agreement"] == 1).all()
    assert facts["view_agreement"] == 1
    assert (arrays["images"] == images.numpy()[:, None]).all()


def test_the_sheet_shows_what_is_given_and_what_is_drawn(tmp_path):
    model = MODELS["nested pyramids"]
    images = random_images(2, model.image)
    mask = torch.zeros_like(images[:, 0], dtype=torch.bool)
    mask[:, :3] = True
    for source, stage in ((from_images(model, images, 1), 2), (completing(model, images, mask), 0)):
        arrays, _ = drawn(model, source, tmp_path, images=2)
        picture = Image.open(tmp_path / "samples.png")
        second = source.view
        if second is None:
            # The sheet shows unknown pixels in gray.
            second = torch.where(source.known.mask[:, None], images, model.image.levels // 2)
        spec = model.specs[stage]
        columns = [(images, model.image), (second, spec)]
        columns += [(torch.from_numpy(arrays["images"][:, draw]), model.image) for draw in range(2)]
        shown = cells(picture, len(images), len(columns), 128, 64)
        for column, (values, own) in enumerate(columns):
            for row, colors in enumerate(to_uint8(values, own)):
                assert np.array_equal(shown[row, column], enlarged(colors, 128, 64))
