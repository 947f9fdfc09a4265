"""Tests that contract checks of priors and decoders fail for each broken law, and pass for unusual valid ones."""

import attrs
import pytest
import torch
from helpers.causal_networks import all_images
from helpers.contract import free, is_restricted, tells
from helpers.right_network import Net
from torch import nn

from auxar.errors import UserError
from auxar.model import Ancestral, ByChannel, CausalDistribution, ImageSpec, Prior
from auxar.testing import ContractError, check_decoder, check_prior
from auxar.testing.causality import check_some_causality
from auxar.testing.examples import randomized
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead


class Ahead(Net):
    offset = 1


class Reversed(Net):
    """A network that is causal in the reverse of raster order, and therefore invalid."""

    def forward(self, image, features=None):
        turned = None if features is None else features.flip(2, 3)
        return super().forward(image.flip(2, 3), turned).flip(2, 3)


class Normed(Net):
    def forward(self, image, features=None):
        found = super().forward(image, features)
        return found - found.mean(0, keepdim=True)


class Dropping(Net):
    def forward(self, image, features=None):
        return nn.functional.dropout(super().forward(image, features), 0.5)


class Unsaved(Net):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.secret = torch.randn(()).item()

    def forward(self, image, features=None):
        return super().forward(image, features) * self.secret


class InitializedOutside(Net):
    """A network whose `initialize` sets a number that is not part of the state."""

    gain = 1.0

    def initialize(self, image, features=None, centers=None):
        self.gain = 0.5

    def forward(self, image, features=None):
        return super().forward(image, features) * self.gain


class Unused(Net):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.spare = nn.Parameter(torch.zeros(1))


class Dividing(Net):
    def forward(self, image, features=None):
        return super().forward(image, features) / (1 - image.mean((1, 2, 3), keepdim=True))


class Stuck(Net):
    def initialize(self, image, features=None, centers=None):
        self.eval()


class Blind(Net):
    def forward(self, image, features=None):
        return super().forward(image, None if features is None else features * 0)


class Unnormalized(SoftmaxHead):
    def log_prob(self, parameters, image):
        return SoftmaxHead.channel_log_prob(self, parameters, image).sum(1) * 1.01

    def channel_log_prob(self, parameters, image):
        return None


class OneSided(SoftmaxHead):
    """A head that does not draw from the distribution of its `log_prob`."""

    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters * 0.5, uniforms, rule)


class WrongChannels(SoftmaxHead):
    def channel_log_prob(self, parameters, image):
        return super().channel_log_prob(parameters, image) * 0.5

    def log_prob(self, parameters, image):
        return super().channel_log_prob(parameters, image).sum(1)


class BoundlessHead(LogisticMixtureHead):
    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters, uniforms, rule) + 1


class CountsByType(Net):
    def encode(self, image):
        return super().encode(image) + (image.dtype == torch.uint8)


class OtherInSingle(Net):
    """A network that predicts something else in float32."""

    def forward(self, image, features=None):
        return super().forward(image, features) * (0.9 if image.dtype == torch.float32 else 1.0)


class OfMany(Net):
    """A network that normalizes over batches of many images."""

    def forward(self, image, features=None):
        found = super().forward(image, features)
        return found - found.mean(0, keepdim=True) if len(found) > 16 else found


class OtherWithGradients(Net):
    def forward(self, image, features=None):
        return super().forward(image, features) * (0.9 if torch.is_grad_enabled() else 1.0)


class BeyondColumns(Net):
    """A network in which a pixel sees its successor if there are many columns."""

    def forward(self, image, features=None):
        found = super().forward(image, features)
        return found + image.roll(-1, 3).mean(1, keepdim=True) if image.shape[3] > 8 else found


class BeyondRows(Net):
    """A network in which some of the first rows see a later one."""

    def forward(self, image, features=None):
        found = super().forward(image, features)
        found[:, :, 5:9] += image[:, :1, 9:10]
        return found


