"""A correct network, from which tests of the contract derive networks that break one law each."""

import math

import torch

from auxar.model import CausalNetwork, Head, Prior
from auxar_heads.softmax import SoftmaxHead
from auxar_layers.convolutions import CausalConv2d, Pointwise


class Net(CausalNetwork):
    """A correct network, from which broken networks are derived."""

    offset = 0
    any_size = True

    def __init__(self, image, features_channels, head=None):
        super().__init__()
        self.image = image
        self.features_channels = features_channels
        self.head = head or SoftmaxHead(image)
        # `above` reads three columns of the two rows above, and `left` reads one pixel to the left.
        self.above = CausalConv2d(image.channels, 4, (1, 2), (-1, 1))
        self.left = CausalConv2d(image.channels, 4, (0, 0), (-1, -1 + self.offset))
        inputs = [4, 4, *([features_channels] if features_channels else [])]
        self.out = Pointwise(inputs, self.head.parameter_count)

    def forward(self, image, features=None):
        hidden = [torch.tanh(self.above(image)), torch.tanh(self.left(image))]
        return self.out(*hidden, *([] if features is None else [features]))


class PlainHead(Head):
    """A softmax that cannot be restricted."""

    def __init__(self, image):
        self.softmax = SoftmaxHead(image)
        self.parameter_count, self.uniform_count = self.softmax.parameter_count, self.softmax.uniform_count

    def log_prob(self, parameters, image):
        return self.softmax.log_prob(parameters, image)

    def channel_log_prob(self, parameters, image):
        return self.softmax.channel_log_prob(parameters, image)

    def draw(self, parameters, uniforms, adjustments):
        return self.softmax.draw(parameters, uniforms, adjustments)


class Flat(Prior):
    """A prior with only the required methods: all images are equally likely."""

    def __init__(self, image):
        super().__init__()
        self.image = image

    def log_prob(self, image):
        return torch.full((len(image),), -self.image.dims * math.log(self.image.levels))

    def draw(self, request, sampler):
        return torch.zeros((len(request.numbers), *self.image.shape), dtype=torch.int64)


class Bound(Flat):
    """A prior whose log-likelihood is only a lower bound."""

    exact = False
