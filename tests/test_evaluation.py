"""Figures are sums over images, each counted once, and sums over channels."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import SEEDS, all_images, generator, light_networks, random_features, random_images, specs
from runs import call, command, run, tiny
from safetensors import safe_open

import auxar
from auxar.causal import CausalDecoder, CausalPrior
from auxar.cli import main
from auxar.cli.evaluate import evaluation_lines
from auxar.data import DataSets, load_images
from auxar.evaluation import factor_nats
from auxar.files import read_json
from auxar.interfaces import Head, ImageSpec, Prior
from auxar.model import factors, image_levels
from auxar.recipe import load_recipe
from auxar.running import evaluate
from auxar_pixelcnn.heads import LogisticMixtureHead, SoftmaxHead

COUNTS = {"heldout": 6, "training": 18}
DIMS = [192, 48, 12]
MEASURED = re.compile(r"-?\d+\.\d+ ± \d+\.\d+|–")


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory) -> Path:
    """A run of three factors."""
    table = tiny(pictures, stage__0__repeat=2, sampling__images=0)
    return run(tmp_path_factory.mktemp("finished") / "run", table)


@pytest.fixture(scope="module")
def data(finished) -> DataSets:
    recipe, registry = load_recipe(finished / "recipe.toml")
    return load_images(recipe.data, recipe.image, registry.dataset_paths())


@pytest.fixture(scope="module")
def nats(finished, data) -> dict[str, torch.Tensor]:
    """Each image of each set alone: its log-likelihood factor by factor, shape (factors, images)."""
    model = auxar.load(finished)
    found = {}
    for name, images in (("heldout", data.heldout), ("training", data.train)):
        with torch.no_grad():
            single = [
                torch.stack([part.log_prob for part in model.log_probs(pixels[None])])
                for _, pixels in images.every(1, 0, None)
            ]
        found[name] = torch.cat(single, dim=1).double()
        assert found[name].shape == (3, COUNTS[name])
    return found


@pytest.fixture(scope="module")
def bits(finished, data) -> dict[str, list[float]]:
    """bits/dim of each image of each set alone, by the whole model in float64."""
    model = auxar.load(finished).double()
    with torch.no_grad():
        return {
            name: [model.log_prob(pixels[None]).item() / (-math.log(2) * 192) for _, pixels in images.every(1, 0, None)]
            for name, images in (("heldout", data.heldout), ("training", data.train))
        }


def error_of(values: np.ndarray) -> float:
    return values.std(ddof=1) / math.sqrt(len(values))


# Every image once


@pytest.mark.parametrize("batch_size", [1, 4, 7, 64])
@pytest.mark.parametrize("limit", [None, 1, 5, 17])
def test_every_image_counts_once_whatever_the_batch(finished, data, nats, batch_size, limit):
    model = auxar.load(finished)
    chain = factors(model)
    found = factor_nats(model, chain, data.train, Accelerator(), batch_size=batch_size, limit=limit)
    assert all(each.total.dtype == torch.float64 for each in found)
    total = torch.stack([each.total for each in found])
    torch.testing.assert_close(total, nats["training"][:, :limit], rtol=1e-5, atol=1e-3)


def test_factors_can_be_evaluated_apart(finished, data, nats):
    model = auxar.load(finished)
    for index, factor in enumerate(factors(model)):
        [found] = factor_nats(model, [factor], data.heldout, Accelerator(), batch_size=4)
        torch.testing.assert_close(found.total, nats["heldout"][index], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_total_is_that_of_single_images_in_float64(finished, bits, batch_size):
    table = read_json(evaluate(finished, settings=[f"evaluation.batch_size={batch_size}"]).evaluation)
    for name, values in bits.items():
        assert table["bits_per_dim"][name] == pytest.approx(np.mean(values), abs=1e-5)
        assert table["standard_error"][name] == pytest.approx(error_of(np.array(values)), abs=1e-5)


def test_two_processes_evaluate_as_one_and_print_once(finished, bits):
    """Of one training image, which the second process has no part in."""
    options = ["--set", "evaluation.batch_size=2", "evaluation.train_images=1"]
    before = read_json(finished / "evaluation.json")
    done = call(command("evaluate", finished, *options, processes=2), finished.parent)
    assert done.returncode == 0, done.stderr
    table = read_json(finished / "evaluation.json")
    assert table["images"] == {"heldout": 6, "training": 1}
    assert table["bits_per_dim"]["heldout"] == pytest.approx(np.mean(bits["heldout"]), abs=1e-5)
    assert table["bits_per_dim"]["training"] == pytest.approx(bits["training"][0], abs=1e-5)
    for entry, alone in zip(table["factors"], before["factors"], strict=True):
        for channel, other in zip(entry["heldout"]["channels"], alone["heldout"]["channels"], strict=True):
            assert channel["nats"] == pytest.approx(other["nats"], rel=1e-5)
        assert len(entry["training"]["channels"]) == 3
    assert done.stdout.splitlines() == evaluation_lines(table)


def test_totals_are_sums_of_single_images(finished, data, nats):
    model = auxar.load(finished)
    table = read_json(evaluate(finished).evaluation)
    for name in COUNTS:
        total = nats[name].sum(0)
        chosen = data.heldout if name == "heldout" else data.train
        images = torch.stack([pixels for _, pixels in chosen.every(1, 0, None)])
        with torch.no_grad():
            torch.testing.assert_close(model.log_prob(images).double(), total, rtol=1e-5, atol=1e-3)
        bits = -total / math.log(2) / 192
        assert table["bits_per_dim"][name] == pytest.approx(bits.mean().item(), rel=1e-6)
        assert table["standard_error"][name] == pytest.approx(error_of(bits.numpy()), rel=1e-4)
        assert table["images"][name] == COUNTS[name]


# What the table holds


def test_figures_of_each_factor(finished, nats):
    table = read_json(evaluate(finished).evaluation)
    assert [entry["factor"] for entry in table["factors"]] == ["stage0", "stage1", "prior"]
    for name in COUNTS:
        for index, entry in enumerate(table["factors"]):
            rows = nats[name][index:].numpy()
            own = -rows[0] / math.log(2) / DIMS[index]
            share = -rows[0] / math.log(2) / 192
            together = -rows.sum(0) / math.log(2) / DIMS[index]
            figures = dict(entry[name])
            del figures["channels"]
            assert figures == {
                "nats": pytest.approx(rows[0].mean(), rel=1e-6),
                "nats_standard_error": pytest.approx(error_of(rows[0]), rel=1e-4),
                "bits_per_dim": pytest.approx(own.mean(), rel=1e-6),
                "standard_error": pytest.approx(error_of(own), rel=1e-4),
                "bits_per_dim_of_image": pytest.approx(share.mean(), rel=1e-6),
                "standard_error_of_image": pytest.approx(error_of(share), rel=1e-4),
                "cumulative_bits_per_dim": pytest.approx(together.mean(), rel=1e-6),
                "cumulative_standard_error": pytest.approx(error_of(together), rel=1e-4),
            }
        parts = sum(entry[name]["bits_per_dim_of_image"] for entry in table["factors"])
        assert table["bits_per_dim"][name] == pytest.approx(parts, rel=1e-6)


def test_held_out_less_training(finished):
    table = read_json(evaluate(finished).evaluation)
    for entry in table["factors"]:
        sides = [entry[name] for name in ("heldout", "training")]
        assert entry["difference"] == {
            "bits_per_dim": pytest.approx(sides[0]["bits_per_dim"] - sides[1]["bits_per_dim"]),
            "standard_error": pytest.approx(math.hypot(*(side["standard_error"] for side in sides))),
        }
    bits, errors = table["bits_per_dim"], table["standard_error"]
    assert table["difference"] == {
        "bits_per_dim": pytest.approx(bits["heldout"] - bits["training"]),
        "standard_error": pytest.approx(math.hypot(errors["heldout"], errors["training"])),
    }


def test_the_table_says_what_it_is_about(finished, data):
    table = read_json(evaluate(finished).evaluation)
    keys = {"bits_per_dim", "standard_error", "difference", "kind", "factors", "images", "weights", "data"}
    assert table.keys() == keys
    assert (table["kind"], table["weights"]) == ("bound", "ema")
    recipe, _ = load_recipe(finished / "recipe.toml")
    assert data.heldout.fingerprint != data.train.fingerprint
    assert table["data"] == {
        "path": recipe.data.path,
        "fingerprint": data.train.fingerprint,
        "heldout_fingerprint": data.heldout.fingerprint,
        "skipped": 0,
    }
    sizes = [8, 4, 2]
    for factor, entry, size in zip(factors(auxar.load(finished)), table["factors"], sizes, strict=True):
        assert entry["image"] == {"channels": 3, "height": size, "width": size, "levels": 256}
        below = {"channels": 3, "height": size // 2, "width": size // 2, "levels": 256}
        assert entry["view"] == (None if entry["factor"] == "prior" else below)
        assert entry["parameters"] == sum(parameter.numel() for parameter in factor.parameters())
        assert (entry["steps"], entry["weights"]) == (4, "ema")
        assert entry["trained_on"] == data.train.fingerprint


def test_a_model_without_views_is_exact(pictures, tmp_path):
    table = tiny(pictures, stage=None, sampling__images=0, training__ema=0.0, evaluation__train_images=0)
    folder = run(tmp_path / "run", table)
    table = read_json(folder / "evaluation.json")
    assert (table["kind"], table["weights"]) == ("exact", "last")
    assert table["bits_per_dim"]["heldout"] == table["factors"][0]["heldout"]["bits_per_dim"]
    lines = evaluation_lines(table)
    assert "weights   last, those of the last step" in lines
    assert "total     exact, log p(X)" in lines
    assert "training  not evaluated" in lines
    assert not [line for line in lines if line.startswith(("Training images", "Held-out less"))]


def test_other_settings_for_one_evaluation(finished):
    before = (finished / "recipe.toml").read_bytes(), read_json(evaluate(finished).evaluation)
    table = read_json(
        evaluate(
            finished, settings=["evaluation.train_images=0", "evaluation.heldout_images=1", "evaluation.batch_size=5"]
        ).evaluation
    )
    assert table["images"] == {"heldout": 1}
    assert table["bits_per_dim"]["training"] is None
    assert table["bits_per_dim"]["heldout"] is not None
    assert table["standard_error"] == {"heldout": None, "training": None}
    assert table["difference"] == {"bits_per_dim": None, "standard_error": None}
    assert not [line for line in evaluation_lines(table)[5:] if "± " in line.replace("± standard error", "")]
    assert (finished / "recipe.toml").read_bytes() == before[0]
    assert read_json(evaluate(finished).evaluation) == before[1]


def test_factors_see_adjacent_levels_only(finished, data):
    model = auxar.load(finished)
    images = torch.stack([pixels for _, pixels in data.heldout.every(1, 0, None)])
    levels = [*image_levels(model, images), None]
    with torch.no_grad():
        for index, (factor, part) in enumerate(zip(factors(model), model.log_probs(images), strict=True)):
            assert (part.factor, part.image) == (factor.name, factor.image)
            torch.testing.assert_close(factor(levels[index], levels[index + 1]), part.log_prob)


# Single images


def test_log_likelihoods_of_single_images_are_kept(finished, data, nats):
    evaluate(finished, settings=["evaluation.train_images=5"])
    with safe_open(finished / "evaluation.safetensors", framework="np") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    assert kept.keys() == {"heldout.nats", "heldout.indices", "training.nats", "training.indices"}
    for name, count in (("heldout", 6), ("training", 5)):
        assert kept[f"{name}.nats"].dtype == np.float64
        np.testing.assert_allclose(kept[f"{name}.nats"], nats[name][:, :count].numpy(), rtol=1e-5, atol=1e-3)
        assert kept[f"{name}.indices"].tolist() == list(range(count))
    assert json.loads(metadata["factors"]) == ["stage0", "stage1", "prior"]
    assert metadata["heldout"] == data.heldout.fingerprint
    assert metadata["training"] == data.train.fingerprint
    table = read_json(finished / "evaluation.json")
    assert table["factors"][1]["heldout"]["nats"] == pytest.approx(kept["heldout.nats"][1].mean(), rel=1e-12)


# Channels


@st.composite
def pixels(draw):
    """A head, its image, and parameters of two pixels that differ: (1, parameter_count, 1, 2)."""
    image = ImageSpec(draw(st.sampled_from([1, 3])), height=1, width=2, levels=draw(st.integers(2, 5)))
    head = draw(st.sampled_from([SoftmaxHead(image), LogisticMixtureHead(image, 1), LogisticMixtureHead(image, 3)]))
    parameters = 2 * torch.randn(1, head.parameter_count, 1, 2, generator=generator(draw(SEEDS)), dtype=torch.float64)
    return head, image, parameters


@settings(deadline=None, max_examples=40)
@given(drawn=pixels())
def test_a_channel_is_what_enumerating_all_others_leaves(drawn):
    head, image, parameters = drawn
    values = all_images(ImageSpec(image.channels, height=1, width=1, levels=image.levels)).expand(-1, -1, -1, 2)
    parameters = parameters.expand(len(values), -1, -1, -1)
    joint = head.log_prob(parameters, values)[:, 0]
    found = head.channel_log_prob(parameters, values)
    assert found.shape == values.shape
    torch.testing.assert_close(found.sum(1)[:, 0], joint, rtol=1e-9, atol=1e-9)
    # log p(x_1 … x_n): the mass of every value that begins so.
    cube = joint.view(*[image.levels] * image.channels, 2)
    before = torch.zeros_like(joint)
    for channel in range(image.channels):
        rest = tuple(range(channel + 1, image.channels))
        beginning = (cube.logsumexp(rest, keepdim=True) if rest else cube).expand_as(cube).reshape(-1, 2)
        torch.testing.assert_close(found[:, channel, 0], beginning - before, rtol=1e-9, atol=1e-9)
        before = beginning


@settings(deadline=None, max_examples=25)
@given(network=light_networks(images=specs(sizes=st.sampled_from([(3, 4)])), blocks=(1,)), seed=SEEDS)
def test_channels_add_up_to_the_image(network, seed):
    images = random_images(3, network.image, seed)
    features = random_features(network, 3, seed)
    model, given = (CausalPrior(network), ()) if features is None else (CausalDecoder(network), (features,))
    with torch.no_grad():
        nats, channels = model.log_prob_by_channel(images, *given)
        assert torch.equal(nats, model.log_prob(images, *given))
        single = network.head.channel_log_prob(network(network.encode(images), *given), images)
    assert channels.shape == (3, network.image.channels)
    torch.testing.assert_close(channels.sum(1), nats, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(channels[:, -1], single[:, -1].sum((1, 2)), rtol=1e-9, atol=1e-9)


def test_figures_of_channels(finished):
    table = read_json(evaluate(finished).evaluation)
    for entry in table["factors"]:
        for figures in (entry["heldout"], entry["training"]):
            channels = figures["channels"]
            assert len(channels) == 3
            assert sum(each["nats"] for each in channels) == pytest.approx(figures["nats"], rel=1e-5)
            shares = sum(each["bits_per_dim_of_image"] for each in channels)
            assert shares == pytest.approx(figures["bits_per_dim_of_image"], rel=1e-5)
            assert np.mean([each["bits_per_dim"] for each in channels]) == pytest.approx(figures["bits_per_dim"], 1e-5)


def test_the_standard_error_of_a_channel(finished, data):
    model = auxar.load(finished)
    levels = image_levels(model, torch.stack([pixels for _, pixels in data.heldout.every(1, 0, None)]))
    with torch.no_grad():
        _, channels = model.prior.prior.log_prob_by_channel(levels[2])
    bits = channels[:, 1].double().numpy() / (-math.log(2) * 4)
    found = read_json(evaluate(finished).evaluation)["factors"][2]["heldout"]["channels"][1]
    assert found["bits_per_dim"] == pytest.approx(bits.mean(), rel=1e-5)
    assert found["standard_error"] == pytest.approx(error_of(bits), rel=1e-4)


def test_heads_that_do_not_tell_channels_apart_show_none(finished, data, monkeypatch):
    model = auxar.load(finished)
    monkeypatch.setattr(model.decoder.network.head, "channel_log_prob", lambda parameters, image: None)
    found = factor_nats(model, factors(model), data.heldout, Accelerator(), batch_size=4)
    assert [each.channels is None for each in found] == [True, False, False]
    monkeypatch.setattr(LogisticMixtureHead, "channel_log_prob", Head.channel_log_prob)
    table = read_json(evaluate(finished).evaluation)
    assert all(entry[name]["channels"] is None for entry in table["factors"] for name in COUNTS)
    assert "channel" not in "\n".join(evaluation_lines(table))


class Uniform(Prior):
    """A prior that is no causal network."""

    def __init__(self, image):
        super().__init__()
        self.image = image

    def log_prob(self, image):
        return torch.full((len(image),), -self.image.dims * math.log(self.image.levels))

    def draw(self, draws, sampler, known=None):
        raise NotImplementedError


def test_any_prior_can_be_evaluated(data):
    model = Uniform(data.heldout.image)
    [found] = factor_nats(model, factors(model), data.heldout, Accelerator(), batch_size=4)
    assert found.channels is None
    assert (found.total / (-math.log(2) * 192)).tolist() == pytest.approx([8.0] * 6)


# On the screen


def test_what_is_printed(finished, capsys):
    assert main(["evaluate", str(finished)]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = read_json(finished / "evaluation.json")
    assert lines == evaluation_lines(table)
    assert max(map(len, lines)) <= 100
    assert lines[1] == f"held-out  6 images of fingerprint {table['data']['heldout_fingerprint']}"
    assert lines[2] == f"training  18 images of fingerprint {table['data']['fingerprint']}"
    assert lines[3] == "weights   EMA, the running average of the weights"
    assert lines[4].startswith("total     bound, ")
    blocks = [block.splitlines() for block in "\n".join(lines).split("\n\n")[1:]]
    assert [block[0].split(",")[0].split(":")[0] for block in blocks] == [
        "Held-out images",
        "Training images",
        "Held-out less training images",
        "Channels",
    ]
    for block in blocks:
        assert "bits/dim" in block[0]
        rows = ["factor", "stage0", "stage1", "prior", "total"]
        assert [line.split()[0] for line in block[1:]] == rows[: len(block) - 1]
        assert len({len(line) for line in block[1:5]}) == 1


def test_the_printed_figures_are_those_of_the_table(finished):
    table = read_json(evaluate(finished).evaluation)
    heldout, _, sides, channels = (
        block.splitlines()[2:] for block in "\n".join(evaluation_lines(table)).split("\n\n")[1:]
    )

    def shown(value: float, error: float, digits: int = 4) -> str:
        return f"{value:.{digits}f} ± {error:.{digits}f}"

    for place, entry in enumerate(table["factors"]):
        own, training, difference = entry["heldout"], entry["training"], entry["difference"]
        assert MEASURED.findall(heldout[place]) == [
            shown(own["nats"], own["nats_standard_error"], 1),
            shown(own["bits_per_dim"], own["standard_error"]),
            shown(own["bits_per_dim_of_image"], own["standard_error_of_image"]),
            shown(own["cumulative_bits_per_dim"], own["cumulative_standard_error"]),
        ]
        assert MEASURED.findall(sides[place]) == [
            shown(each["bits_per_dim"], each["standard_error"]) for each in (own, training, difference)
        ]
        assert MEASURED.findall(channels[place]) == [
            shown(each["bits_per_dim"], each["standard_error"]) for each in own["channels"]
        ]
    total = shown(table["bits_per_dim"]["heldout"], table["standard_error"]["heldout"])
    assert MEASURED.findall(heldout[3]) == [total]
    assert heldout[3].endswith("(bound)")
    assert MEASURED.findall(sides[3])[0] == total


def test_factors_that_are_not_trained_are_said(pictures, tmp_path):
    folder = run(tmp_path / "run", tiny(pictures), only=["prior"])
    table = read_json(folder / "evaluation.json")
    assert table["factors"][0]["heldout"] is None
    assert table["bits_per_dim"] == {"heldout": None, "training": None}
    lines = evaluation_lines(table)
    assert lines[-1] == "not trained yet, and so no total: stage0"
    stage, prior, total = lines[lines.index("") + 3 :][:3]
    assert MEASURED.findall(stage) == ["–"] * 4
    assert len(MEASURED.findall(prior)) == 4
    assert MEASURED.findall(total) == ["–"]


def test_many_channels_stay_within_the_screen(finished):
    table = read_json(evaluate(finished).evaluation)
    figures = table["factors"][0]["heldout"]
    figures["channels"] = figures["channels"] * 4
    lines = evaluation_lines(table)
    assert max(map(len, lines)) <= 100
    assert "channel 11" in "\n".join(lines)