class LeaksInTraining(Net):
    """A network in which all pixels see each other in training mode, as if normalized over the image."""

    def forward(self, image, features=None):
        found = super().forward(image, features)
        return found - found.mean((2, 3), keepdim=True) if self.training else found


class DropsInTraining(Net):
    """A valid network with dropout."""

    def forward(self, image, features=None):
        return nn.functional.dropout(super().forward(image, features), 0.5, self.training)


def head_of(kind):
    return lambda image: kind(image, 2) if issubclass(kind, LogisticMixtureHead) else kind(image)


NETWORKS = {
    Ahead: "causality",
    Reversed: "causality",
    Dropping: "state",
    Normed: "batch",
    Unsaved: "save",
    Unused: "gradient",
    Dividing: "finite",
    Stuck: "initialize",
    CountsByType: "dtype",
}
HEADS = {Unnormalized: "normalization", OneSided: "draws", WrongChannels: "channels", BoundlessHead: "range"}


def prior_of(network=Net, head=None, kind=CausalDistribution):
    def build(config, image):
        return kind(network(image, 0, head and head_of(head)(image)))

    return build


def decoder_of(network=Net, head=None, kind=CausalDistribution):
    def build(config, image, channels):
        return kind(network(image, channels, head and head_of(head)(image)))

    return build


# Other tests check right networks that ship or are in the documentation.
@pytest.mark.slow
def test_a_right_network_passes_as_prior_and_as_decoder():
    check_prior(prior_of(), None)
    check_decoder(decoder_of(), None)


