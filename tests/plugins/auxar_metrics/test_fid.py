"""Tests of FID and KID, with a small network of features in the place of the published one, which is large."""

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
from auxar.draw.sheets import to_uint8
from auxar.errors import UserError
from auxar.files import read_checksum
from auxar.testing import check_command
from auxar_metrics import fid
from auxar_metrics.distances import distances, pictures
from auxar_metrics.inception import features, inception


class Means(nn.Module):
    """A network whose features are the means of the channels."""

    def forward(self, images: Tensor) -> tuple[Tensor]:
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        return (images.float().mean((2, 3)),)


@pytest.fixture
def means(monkeypatch) -> Means:
    network = Means()
    monkeypatch.setattr("auxar_metrics.inception.inception", lambda weights: network)
    return network


def test_the_record_is_the_result_with_the_checksums_of_weights(finished, means, monkeypatch, caplog):
    for fewest, warned in ((6, False), (7, True)):  # There are 6 held-out images.
        monkeypatch.setattr("auxar_metrics.distances.FEATURES", fewest)
        found = fid(finished, images=7, seed=3)
        assert ("FID of 6 images is too large" in caplog.text) == warned
    assert json.loads((finished / "fid.json").read_text()) == attrs.asdict(found)
    run = auxar.RunFolder(finished)
    assert found.weights == {name: read_checksum(run.weights(name)) for name in ("stage0", "prior")}


def test_it_is_a_command(finished, means, capsys):
    found = check_command(fid, finished, "--images", "4", "--reference", "training")
    expected = fid(finished, images=4, reference="training")
    assert found == attrs.asdict(expected)
    assert main(["-q", "fid", str(finished), "--images", "4", "--reference", "training"]) == 0
    line = f"FID {expected.fid:.2f}, KID {expected.kid:.4f} ± {expected.kid_deviation:.4f}: 4 images drawn by the rule"
    assert capsys.readouterr().out == f"{line} ancestral, and {expected.reference_images:,} training images\n"
    assert auxar.fid is fid  # type: ignore[attr-defined]


def test_pictures_have_the_colors_of_sheets():
    spec = auxar.ImageSpec(1, height=1, width=200, levels=200)
    images = torch.arange(200).view(1, 1, 1, 200)
    assert torch.equal(pictures(images, spec), torch.from_numpy(to_uint8(images, spec)).permute(0, 3, 1, 2))


def test_another_file_is_not_replaced(tmp_path, monkeypatch, means):
    monkeypatch.chdir(tmp_path)
    found = fid("emoji32", images=2)
    file = tmp_path / "emoji32" / "fid.json"
    assert json.loads(file.read_text()) == attrs.asdict(found)
    assert fid("emoji32", images=2) == found
    file.write_text("mine")
    with pytest.raises(UserError, match=r"fid\.json is not a result of auxar fid and is not replaced"):
        fid("emoji32", images=2)
    assert file.read_text() == "mine"


def compared(one: Tensor, other: Tensor) -> tuple[float, float, float]:
    return distances(*(features(Means(), images, torch.device("cpu")) for images in (one, other)))


def test_distances_agree_with_their_formulas(monkeypatch):
    """FID by the eigenvalues of a symmetric product (Heusel et al. 2017), KID of all images at once and of subsets."""
    torch.manual_seed(0)
    one, other = (torch.randint(0, high, (30, 3, 4, 4), dtype=torch.uint8) for high in (200, 256))
    found = compared(one, other)
    a, b = (images.double().mean((2, 3)).numpy() for images in (one, other))
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(values) @ vectors.T
    between = np.sqrt(np.linalg.eigvalsh(root @ second @ root)).sum()
    fid = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * between
    assert found[0] == pytest.approx(fid, rel=1e-5)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def kid(x: np.ndarray, y: np.ndarray) -> float:
        n = len(x)
        own = sum((kernel(each, each).sum() - np.trace(kernel(each, each))) / (n * (n - 1)) for each in (x, y))
        return float(own - 2 * kernel(x, y).mean())

    assert found[1] == pytest.approx(kid(a, b), rel=1e-3)
    assert found[2] < 1e-3 * found[1]
    assert compared(one, one)[0] == pytest.approx(0, abs=1e-3)
    monkeypatch.setattr("auxar_metrics.distances.SUBSET", 8)
    of_subsets = compared(one, other)
    random = np.random.default_rng(0)
    expected = [kid(*(random.choice(images, 8, replace=False) for images in (a, b))) for _ in range(2000)]
    # 100 subsets are drawn, so the standard errors are 0.1 and about 0.07 of the deviation.
    deviation = float(np.std(expected))
    assert of_subsets[1] == pytest.approx(np.mean(expected), abs=0.4 * deviation)
    assert of_subsets[2] == pytest.approx(deviation, rel=0.3)


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
    found = fid(finished, images=4, weights=path)
    assert found.network == str(path)
    assert found.fid > 0
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
    with pytest.raises(UserError, match=r"other\.pth does not fit Inception-v3"):
        inception(tmp_path / "other.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot be downloaded from https://.*name it with --weights FILE"):
        inception(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "1"], "--images: expected an integer of at least 2, got 1"),
        (["--reference", "test"], "--reference: expected heldout or training"),
        (["--weights", "none.pth"], "--weights: none.pth does not exist"),
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
        fid(finished)
