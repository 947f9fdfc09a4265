"""Checks of the laws that priors and decoders share, as both are distributions over images."""

from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.model import ByChannel, CausalDistribution, CausalNetwork, GivenView
from auxar.testing.examples import all_images
from auxar.testing.laws import broken, calling, check_equal, check_tensor, described
from auxar.testing.modules import CLOSE, Trained, check_values


@attrs.frozen(eq=False)
class Distribution(Trained):
    """A prior, or a decoder that is given features, behind one interface.

    If it has given views, the inputs may include others in their place, as a third tensor.
    """

    what = "log_prob"
    given: GivenView | None = None
    """Views that images are given, with their support."""

    @property
    def network(self) -> CausalNetwork | None:
        """The causal network, if there is one. It and its head are then checked too."""
        return self.module.network if isinstance(self.module, CausalDistribution) else None

    @property
    def restricts(self) -> bool:
        """Whether it is a decoder that can be restricted."""
        return bool(self.features_channels) and bool(self.module.restricts)

    @property
    def exact(self) -> bool:
        """Whether `log_prob` is the log-likelihood itself, not a lower bound of it."""
        return bool(self.module.exact) or (self.given is not None and self.given.restricted)

    def inputs(self, count: int, seed: int, *, extreme: bool = False) -> tuple[Any, ...]:
        """Random inputs. With given views, each image is its own view."""
        image, features = super().inputs(count, seed, extreme=extreme)
        return (image, features) if self.given is None else (image, features, image)

    def compute(self, image: Any, features: Any = None, view: Any = None) -> Tensor:
        found: Tensor = self.module.log_prob(image, *self._arguments(features, view))
        check_tensor("log_prob", found, (len(image),))
        return found

    def by_channel(self, image: Tensor, *inputs: Tensor | None) -> ByChannel:
        """`log_prob_by_channel` of the module without gradients."""
        with calling("log_prob_by_channel", image, *inputs, module=self.module), torch.no_grad():
            found: ByChannel = self.module.log_prob_by_channel(image, *self._arguments(*inputs))
        if not isinstance(found, ByChannel):
            broken("channels", f"log_prob_by_channel must return an auxar.ByChannel, got {described(found)}")
        return found

    def _arguments(self, features: Tensor | None, view: Tensor | None = None) -> tuple[object, ...]:
        given = None if view is None or self.given is None else attrs.evolve(self.given, view=view)
        return tuple(each for each in (features, given) if each is not None)


def check_likelihoods(model: Distribution, seed: int) -> None:
    """Checks all invariances of `log_prob`, and the laws `finite` and `range`."""
    found = check_values(model, seed)
    if (found > CLOSE).any():
        broken("range", "a probability is greater than 1", log_prob=found.max())


def check_sum(model: Distribution, seed: int) -> None:
    """Checks the law `normalization`: the probabilities of all images of a tiny spec sum to one."""
    everything = all_images(model.image)
    features = repeated(model.features(1, seed), len(everything))
    check_total("normalization", "the probabilities of all images", model.values(everything, features), model.exact)


def check_total(law: str, what: str, nats: Tensor, exact: bool = True) -> None:
    """Checks that probabilities, given as nats, sum to one, or to at most one if they are not `exact`."""
    total = nats.double().logsumexp(0).exp().item()
    if not (abs(total - 1) <= 1e-6 or (not exact and total <= 1)):
        expected = "1" if exact else "at most 1, because the model is not `exact`"
        broken(law, f"{what} must add up to {expected}, got {total:.9g}", count=len(nats))


def check_features(model: Distribution, seed: int) -> None:
    """Checks the law `gradient` on a decoder with random weights: the loss depends on the features.

    Random weights are needed because a newly built decoder may ignore its features.
    """
    image, features = model.inputs(2, seed)
    if features is None:
        return
    features.requires_grad_()
    with calling("training"):
        loss = model.loss(image, features)
        if loss.requires_grad:
            loss.backward()
    if features.grad is None or not features.grad.any():
        broken("gradient", "the loss does not depend on the features, so the decoder ignores the view")


def check_channels(model: Distribution, seed: int) -> None:
    """Checks the law `channels`: the total of `log_prob_by_channel` equals `log_prob`.

    The values of single channels, if given, sum to the total.
    """
    image, features = model.inputs(3, seed)
    total, found = model.values(image, features), model.by_channel(image, features)
    check_equal("channels", "the total of log_prob_by_channel must be log_prob", found.total, total, CLOSE)
    if found.channels is None:
        return
    check_tensor("channels", found.channels, (3, model.image.channels), law="channels")
    check_equal("channels", "channels must add up to log_prob", found.channels.sum(1), total, CLOSE)
    # In an image of one pixel, a channel depends on the channels before it alone.
    for channel in range(1, model.image.channels if model.image.shape[1:] == (1, 1) else 0):
        other = image.clone()
        other[:, channel:] = model.image.levels - 1 - other[:, channel:]
        changed = model.by_channel(other, features).channels
        assert changed is not None
        message = f"the log-likelihoods of channels before {channel} depend on the channels from {channel} on"
        check_equal("channels", message, changed[:, :channel], found.channels[:, :channel], CLOSE)


def repeated(values: Tensor | None, count: int) -> Tensor | None:
    """A tensor (1, …) expanded to (count, …); None if there is none."""
    return None if values is None else values.expand(count, *values.shape[1:])