@pytest.mark.parametrize(("network", "message"), NETWORKS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_network_is_caught_as_prior(network, message):
    with pytest.raises(ContractError) as error:
        check_prior(prior_of(network), None)
    tells(error, message)


@pytest.mark.parametrize(
    ("network", "message"),
    [(OtherInSingle, "precision"), (OfMany, "batch"), (OtherWithGradients, "gradient"), (InitializedOutside, "save")],
)
@pytest.mark.filterwarnings("ignore:the laws normalization, draws and restricted were not checked")
def test_a_network_that_is_right_in_small_checks_only_is_caught(network, message):
    with pytest.raises(ContractError) as error:
        check_decoder(decoder_of(network), None, images=[ImageSpec(1, height=3, width=3, levels=4)], features=[2])
    tells(error, message)


@pytest.mark.parametrize("network", [BeyondColumns, BeyondRows])
def test_a_network_that_is_causal_for_small_images_only_is_caught(network):
    with pytest.raises(ContractError) as error:
        check_some_causality(randomized(network(ImageSpec(height=32, width=32), 0), 0), None, 0)
    assert error.value.law == "causality"


def test_a_network_that_is_causal_in_evaluation_mode_only_is_caught():
    image = ImageSpec(1, height=3, width=4)
    check_some_causality(randomized(DropsInTraining(image, 0), 0), None, 0)
    with pytest.raises(ContractError, match="the predicted pixel itself, in training mode") as error:
        check_some_causality(randomized(LeaksInTraining(image, 0), 0), None, 0)
    assert error.value.law == "causality"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Ahead, "causality"),
        # The checks of these laws are the same as for priors, except that `Blind` ignores the features.
        pytest.param(Unsaved, NETWORKS[Unsaved], marks=pytest.mark.slow),
        pytest.param(Unused, NETWORKS[Unused], marks=pytest.mark.slow),
        (Blind, "gradient"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_network_is_caught_as_decoder(network, message):
    with pytest.raises(ContractError) as error:
        check_decoder(decoder_of(network), None)
    tells(error, message)


@pytest.mark.parametrize(("head", "message"), HEADS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_head_is_caught(head, message):
    for check, build in ((check_prior, prior_of(head=head)), (check_decoder, decoder_of(head=head))):
        with pytest.raises(ContractError) as error:
            check(build, None)
        tells(error, message)


class Forgetting(CausalDistribution):
    """A prior that ignores known pixels."""

    def draw(self, request, sampler):
        return super().draw(attrs.evolve(request, known=None), sampler)


class Unseeded(CausalDistribution):
    def draw(self, request, sampler):
        return super().draw(attrs.evolve(request, numbers=tuple(range(len(request.numbers)))), sampler)


class Scalar(CausalDistribution):
    def log_prob(self, image):
        return super().log_prob(image).sum()


class WrongTotal(CausalDistribution):
    def log_prob_by_channel(self, image):
        return attrs.evolve(super().log_prob_by_channel(image), total=self.log_prob(image) + 1)


class WrongShares(CausalDistribution):
    def log_prob_by_channel(self, image):
        return attrs.evolve(super().log_prob_by_channel(image), channels=self.log_prob(image)[:, None])


class Mistaken(CausalDistribution):
    def __init__(self, network):
        super().__init__(network)
        self.image = attrs.evolve(network.image, levels=network.image.levels + 1)


class Unrestricted(CausalDistribution):
    """A decoder that ignores intervals."""

    def log_prob(self, image, features, given=None):
        return super().log_prob(image, features, free(given))

    def log_prob_by_channel(self, image, features, given=None):
        return super().log_prob_by_channel(image, features, free(given))


class Lenient(CausalDistribution):
    """A restricted decoder that gives a likelihood to images outside."""

    def log_prob(self, image, features, given=None):
        return super().log_prob(image, features, given).clamp(min=-1e3)

    def log_prob_by_channel(self, image, features, given=None):
        return ByChannel(self.log_prob(image, features, given))


class WrongInside(CausalDistribution):
    def log_prob_by_channel(self, image, features, given=None):
        found = super().log_prob_by_channel(image, features, given)
        return found if found.inside is None else attrs.evolve(found, inside=found.inside - 0.01)


class FreeByChannel(CausalDistribution):
    """A decoder whose `log_prob_by_channel` ignores intervals."""

    def log_prob_by_channel(self, image, features, given=None):
        return super().log_prob_by_channel(image, features, free(given))


class DrawsFreely(CausalDistribution):
    def draw(self, request, sampler, features):
        return super().draw(attrs.evolve(request, given=free(request.given)), sampler, features)


class DrawsTheFirst(CausalDistribution):
    """A restricted decoder that draws images with the right view, but not by their probabilities."""

    def draw(self, request, sampler, features):
        drawn = super().draw(request, sampler, features)
        return drawn[:1].expand_as(drawn) if is_restricted(request.given) else drawn


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Unrestricted, "restricted"),
        (Lenient, "restricted"),
        (WrongInside, "restricted"),
        (FreeByChannel, "channels"),
        (DrawsFreely, "restricted"),
        (DrawsTheFirst, "draws"),
    ],
)
def test_a_decoder_that_is_restricted_wrongly_is_caught(kind, message):
    with pytest.raises(ContractError) as error:
        check_decoder(decoder_of(kind=kind), None, images=[ImageSpec(1, height=2, width=2, levels=3)])
    tells(error, message)


class FreeIfTall(CausalDistribution):
    """A decoder that ignores the intervals of tall images."""

    def log_prob(self, image, features, given=None):
        return super().log_prob(image, features, free(given) if image.shape[2] > 4 else given)

    def log_prob_by_channel(self, image, features, given=None):
        return super().log_prob_by_channel(image, features, free(given) if image.shape[2] > 4 else given)


class OneRequest(CausalDistribution):
    """A decoder that, with a restriction, always draws with the same seed and rule."""

    def draw(self, request, sampler, features):
        if is_restricted(request.given):
            request = attrs.evolve(request, seed=0, rule=Ancestral())
        return super().draw(request, sampler, features)


class FeaturesOfFew(CausalDistribution):
    """A decoder that draws the fifth and later images with the features of the first."""

    def draw(self, request, sampler, features):
        images = torch.arange(len(features))
        return super().draw(request, sampler, features[images.where((images < 4) | (len(images) > 16), 0)])


