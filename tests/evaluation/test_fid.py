"""Tests of FID and KID, with a small network of features in the place of the published one, which is large."""

from __future__ import annotations

import html
import json
import pickle
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from helpers.tiny_runs import snapshot
from torch import Tensor, nn

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.evaluation.distances import ImageDistances, current_distances
from auxar.evaluation.inception import distances, inception
from auxar.files import read_checksum, read_json, read_tensors, write_json, write_tensors
from auxar.report import words, write_report
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record


class Means(nn.Module):
    """A network whose features are the means of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> tuple[Tensor]:
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        self.seen.append(images)
        return (images.float().mean((2, 3)),)


@pytest.fixture
def means(monkeypatch) -> Means:
    network = Means()
    monkeypatch.setattr("auxar.evaluation.inception.inception", lambda weights: network)
    return network


def test_drawn_images_are_compared_with_those_of_the_data(finished, means):
    found = auxar.fid(finished, images=7, seed=3)
    drawn = auxar.load(finished).sample(7, seed=3).tensor
    heldout = torch.cat(list(auxar.load_images(auxar.load(finished)).heldout.in_order(8)))
    assert torch.equal(torch.cat(means.seen), torch.cat([drawn.to(torch.uint8), heldout]))
    assert (found.images, found.reference, found.reference_images) == (7, "heldout", len(heldout))
    assert read_record(finished / "fid.json", ImageDistances) == found
    assert current_distances(RunFolder(finished)) == found
    assert f"{found.distances.fid:.2f}" in (finished / "report.html").read_text()


def test_the_command_prints_and_writes_them(finished, means, capsys):
    assert main(["-q", "fid", str(finished), "--images", "4", "--reference", "training"]) == 0
    written = read_record(finished / "fid.json", ImageDistances)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"FID {written.distances.fid:.2f}, KID {written.distances.kid:.4f} ± ")
    assert line.endswith(f"4 images drawn by the rule ancestral, and {written.reference_images:,} training images")
    assert main(["-q", "evaluate", str(finished)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == line
    for name, *options in (["fid", "--images", "4", "--reference", "training"], ["evaluate"]):
        assert main(["-q", name, str(finished), *options, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found.get("fid", found) == attrs.asdict(written)


def test_distances_of_other_weights_are_not_shown(finished, means):
    found = auxar.fid(finished, images=4)
    run = RunFolder(finished)
    assert words.beside_fid(found) in html.unescape(run.report.read_text())
    path = run.weights("prior")
    tensors, metadata = read_tensors(path)
    before = path.read_bytes()
    write_tensors(path, {name: tensor + 1 for name, tensor in tensors.items()}, metadata)
    assert current_distances(run) is None
    write_report(finished)
    assert words.beside_fid(found) not in html.unescape(run.report.read_text())
    path.write_bytes(before)
    assert current_distances(run) is not None
    # A record cannot make auxar read weights in another folder, even if they are the recorded ones.
    record, other = read_json(run.fid), "../../../other"
    write_json(run.fid, [1])
    assert current_distances(run) is None
    run.weights(other).parent.mkdir()
    run.weights(other).write_bytes(before)
    write_json(run.fid, record | {"weights": record["weights"] | {other: read_checksum(path)}})
    assert current_distances(run) is None


def test_distances_agree_with_their_formulas(monkeypatch):
    """FID by the eigenvalues of a symmetric product (Heusel et al. 2017), KID of all images at once and of subsets."""
    torch.manual_seed(0)
    one, other = (torch.randint(0, high, (30, 3, 4, 4), dtype=torch.uint8) for high in (200, 256))
    found = distances(Means(), one, other, torch.device("cpu"))
    a, b = (images.double().mean((2, 3)).numpy() for images in (one, other))
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(values) @ vectors.T
    between = np.sqrt(np.linalg.eigvalsh(root @ second @ root)).sum()
    fid = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * between
    assert found.fid == pytest.approx(fid, rel=1e-5)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def kid(x: np.ndarray, y: np.ndarray) -> float:
        n = len(x)
        own = sum((kernel(each, each).sum() - np.trace(kernel(each, each))) / (n * (n - 1)) for each in (x, y))
        return float(own - 2 * kernel(x, y).mean())

    assert found.kid == pytest.approx(kid(a, b), rel=1e-3)
    assert found.kid_deviation < 1e-3 * found.kid
    assert distances(Means(), one, one, torch.device("cpu")).fid == pytest.approx(0, abs=1e-3)
    monkeypatch.setattr("auxar.evaluation.inception.SUBSET", 8)
    of_subsets = distances(Means(), one, other, torch.device("cpu"))
    random = np.random.default_rng(0)
    expected = [kid(*(random.choice(images, 8, replace=False) for images in (a, b))) for _ in range(2000)]
    # 100 subsets are drawn, so the standard errors are 0.1 and about 0.07 of the deviation.
    deviation = float(np.std(expected))
    assert of_subsets.kid == pytest.approx(np.mean(expected), abs=0.4 * deviation)
    assert of_subsets.kid_deviation == pytest.approx(deviation, rel=0.3)


@pytest.mark.slow
def test_the_published_network_gives_features_of_a_local_file(finished, tmp_path, monkeypatch):
    from torch_fidelity import feature_extractor_inceptionv3 as published

    with monkeypatch.context() as patch:
        patch.setattr(published, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(published.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = published.FeatureExtractorInceptionV3("made", ["2048"])
    for name, parameter in network.named_parameters():
        if parameter.dim() == 4:
            nn.init.kaiming_normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(inception(path)(images)[0], network.eval()(images)[0])
    found = auxar.fid(finished, images=4, weights=path)
    assert found.network == str(path)
    assert found.distances.fid > 0
    state = torch.load(path)
    del state["fc.bias"]
    torch.save(state, path)
    with pytest.raises(UserError, match=r"weights\.pth does not fit Inception-v3.*fc\.bias"):
        inception(path)


class Harm:
    """An object whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_weights_that_cannot_be_used_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"none\.pth does not exist"):
        inception(tmp_path / "none.pth")
    (tmp_path / "code.pth").write_bytes(pickle.dumps(Harm(tmp_path / "harm")))
    with pytest.raises(UserError, match=r"code\.pth is not a file of tensors of PyTorch"):
        inception(tmp_path / "code.pth")
    assert not (tmp_path / "harm").exists()
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth does not have the weights of Inception-v3"):
        inception(tmp_path / "other.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot be downloaded from https://.*name it with --weights FILE"):
        inception(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": 1}, "images: expected an integer from 2 to 1,000,000"),
        ({"reference": "test"}, "reference: expected heldout or training, got 'test'"),
        ({"weights": 3}, "weights"),
    ],
)
def test_wrong_options_are_named(finished, options, message):
    with pytest.raises(UserError, match=message):
        auxar.fid(finished, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "1"], "--images: expected an integer from 2 to 1,000,000"),
        (["--reference", "test"], "--reference: expected heldout or training"),
        (["--weights", "none.pth"], "none.pth does not exist"),
    ],
)
def test_mistakes_change_nothing(finished, options, message, capsys):
    before = snapshot(finished)
    assert main(["fid", str(finished), *options]) == 2
    assert message in capsys.readouterr().err
    assert snapshot(finished) == before


def test_a_missing_library_is_named(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UserError, match=r"need torch-fidelity.*pip install 'auxar\[fid\]'"):
        auxar.fid(finished)
