"""Tests that a user's function sees every training step."""

import json

import numpy as np
import pytest
from helpers.tiny_runs import assert_same_training, run, tiny

import auxar


def test_a_function_sees_every_step_and_may_end_the_training(pictures, tmp_path):
    steps: list[auxar.TrainingStep] = []
    table = tiny(pictures, training__log_every=2, training__checkpoint_every=2, sampling__images=0)
    with auxar.on_step(steps.append):
        folder = run(tmp_path / "run", table)
    for name in ("stage0", "prior"):
        own = [step for step in steps if step.factor == name]
        assert [step.step for step in own] == [1, 2, 3, 4]
        assert {step.total_steps for step in own} == {4}
        lines = [json.loads(line) for line in (folder / "factors" / name / "metrics.jsonl").read_text().splitlines()]
        assert [line["bits_per_dim"] for line in lines] == [
            np.mean([own[at].bits_per_dim, own[at + 1].bits_per_dim]) for at in (0, 2)
        ]
        assert [line["gradient_norm"] for line in lines] == [own[1].gradient_norm, own[3].gradient_norm]
        assert [line["learning_rate"] for line in lines] == [own[1].learning_rate, own[3].learning_rate]
    seen: list[tuple[str, int]] = []

    def stop(step):
        seen.append((step.factor, step.step))
        if len(seen) == 3:
            raise RuntimeError("enough")

    with auxar.on_step(stop):
        with pytest.raises(RuntimeError, match="enough"):
            run(tmp_path / "stopped", table)
        run(tmp_path / "stopped", table)
    assert seen == [
        ("prior", 1),
        ("prior", 2),
        ("prior", 3),
        ("prior", 3),
        ("prior", 4),
        *(("stage0", at) for at in range(1, 5)),
    ]
    assert_same_training(folder, tmp_path / "stopped")
    count = len(steps)
    run(tmp_path / "unseen", table)
    assert len(steps) == count