@pytest.mark.parametrize(
    ("kind", "message"), [(FreeIfTall, "restricted"), (OneRequest, "rule"), (FeaturesOfFew, "rule")]
)
@pytest.mark.filterwarnings("ignore:the laws normalization, draws and restricted were not checked")
def test_a_decoder_that_is_restricted_wrongly_for_larger_images_is_caught(kind, message):
    with pytest.raises(ContractError) as error:
        check_decoder(decoder_of(kind=kind), None, images=[ImageSpec(1, height=5, width=6, levels=16)], features=[2])
    tells(error, message)


class Table(Prior):
    """A valid prior without a causal network: a table with the probability of each image of a tiny space."""

    power = 1.0

    def __init__(self, config, image):
        super().__init__()
        if image.levels**image.dims > 300:
            raise UserError(f"{image} has too many images")
        self.image = image
        self.logits = nn.Parameter(torch.zeros(image.levels**image.dims))

    def _places(self):
        dims = self.image.dims
        return torch.tensor([self.image.levels**k for k in range(dims - 1, -1, -1)])

    def log_prob(self, image):
        return self.power * self.logits.log_softmax(0)[(image.long().flatten(1) * self._places()).sum(1)]

    def draw(self, request, sampler):
        known = request.known
        edges = self.logits.softmax(0).cumsum(0)
        found = torch.searchsorted(edges, request.uniforms((1,)).to(edges.dtype)).clamp(max=len(edges) - 1)
        images = all_images(self.image)[found.flatten()]
        return images if known is None else images.clamp(known.lowest(), known.highest(self.image.levels))


class Tempered(Table):
    power = 2.0


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Forgetting, "known"),
        (Unseeded, "draw"),
        (Scalar, "shape"),
        (Mistaken, "spec"),
        (WrongTotal, "channels"),
        (WrongShares, "channels"),
    ],
)
def test_a_broken_prior_is_caught(kind, message):
    images = [ImageSpec(1, height=1, width=1, levels=3), ImageSpec(3, height=1, width=2, levels=2)]
    with pytest.raises(ContractError) as error:
        check_prior(prior_of(kind=kind), None, images=images)
    tells(error, message)


def test_a_prior_need_not_be_a_causal_network():
    check_prior(Table, None)
    with pytest.raises(ContractError) as error:
        check_prior(Tempered, None)
    assert error.value.law == "normalization"


def test_what_was_not_checked_is_said():
    with pytest.warns(UserWarning, match="normalization, draws and restricted were not checked"):
        check_prior(prior_of(), None, images=[ImageSpec(height=4, width=4)])


class Silent(Net):
    """A valid network that predicts the same everywhere before training."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, image, features=None):
        return super().forward(image, features) * self.gain


class Uniform(Table):
    """A valid prior without trainable parameters."""

    def __init__(self, config, image):
        super().__init__(config, image)
        logits = self.logits.detach()
        del self.logits
        self.register_buffer("logits", logits)


class Frozen(Net):
    """A valid network with an untrained layer that stays in evaluation mode."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.above.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        self.above.eval()
        return self


class Uncoupled(LogisticMixtureHead):
    """A head that ignores earlier channels when it draws a channel."""

    def draw(self, parameters, uniforms, rule):
        parameters = parameters.clone()
        parameters.view(len(parameters), -1, self.components)[:, 1 + 2 * self.channels :] = 0
        return super().draw(parameters, uniforms, rule)


class Returnless(CausalDistribution):
    def log_prob(self, image):
        super().log_prob(image)


@pytest.mark.slow
def test_right_networks_of_other_kinds_pass():
    check_prior(Uniform, None)
    check_prior(prior_of(Frozen), None)
    check_decoder(decoder_of(Silent), None)
    check_decoder(decoder_of(), None, features=[4])


def test_a_head_that_forgets_how_channels_hang_together_is_caught():
    with pytest.raises(ContractError) as error:
        check_prior(prior_of(head=Uncoupled), None)
    assert error.value.law == "draws"


def test_what_is_no_tensor_is_said():
    with pytest.raises(ContractError, match=r"^shape: log_prob must be .*, got None"):
        check_prior(prior_of(kind=Returnless), None)
