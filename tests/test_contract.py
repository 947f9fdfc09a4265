"""What auxar ships keeps its own contract, and each law of it catches a component that breaks it."""

import itertools

import attrs
import pytest
import torch
from networks import all_images
from torch import nn

from auxar.causal import CausalDecoder, CausalPrior
from auxar.errors import UserError
from auxar.interfaces import CausalNetwork, Embedding, ImageSpec, Known, Prior, Sampler, View
from auxar.plugins import load_plugins
from auxar.testing import ContractError, check_decoder, check_embedding, check_prior, check_sampler, check_view
from auxar_pixelcnn.heads import LogisticMixtureHead, SoftmaxHead
from auxar_pixelcnn.layers import CausalConv2d, Pointwise
from auxar_pixelcnn.samplers import RasterSampler

REGISTRY = load_plugins()
SMALL = {
    "pixelcnn": {"filters": 3, "blocks": 1, "components": 2},
    "pixelcnn++": {"filters": 2, "nr_resnet": 1, "components": 2},
    "resnet": {"filters": 3, "blocks_per_group": 1},
}


def component(kind, name):
    found = REGISTRY.get(kind, name, "test")
    return found.build, found.config(**SMALL.get(name, {}))


# What auxar ships ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grayscale", "pyramid"])
def test_shipped_views_keep_the_contract(name):
    check_view(*component("view", name))


@pytest.mark.parametrize("name", ["pixelcnn", "pixelcnn++"])
def test_shipped_priors_keep_the_contract(name):
    check_prior(*component("prior", name))


@pytest.mark.parametrize("name", ["pixelcnn", "pixelcnn++"])
def test_shipped_decoders_keep_the_contract(name):
    check_decoder(*component("decoder", name))


def test_the_shipped_embedding_keeps_the_contract():
    check_embedding(*component("embedding", "resnet"))


@pytest.mark.parametrize("name", ["wavefront", "cached"])
def test_shipped_samplers_keep_the_contract(name):
    check_sampler(*component("sampler", name))


# Views that break it -------------------------------------------------------------------------------------------------


class Darkest(View):
    """What the broken ones differ from in one thing."""

    def __init__(self, config, image):
        self.image = image
        self.view = attrs.evolve(image, channels=1)

    def __call__(self, image):
        return image.amin(1, keepdim=True)


class Random(Darkest):
    def __call__(self, image):
        return torch.where(torch.rand(image[:, :1].shape) < 0.5, image[:, :1], image[:, -1:] * 0)


class Counting(Darkest):
    calls = 0

    def __call__(self, image):
        self.calls += 1
        return super().__call__(image) * (self.calls % 2)


class Range(Darkest):
    def __call__(self, image):
        return super().__call__(image) + 1


class Widened(Darkest):
    def __call__(self, image):
        return super().__call__(image).long()


class Overflowing(Darkest):
    def __call__(self, image):
        return (image[:, :1] + image[:, -1:]) // 2


class Mixing(Darkest):
    def __call__(self, image):
        gray = super().__call__(image)
        return torch.minimum(gray, gray.flip(0))


class Resized(Darkest):
    def __call__(self, image):
        return super().__call__(image)[:, :, :1]


class Channels(Darkest):
    def __init__(self, config, image):
        super().__init__(config, image)
        self.view = image


class Forgetful(Darkest):
    def __init__(self, config, image):
        super().__init__(config, image)
        self.image = attrs.evolve(image, levels=image.levels + 1)


class Writing(Darkest):
    def __call__(self, image):
        image[:, 0] = image.amin(1)
        return image[:, :1].clone()


class Strided(Darkest):
    def __call__(self, image):
        height, width = self.image.height, self.image.width
        flat = image.as_strided((len(image), height * width), (image.stride(0), 1))
        return flat.clone().view(-1, 1, height, width)


class Guessing(Darkest):
    def known(self, known):
        return Known(self(known.filled()), torch.ones_like(known.mask))


class Ignorant(Darkest):
    def known(self, known):
        return Known(self(known.filled()), torch.zeros_like(known.mask))


class Rude(Darkest):
    def __init__(self, config, image):
        super().__init__(config, image)
        if image.height % 2:
            raise ValueError("odd")


class Picky(Darkest):
    def __init__(self, config, image):
        raise UserError("never")


