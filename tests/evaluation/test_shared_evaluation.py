"""Tests that processes which evaluate the same run share the images, and that a stopped evaluation goes on."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from helpers.killing import REPETITIONS, outputs_of_killed
from helpers.tiny_runs import calls_of, command, run, stopping_at, tiny, write_pictures

import auxar
from auxar.evaluation.likelihoods import RunEvaluation
from auxar.evaluation.stored import read_evaluation

FILES = ("evaluation.safetensors", "evaluation-integer.safetensors")


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> Path:
    """A run with a free decoder, which was converted to integers and not evaluated."""
    pictures = write_pictures(tmp_path_factory.mktemp("data") / "pictures", 40)
    table = tiny(pictures, data__split__train=0.5, sampling__images=0, evaluation__batch_size=3, evaluation__samples=7)
    folder = run(tmp_path_factory.mktemp("run") / "run", table)
    auxar.integers(folder, images=4)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    return folder


@pytest.fixture
def chunks(monkeypatch) -> Iterator[list[int]]:
    """Numbers of the chunks that are computed, of about four images each."""
    monkeypatch.setattr("auxar.evaluation.likelihoods.CHUNK", 4)
    with calls_of(RunEvaluation, "compute") as numbers:
        yield numbers


def contents(folder: Path) -> list[dict[str, torch.Tensor]]:
    """The log-likelihoods in both arithmetics."""
    return [dict(read_evaluation(folder / name).tensors) for name in FILES]


def close(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether log-likelihoods are equal up to rounding, which depends on the number of threads."""
    return one.keys() == other.keys() and all(torch.allclose(one[key], other[key], rtol=1e-5) for key in one)


def test_a_stopped_evaluation_goes_on_and_has_the_figures_of_one_process(converted, tmp_path, monkeypatch, chunks):
    whole, parts = (Path(shutil.copytree(converted, tmp_path / name)) for name in ("whole", "parts"))
    with monkeypatch.context() as patch:
        patch.setattr("auxar.evaluation.likelihoods.CHUNK", 1000)
        auxar.evaluate(whole, arithmetic="integer")
    assert chunks == [0]
    chunks.clear()
    with stopping_at(RunEvaluation, "compute", 2):
        auxar.evaluate(parts, arithmetic="integer")
    assert not (parts / FILES[0]).exists()
    auxar.evaluate(parts, arithmetic="integer")
    assert chunks == [0, 1, 2, 3, 4]
    assert all(close(*pair) for pair in zip(contents(parts), contents(whole), strict=True))
    assert not (parts / "auxar-work").exists()
    before = (parts / FILES[0]).stat().st_mtime_ns
    auxar.evaluate(parts, arithmetic="integer")
    assert len(chunks) == 5, "nothing is computed again"
    assert (parts / FILES[0]).stat().st_mtime_ns == before


def test_an_evaluation_with_another_size_of_batches_is_computed(converted, tmp_path, chunks):
    folder = Path(shutil.copytree(converted, tmp_path / "run"))
    auxar.evaluate(folder)
    count = len(chunks)
    auxar.evaluate(folder, settings=["evaluation.batch_size=2"])
    assert len(chunks) > count


def test_a_damaged_evaluation_is_computed_again(converted, tmp_path, chunks, caplog):
    folder = Path(shutil.copytree(converted, tmp_path / "run"))
    auxar.evaluate(folder)
    content = (folder / FILES[0]).read_bytes()
    # The tensors are mapped from the file, so they are copied before it changes.
    expected = {key: nats.clone() for key, nats in read_evaluation(folder / FILES[0]).tensors.items()}
    (folder / FILES[0]).write_bytes(content[:-8] + bytes(8))
    auxar.evaluate(folder)
    assert "is damaged" in caplog.text
    assert close(read_evaluation(folder / FILES[0]).tensors, expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(REPETITIONS))
def test_processes_that_are_killed_and_join_evaluate_what_one_process_does(tmp_path, seed):
    pictures = write_pictures(tmp_path / "pictures", 3000)
    folder = run(tmp_path / "run", tiny(pictures, data__split__train=0.2, sampling__images=0, training__steps=2))
    parts = Path(shutil.copytree(folder, tmp_path / "parts"))
    (parts / FILES[0]).unlink()
    outputs = outputs_of_killed(command("evaluate", parts, "-q", "--json"), seed)
    assert len(set(outputs)) == 1
    assert not outputs[0][1]
    one, other = (read_evaluation(path / FILES[0]).tensors for path in (folder, parts))
    assert close(one, other)
    assert not (parts / "auxar-work").exists()
