"""Tests of the pictures that a factor's folder keeps during training."""

from __future__ import annotations

import itertools

from auxar.draw.previews import MOST_PICTURES, _thin_out, pictures


def test_kept_pictures_are_evenly_spaced_and_include_the_last_one(tmp_path):
    (tmp_path / "samples-mine.png").touch()
    for step in [*range(5, 1001, 5), 1003]:
        (tmp_path / f"samples-{step:09d}.png").touch()
        _thin_out(tmp_path)
        steps = [found for found, _ in pictures(tmp_path)]
        assert steps[-1] == step
        assert min(step // 5, MOST_PICTURES // 2) <= len(steps) <= MOST_PICTURES
    assert {after - before for before, after in itertools.pairwise([0, *steps[:-1]])} == {5, 20}
    assert (tmp_path / "samples-mine.png").exists()
