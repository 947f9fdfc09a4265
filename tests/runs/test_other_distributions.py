"""Tests of a stranger's decoder that is no causal network: it runs from a recipe."""

import pytest
import torch
from helpers.installed import Nothing, install_components
from helpers.tiny_runs import NAMES, run, tiny, write_labeled
from torch import nn

import auxar
from auxar import Component, Decoder
from auxar.cli import main
from auxar.testing import check_conditions


class Parallel(Decoder):
    """All sub-pixels at once from the features of their places."""

    def __init__(self, config, image, features_channels):
        super().__init__()
        self.image, self.features_channels = image, features_channels
        self.layer = nn.Conv2d(features_channels, image.channels * image.levels, 1)

    def logits(self, features):
        return self.layer(features).unflatten(1, (self.image.channels, self.image.levels))

    def log_prob(self, image, features, given=None):
        self.image.check(image)
        return self.logits(features).log_softmax(2).gather(2, image.long()[:, :, None]).sum((1, 2, 3, 4))

    def draw(self, request, sampler, features):
        """Draws every sub-pixel from its logits (b, c, levels, h, w), among the values that the request allows."""
        logits = self.logits(features).double()
        if request.known is not None:
            low, high = request.known.lowest().unsqueeze(-3), request.known.highest(self.image.levels).unsqueeze(-3)
            values = torch.arange(self.image.levels)[:, None, None]
            logits = logits.masked_fill((values < low) | (values > high), -torch.inf)
        noise = request.uniforms(self.image.shape)[:, :, None]
        return (logits.softmax(2).cumsum(2) < noise).sum(2).clamp(max=self.image.levels - 1)


SOFTMAX = {"name": "pixelcnn", "filters": 3, "blocks": 1, "head": "softmax"}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    parallel, wrong = Component("decoder", "parallel", Nothing, Parallel), lambda config, image: config
    raising = Component("prior", "raising", Nothing, lambda config, image: image.missing)
    install_components(monkeypatch, parallel, Component("prior", "wrong", Nothing, wrong), raising)


def test_it_runs_from_a_recipe(tmp_path, capsys):
    """With a condition, a decoder can be the prior."""
    condition = {"kind": "label", "suffix": ".txt", "names": NAMES, "drop": 0.2, "prior": SOFTMAX}
    changes = {"prior": {"name": "parallel"}, "stage__0__decoder": {"name": "parallel"}, "sampling__images": 0}
    out = run(tmp_path / "run", tiny(write_labeled(tmp_path / "pictures"), **changes, condition=condition))
    model = auxar.load(out)
    factors = [(str(factor), type(factor.distribution).__name__) for factor in model.chain.all_factors]
    assert factors == [
        ("p(8×8×3 | 4×4×3, label)", "Parallel"),
        ("p(4×4×3 | label)", "Parallel"),
        ("p(label)", "CausalDistribution"),
    ]
    check_conditions(model.chain)
    images = model.sample(5, seed=3, condition=["cat"]).tensor
    assert torch.equal(model.sample(2, seed=3, first=2, condition=["cat"]).tensor, images[2:4])
    assert model.sample_conditions(3).values.shape == (3, 1, 1, 1)
    kept = model.complete(images[:1], keep=4).tensor
    assert torch.equal(kept[0, :, :, :4].long(), images[:1, :, :4].expand_as(kept[0, :, :, :4]).long())
    assert main(["evaluate", str(out)]) == 0
    assert "an upper bound" in capsys.readouterr().out
    with pytest.raises(auxar.UserError, match="gives no likelihoods of single pixels"):
        model.pixel_bits(images, condition="cat")
    with pytest.raises(auxar.UserError, match="Parallel is not a causal network"):
        auxar.integers(out)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("parallel", "prior: the decoder 'parallel' needs features, which a prior has only with"),
        ("wrong", r"prior \('wrong'\): its build must return an auxar\.Prior, got Nothing"),
    ],
)
def test_what_is_no_prior_is_refused(pictures, tmp_path, prior, message):
    with pytest.raises(auxar.UserError, match=message):
        run(tmp_path / "refused", tiny(pictures, prior={"name": prior}))


def test_an_error_in_a_plugin_names_its_key(pictures, tmp_path):
    with pytest.raises(AttributeError, match="missing") as error:
        run(tmp_path / "refused", tiny(pictures, prior={"name": "raising"}))
    assert error.value.__notes__ == ["prior: raised while the prior 'raising' was built"]
