"""A correct embedding, from which tests of the contract derive embeddings that break one law each."""

from torch import nn

from auxar.model import Embedding


class Features(Embedding):
    """A correct embedding for any sizes of view and image."""

    any_size = True

    def __init__(self, config, view, image):
        super().__init__()
        self.view, self.image, self.features_channels = view, image, 2
        self.layer = nn.Conv2d(view.channels, 2, 1)

    def forward(self, view):
        features = self.layer(view.to(self.layer.weight.dtype) / self.view.levels)
        return nn.functional.interpolate(features, (self.image.height, self.image.width))
