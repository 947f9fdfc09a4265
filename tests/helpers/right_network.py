"""A right network, which those that break the contract differ from in one thing."""

import torch

from auxar.interfaces import CausalNetwork
from auxar_heads.softmax import SoftmaxHead
from auxar_layers.convolutions import CausalConv2d, Pointwise


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
