"""Tests of the choice of limits at the end of training, and of the files that hold them."""

import json
import math

import numpy as np
import pytest
import torch
from helpers.evaluations import with_metadata
from helpers.tiny_runs import run, same, snapshot, tiny, weights
from PIL import Image

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.files import read_metadata, read_tensors, write_tensors
from auxar.numerics.threads import ThreadChoice
from auxar.training.limits import LimitChoice
from auxar_codec import codec, compress, decompress

NAME = "log_scales"
COST = 0.0005
"""Bits/dim that a limit may cost by default."""
LIMITED = {"stage0": {NAME: -1.5}, "prior": {NAME: -2.0}}


def weights_of(folder, factor):
    return folder / "factors" / factor / "weights.safetensors"


@pytest.fixture
def unlimited(copied):
    """The finished run as if it had been trained without limits."""
    for name in LIMITED:
        tensors, metadata = read_tensors(weights_of(copied, name))
        del metadata["limits"]
        write_tensors(weights_of(copied, name), tensors, metadata)
    return copied


def limits_of(model):
    return {factor.name: dict(factor.limits) for factor in model.chain.factors}


def written(folder):
    """The limits in the files of weights of a run."""
    entries = {name: read_metadata(weights_of(folder, name)).get("limits") for name in LIMITED}
    return {name: {} if entry is None else json.loads(entry) for name, entry in entries.items()}


@torch.no_grad()
def test_the_lowest_limits_that_cost_next_to_nothing_are_chosen(copied):
    """They are those of the file of weights. The next lower limit costs more."""
    model = auxar.load(copied)
    batch = model.chain.with_views(auxar.load_images(model).train.spaced_examples(1000))
    assert written(copied) == limits_of(model)
    for factor in model.chain.factors:
        stored, values = dict(factor.limits), factor.network.head.limitable[NAME]

        def cost(limit, factor=factor):
            bits = []
            for limits in ({NAME: limit}, {}):
                factor.limit(limits)
                bits.append(-factor(batch).mean().item() / math.log(2) / factor.image.dims)
            return bits[0] - bits[1]

        costs = [cost(value) for value in values]
        cheap = [value for value, bits in zip(values, costs, strict=True) if bits <= COST]
        assert stored == {NAME: min(cheap)}
        assert 0 < len(cheap) < len(values)
        # Any limits that a factor had before have no effect on the choice.
        factor.limit({NAME: values[-1]})
        halves = [batch.rows(rows) for rows in (slice(7), slice(7, None))]
        chosen = LimitChoice(factor, halves, ThreadChoice(None), COST).choose()
        assert factor.limits == stored
        assert chosen == {NAME: pytest.approx(costs[values.index(stored[NAME])], abs=1e-6)}


def test_a_recipe_leaves_limits_out(pictures, tmp_path):
    folder = run(tmp_path / "run", tiny(pictures, training__limits=False, training__steps=1, sampling__images=0))
    assert written(folder) == limits_of(auxar.load(folder)) == {"stage0": {}, "prior": {}}


def test_limits_go_with_the_weights_of_a_run(pictures, copied, tmp_path):
    for name, limits in LIMITED.items():
        with_metadata(weights_of(copied, name), limits=json.dumps(limits))
    model = auxar.load(copied)
    assert limits_of(model) == LIMITED
    model.save(tmp_path / "saved")
    auxar.export(copied, tmp_path / "exported")
    for folder in ("saved", "exported"):
        assert written(tmp_path / folder) == limits_of(auxar.load(tmp_path / folder)) == LIMITED
    # Weights that training starts from have no limits.
    table = tiny(pictures, training__steps=0, training__limits=False, sampling__images=0)
    table["training"]["init"] = str(copied)
    assert written(run(tmp_path / "next", table)) == {"stage0": {}, "prior": {}}


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"log_scale": -1.0}, "has no limit 'log_scale'; did you mean 'log_scales'"),
        ({NAME: 40.0}, "expected a number from -5 to 1, got 40"),
        ({NAME: "-1"}, "is damaged: in its metadata entry 'limits'"),
        ([-1.0], "is damaged: in its metadata entry 'limits'"),
    ],
)
def test_limits_that_a_head_does_not_have_are_refused(copied, limits, message):
    with_metadata(weights_of(copied, "prior"), limits=json.dumps(limits))
    with pytest.raises(UserError, match=message) as error:
        auxar.load(copied)
    assert str(weights_of(copied, "prior")) in str(error.value)


