"""Tests that recomputed blocks change nothing but the memory and the time of training."""

from typing import Any

import pytest
from helpers.tiny_runs import assert_same_training, run, stopping_after, tiny, with_dropout
from torch import nn

from auxar.model import ImageSpec, RecomputableBlock, recomputing
from auxar_pixelcnn.components import LightConfig, light
from auxar_samplers.compiler.trace import trace

# Settings that use random numbers or compute a step in parts.
EVERYTHING = {
    "training__steps": 4,
    "training__augment": ["flip"],
    "training__accumulate": 2,
    "training__clip": 1.0,
    "training__checkpoint_every": 1,
    "prior": {"name": "transformer", "width": 4, "heads": 2, "blocks": 2},
    "sampling__images": 0,
}


@pytest.mark.parametrize("precision", [pytest.param("float32", marks=pytest.mark.slow), "bf16"])
def test_weights_are_the_same_also_if_recomputation_begins_and_ends_on_the_way(pictures, tmp_path, precision):
    def table(recompute: bool) -> dict[str, Any]:
        found = tiny(pictures, **EVERYTHING, training__precision=precision, training__recompute=recompute)
        return with_dropout(found)

    calls = {False: 0, True: 0}

    def counted(block: RecomputableBlock, inputs: tuple[Any, ...]) -> None:
        calls[block.recomputed] += 1

    kept = run(tmp_path / "kept", table(False))
    with stopping_after(2):
        run(tmp_path / "mixed", table(False))
    # The prior is at step 2 of 4. It ends with recomputation, and the stage is trained with it.
    register = nn.modules.module.register_module_forward_pre_hook
    with register(lambda module, inputs: counted(module, inputs) if isinstance(module, RecomputableBlock) else None):
        mixed = run(tmp_path / "mixed", table(True))
    assert calls[True] == 2 * 2 * ((4 - 2) * 2 + 4 * (5 + 2)), "two calls in both parts of each step for each block"
    assert_same_training(mixed, kept)


def test_recomputed_networks_can_be_compiled():
    """Samples may be drawn while a factor is trained. The program of the sampler is made from the network's layers."""
    network = light(LightConfig(filters=2, blocks=1), ImageSpec(height=4, width=4))
    expected = [(value.name, value.kind) for value in trace(network.eval()).values]
    with recomputing(network):
        assert [(value.name, value.kind) for value in trace(network).values] == expected