class Failing(Darkest):
    def __call__(self, image):
        return super().__call__(image) // int(image.max())


VIEWS = {
    Random: "determinism",
    Counting: "determinism",
    Range: "range",
    Widened: "dtype",
    Overflowing: "dtype",
    Mixing: "batch",
    Resized: "shape",
    Channels: "shape",
    Forgetful: "spec",
    Writing: "input",
    Strided: "layout",
    Guessing: "known",
    Ignorant: "known",
    Rude: "build",
    Picky: "build",
    Failing: "runs",
}


def test_a_right_view_passes():
    check_view(Darkest, None)
    check_view(Darkest, None, images=[ImageSpec(4, height=2, width=3, levels=7)])


@pytest.mark.parametrize(("view", "law"), VIEWS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_view_is_caught_by_the_law_it_breaks(view, law):
    with pytest.raises(ContractError) as error:
        check_view(view, None)
    assert error.value.law == law
    assert str(error.value).startswith(f"{law}: ")


def test_the_smallest_counterexample_is_shown():
    class Late(Darkest):
        def __call__(self, image):
            return super().__call__(image) + (image.sum((1, 2, 3), keepdim=True) > 700)

    with pytest.raises(ContractError, match=r"image = ") as error:
        check_view(Late, None, images=[ImageSpec(1, height=2, width=2)])
    assert "255" in str(error.value)


def test_a_size_that_was_asked_for_must_be_accepted():
    with pytest.raises(ContractError, match="never"):
        check_view(Picky, None, images=[ImageSpec(height=2, width=2)])


# Distributions -------------------------------------------------------------------------------------------------------


class Net(CausalNetwork):
    """A right network: what the broken ones differ from in one thing."""

    offset = 0

    def __init__(self, image, features_channels, head=None):
        super().__init__()
        self.image = image
        self.features_channels = features_channels
        self.head = head or SoftmaxHead(image)
        # Two rows and three columns above, and one to the left.
        self.above = CausalConv2d(image.channels, 4, (1, 2), (-1, 1))
        self.left = CausalConv2d(image.channels, 4, (0, 0), (-1, -1 + self.offset))
        inputs = [4, 4, *([features_channels] if features_channels else [])]
        self.out = Pointwise(inputs, self.head.parameter_count)

    def forward(self, image, features=None):
        hidden = [torch.tanh(self.above(image)), torch.tanh(self.left(image))]
        return self.out(*hidden, *([] if features is None else [features]))


class Ahead(Net):
    offset = 1


class Reversed(Net):
    """As causal as the other way round, and so not in raster order."""

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


class Unused(Net):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.spare = nn.Parameter(torch.zeros(1))


class Dividing(Net):
    def forward(self, image, features=None):
        return super().forward(image, features) / (1 - image.mean((1, 2, 3), keepdim=True))


class Stuck(Net):
    def initialize(self, image, features=None):
        self.eval()


class Blind(Net):
    def forward(self, image, features=None):
        return super().forward(image, None if features is None else features * 0)


class Unnormalised(SoftmaxHead):
    def log_prob(self, parameters, image):
        return SoftmaxHead.channel_log_prob(self, parameters, image).sum(1) * 1.01

    def channel_log_prob(self, parameters, image):
        return None


class OneSided(SoftmaxHead):
    """Draws what its log_prob has not said."""

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


def head_of(kind):
    return lambda image: kind(image, 2) if issubclass(kind, LogisticMixtureHead) else kind(image)


NETWORKS = {
    Ahead: "causality",
    Reversed: "causality",
    Dropping: "determinism",
    Normed: "batch",
    Unsaved: "save",
    Unused: "gradient",
    Dividing: "finite",
    Stuck: "initialize",
    CountsByType: "dtype",
}
HEADS = {Unnormalised: "normalization", OneSided: "draws", WrongChannels: "head", BoundlessHead: "range"}


def prior_of(network=Net, head=None, kind=CausalPrior):
    def build(config, image):
        return kind(network(image, 0, head and head_of(head)(image)))

    return build


def decoder_of(network=Net, head=None, kind=CausalDecoder):
    def build(config, image, channels):
        return kind(network(image, channels, head and head_of(head)(image)))

    return build


def test_a_right_network_passes_as_prior_and_as_decoder():
    check_prior(prior_of(), None)
    check_decoder(decoder_of(), None)


@pytest.mark.parametrize(("network", "law"), NETWORKS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_network_is_caught_as_prior(network, law):
    with pytest.raises(ContractError) as error:
        check_prior(prior_of(network), None)
    assert error.value.law == law


@pytest.mark.parametrize(
    ("network", "law"),
    [(Ahead, "causality"), (Unsaved, "save"), (Unused, "gradient"), (Blind, "gradient")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_broken_network_is_caught_as_decoder(network, law):
    with pytest.raises(ContractError) as error:
        check_decoder(decoder_of(network), None)
    assert error.value.law == law


@pytest.mark.parametrize(("head", "law"), HEADS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_head_is_caught(head, law):
    for check, build in ((check_prior, prior_of(head=head)), (check_decoder, decoder_of(head=head))):
        with pytest.raises(ContractError) as error:
            check(build, None)
        assert error.value.law == law


class Forgetting(CausalPrior):
    """A prior that draws over what is known."""

    def draw(self, draws, sampler, known=None):
        return super().draw(draws, sampler)


class Unseeded(CausalPrior):
    def draw(self, draws, sampler, known=None):
        return super().draw(attrs.evolve(draws, indices=tuple(range(len(draws.indices)))), sampler, known)


class Scalar(CausalPrior):
    def log_prob(self, image):
        return super().log_prob(image).sum()


class Mistaken(CausalPrior):
    def __init__(self, network):
        super().__init__(network)
        self.image = attrs.evolve(network.image, levels=network.image.levels + 1)


class Table(Prior):
    """No causal network at all: a probability for each image of a tiny space."""

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

    def draw(self, draws, sampler, known=None):
        edges = self.logits.softmax(0).cumsum(0)
        found = torch.searchsorted(edges, draws.uniforms((1,)).to(edges.dtype)).clamp(max=len(edges) - 1)
        images = all_images(self.image)[found.flatten()]
        return images if known is None else torch.where(known.mask[:, None], known.values, images)


class Tempered(Table):
    power = 2.0


@pytest.mark.parametrize(
    ("kind", "law"), [(Forgetting, "known"), (Unseeded, "draw"), (Scalar, "shape"), (Mistaken, "spec")]
)
def test_a_broken_prior_is_caught(kind, law):
    with pytest.raises(ContractError) as error:
        check_prior(prior_of(kind=kind), None)
    assert error.value.law == law


def test_a_prior_need_not_be_a_causal_network():
    check_prior(Table, None)
    with pytest.raises(ContractError) as error:
        check_prior(Tempered, None)
    assert error.value.law == "normalization"


def test_what_was_not_checked_is_said():
    with pytest.warns(UserWarning, match="normalization and draws were not checked"):
        check_prior(prior_of(), None, images=[ImageSpec(height=4, width=4)])


class Silent(Net):
    """Begins by predicting the same everywhere."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, image, features=None):
        return super().forward(image, features) * self.gain


class Uniform(Table):
    """Nothing to learn."""

    def __init__(self, config, image):
        super().__init__(config, image)
        logits = self.logits.detach()
        del self.logits
        self.register_buffer("logits", logits)


class Frozen(Net):
    """A part that is never trained stays in evaluation mode."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.above.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        self.above.eval()
        return self


class Uncoupled(LogisticMixtureHead):
    """Draws each channel as if it did not depend on those before."""

    def draw(self, parameters, uniforms, rule):
        parameters = parameters.clone()
        parameters.view(len(parameters), -1, self.components)[:, 1 + 2 * self.channels :] = 0
        return super().draw(parameters, uniforms, rule)


class Returnless(CausalPrior):
    def log_prob(self, image):
        super().log_prob(image)


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


# Embeddings ----------------------------------------------------------------------------------------------------------


class Features(Embedding):
    def __init__(self, config, view, image):
        super().__init__()
        self.view, self.image, self.features_channels = view, image, 2
        self.layer = nn.Conv2d(view.channels, 2, 1)

    def forward(self, view):
        features = self.layer(view.to(self.layer.weight.dtype) / self.view.levels)
        return nn.functional.interpolate(features, (self.image.height, self.image.width))


class Constant(Features):
    def forward(self, view):
        return super().forward(view * 0)


class TooSmall(Features):
    def forward(self, view):
        return super().forward(view)[:, :1]


class Averaging(Features):
    def forward(self, view):
        features = super().forward(view)
        return features - features.mean(0, keepdim=True)


class Noisy(Features):
    def forward(self, view):
        return nn.functional.dropout(super().forward(view), 0.5)


class Logarithmic(Features):
    def forward(self, view):
        return super().forward(view) + view[:, :1].double().log().mean()


class Wrapping(Features):
    def forward(self, view):
        return super().forward(2 * view)


class Fixed(Features):
    """Nothing to learn, which is no fault."""

    def __init__(self, config, view, image):
        super().__init__(config, view, image)
        self.layer.requires_grad_(False)


class Swapped(Features):
    def __init__(self, config, view, image):
        super().__init__(config, image, view)


class Hidden(Features):
    def __init__(self, config, view, image):
        super().__init__(config, view, image)
        self.gain = torch.randn(()).item()

    def forward(self, view):
        return super().forward(view) * self.gain


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Constant, "view"),
        (TooSmall, "shape"),
        (Averaging, "batch"),
        (Noisy, "determinism"),
        (Logarithmic, "finite"),
        (Swapped, "spec"),
        (Wrapping, "dtype"),
        (Hidden, "save"),
    ],
)
def test_a_broken_embedding_is_caught(kind, law):
    with pytest.raises(ContractError) as error:
        check_embedding(kind, None)
    assert error.value.law == law


def test_a_right_embedding_passes():
    check_embedding(Features, None)
    check_embedding(Fixed, None)
    check_embedding(Features, None, pairs=[(ImageSpec(4, height=1, width=1), ImageSpec(height=3, width=2))])


# Samplers ------------------------------------------------------------------------------------------------------------


class Copy(RasterSampler):
    """What the broken ones differ from in one thing."""


class Deaf(Copy):
    def sample(self, network, features, draws, known=None):
        return super().sample(network, features, draws)


class OneNoise(Copy):
    def sample(self, network, features, draws, known=None):
        return super().sample(network, features, attrs.evolve(draws, level=0), known)


class Leader(Copy):
    """All images with the features of the first."""

    def sample(self, network, features, draws, known=None):
        return super().sample(network, None if features is None else features[:1].expand_as(features), draws, known)


class Waker(Copy):
    def sample(self, network, features, draws, known=None):
        found = super().sample(network, features, draws, known)
        network.train()
        return found


class Short(Copy):
    def sample(self, network, features, draws, known=None):
        return super().sample(network, features, draws, known).to(torch.uint8)


class Heavy(Copy):
    @torch.no_grad()
    def sample(self, network, features, draws, known=None):
        found = super().sample(network, features, draws, known)
        next(network.parameters()).mul_(2)
        return found


class Teacher(Sampler):
    """Draws all pixels at once, which is not how the model draws them."""

    @torch.no_grad()
    def sample(self, network, features, draws, known=None):
        image = torch.zeros(len(draws.indices), *network.image.shape, dtype=torch.int64)
        parameters = network.eval()(network.encode(image), features)
        noise = draws.uniforms((network.head.uniform_count, *network.image.shape[1:]))
        places = itertools.product(range(network.image.height), range(network.image.width))
        for row, column in places:
            at = parameters[:, :, row, column], noise[:, :, row, column]
            image[:, :, row, column] = network.head.draw(*at, draws.rule)
        return image


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Deaf, "equality"),
        (OneNoise, "equality"),
        (Leader, "equality"),
        (Waker, "mode"),
        (Short, "dtype"),
        (Heavy, "weights"),
        (Teacher, "equality"),
    ],
)
def test_a_broken_sampler_is_caught(kind, law):
    image = ImageSpec(1, height=3, width=2, levels=16)
    with pytest.raises(ContractError) as error:
        check_sampler(lambda config: kind(), None, networks=[Net(image, 0), Net(image, 2)])
    assert error.value.law == law


def test_a_sampler_is_checked_on_the_networks_it_is_meant_for():
    image = ImageSpec(1, height=3, width=3, levels=4)
    networks = [Net(image, 0), Net(image, 2)]
    before = [parameter.clone() for network in networks for parameter in network.parameters()]
    check_sampler(lambda config: Copy(), None, networks=networks)
    after = [parameter for network in networks for parameter in network.parameters()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