# The command


def test_the_command_gives_a_run_the_limits_that_training_would_have(finished, unlimited):
    metadata = {name: read_metadata(weights_of(finished, name)) for name in LIMITED}
    tensors = weights(unlimited)
    limited = auxar.limits(unlimited)
    assert limited.limits == limits_of(auxar.load(finished)) == limits_of(auxar.load(unlimited))
    assert limited.changed == ("stage0", "prior")
    assert {name: read_metadata(weights_of(unlimited, name)) for name in LIMITED} == metadata
    assert same(weights(unlimited), tensors)
    files = snapshot(unlimited)
    assert auxar.limits(unlimited).changed == ()
    assert snapshot(unlimited) == files


def test_the_command_takes_the_cost_of_limits(copied, capsys):
    lower = auxar.limits(copied, limits_cost=0.5).limits
    assert lower == limits_of(auxar.load(copied))
    assert all(lower[name][NAME] < LIMITED[name][NAME] for name in LIMITED)
    with pytest.raises(UserError, match="limits_cost"):
        auxar.limits(copied, limits_cost=-1)
    assert main(["limits", str(copied), "--limits-cost", "0.5"]) == 0
    assert "(as before)" in capsys.readouterr().out


def test_integers_keep_their_numbers_and_older_files_are_decoded(unlimited, tmp_path):
    """A file that was made without limits is decoded with the same integers, found by the digest without limits."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    values = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    for number, picture in enumerate(values):
        Image.fromarray(picture).save(pictures / f"{number}.png")
    digests = auxar.integers(unlimited).digests
    compress(unlimited, pictures, tmp_path / "older.auxar")
    older = {name: read_tensors(path)[0] for name, path in integers_of(unlimited).items()}
    auxar.limits(unlimited)
    for name, path in integers_of(unlimited).items():
        assert same(read_tensors(path)[0], older[name])
    chain = auxar.load(unlimited, arithmetic="integer").chain
    assert chain.unlimited_digests == chain.without_limits().digests == digests
    assert chain.digests == auxar.integers(unlimited).digests
    assert not set(chain.digests.values()) & set(digests.values())
    compress(unlimited, pictures, tmp_path / "newer.auxar")
    contents = [(tmp_path / f"{name}.auxar").read_bytes() for name in ("older", "newer")]
    assert contents[0] != contents[1]
    loaded = codec(unlimited)
    for number, content in enumerate(contents):
        assert all(map(np.array_equal, map(np.asarray, loaded.decode(content).values()), values))
        run = {"run": unlimited} if number else {}  # Without a run, the folders beside the file are searched.
        decoded = decompress(tmp_path / f"{'newer' if number else 'older'}.auxar", tmp_path / f"{number}", **run)
        assert all(np.array_equal(np.asarray(Image.open(path)), values[int(path.stem)]) for path in decoded.paths)


def integers_of(folder):
    return {path.parent.name: path for path in folder.glob("factors/*/integer.safetensors")}


def test_models_that_come_trained_and_runs_without_images_are_refused(unlimited, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"emoji32: .* export it to a folder"):
        auxar.limits("emoji32")
    files = snapshot(unlimited)
    with pytest.raises(UserError, match=r"data\.path: .* does not exist"):
        auxar.limits(unlimited, settings=["data.path=./missing"])
    assert snapshot(unlimited) == files
