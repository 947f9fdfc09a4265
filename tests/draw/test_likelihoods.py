"""Tests of the likelihoods of `ImageModel`: no gradients, evaluation mode, chunks, and the short representation."""

from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import tiny, with_dropout, write

import auxar
from auxar.draw import likelihoods
from auxar.numerics.changing import changed
from auxar.recipe.building import build_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained model of 8×8 images with dropout, in training mode except for the decoder."""
    path = write(tmp_path_factory.mktemp("recipe") / "tiny.toml", with_dropout(tiny(Path("pictures"))))
    recipe = auxar.load_recipe(path)
    torch.manual_seed(0)
    chain = build_model(recipe).train()
    chain.factors[0].distribution.eval()
    return auxar.ImageModel(chain, recipe)


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (7, 3, 8, 8), generator=torch.Generator().manual_seed(0))


def test_modes_are_restored_and_the_chain_stays_differentiable(model, images):
    before = {name: part.training for name, part in model.chain.named_modules()}
    assert len(set(before.values())) == 2
    nats, drawn = model.log_prob(images), model.sample(2).tensor
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.log_prob(images), nats), "dropout or autocast is on"
        assert torch.equal(model.sample(2).tensor, drawn)
    first, second = (changed(model.chain.modules(), training=False) for _ in range(2))  # As in two threads.
    first.__enter__()
    with second:
        first.__exit__(None, None, None)
        assert not any(part.training for part in model.chain.modules())
    assert {name: part.training for name, part in model.chain.named_modules()} == before
    model.chain.log_prob(images).sum().backward()
    assert all(parameter.grad is not None for parameter in model.chain.parameters())
    model.chain.zero_grad()


def test_chunks_are_small(model, images, monkeypatch):
    sizes, original = [], model.chain.log_probs

    def recorded(chunk, **given):
        assert not torch.is_grad_enabled()
        sizes.append(len(chunk))
        return original(chunk, **given)

    monkeypatch.setattr(model.chain, "log_probs", recorded)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    model.bits_per_dim(images, batch_size=3)
    assert sizes == [3, 3, 1]
    monkeypatch.setattr(likelihoods, "CHUNK_PIXELS", 2 * 64)
    model.bits_per_dim(images)
    assert sizes[3:] == [2, 2, 2, 1]


def test_a_gpu_without_memory(model, images, monkeypatch):
    def full(chunk, condition):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(model.chain, "log_probs", full)
    with pytest.raises(
        auxar.UserError, match=r"^cpu does not have enough memory for 8 image\(s\) at once; pass batch_size=2$"
    ):
        model.log_prob(images.repeat(2, 1, 1, 1), batch_size=8)
