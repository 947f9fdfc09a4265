"""The contract check of priors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from auxar.causal import CausalPrior
from auxar.interfaces import ImageSpec, Prior
from auxar.testing.distributions import check_distribution
from auxar.testing.examples import randomized
from auxar.testing.laws import broken
from auxar.testing.networks import Distribution
from auxar.testing.parts import check_parts


def check_prior(
    build: Callable[[Any, ImageSpec], Prior], config: object, *, images: Sequence[ImageSpec] | None = None
) -> None:
    """Checks the prior that `build(config, image)` returns, with random float64 weights and random images.

    The laws:

    - `build`: the only error that `build` raises is `UserError`, for specs that it does not support.
    - `spec`: `image` is the spec passed to `build`.
    - `shape`: `log_prob` is floating point of shape (b,).
    - `finite`: `log_prob` is finite, also for extreme images and after `initialize`.
    - `range`: no probability is greater than 1, and drawn values lie in [0, levels).
    - `determinism`: in evaluation mode, equal images have equal `log_prob`.
    - `batch`: the `log_prob` of an image does not depend on the other images of the batch, few or many.
    - `precision`: in float32, `log_prob` is nearly the same as in float64.
    - `dtype`: an image has the same `log_prob` in uint8, int16, int32 and int64.
    - `layout`: `log_prob` does not depend on the memory layout of the image.
    - `inputs`: no method changes its arguments.
    - `mode`: no method changes the mode (training or evaluation) of any part of the model. `sample` draws in evaluation
      mode and restores the mode of each part.
    - `state`: no method changes torch's gradient mode or default dtype, or, in evaluation mode, draws from or seeds
      torch's random numbers.
    - `channels`: the total of `log_prob_by_channel` equals `log_prob`; the values of single channels, if given, sum to
      the total. In images of one pixel, the value of a channel does not depend on later channels.
    - `normalization`: the probabilities of all images sum to 1, or, if the model is not `exact`, to at most 1.
    - `draws`: the frequencies of drawn images match their probabilities, if the model is `exact`.
    - `draw`: `draw` returns int64 images. An image depends only on its own number and on the request's seed, depth,
      rule and known pixels. Other numbers, seeds and depths give other images.
    - `known`: `draw` keeps known pixels, and the limits of other pixels (`Known.limits`). If all pixels are known,
      `draw_views` returns the views of the known image.
    - `factors`: names, depths and specs of `factors` and `specs` fit together. The parameters of the factors are those
      of the model, and their log-likelihoods sum to `log_prob` and equal those of `log_probs` and
      `log_prob_by_channel`. A factor raises `UserError` if its view is missing or unexpected.
    - `views`: `views` returns the image and integers as `specs` describe them, up to `deepest`. `draw` and `draw_views`
      draw the same image, and `draw_from` draws it again from each of its drawn views. The views of an image that an
      `exact` model draws are those that it was drawn from.
    - `parts`: a `Chain` of the stages and the prior that `parts` returns has the same `log_prob`.
    - `sample`: `sample` returns the images that `draw` returns for the same request, in batches of any size.
    - `bits`: `bits_per_dim` is -`log_prob` / (log 2 · sub-pixels), and raises `UserError` for values outside
      [0, levels).
    - `save`: loading saved weights restores `log_prob` exactly, also after `initialize`.
    - `initialize`: `initialize` changes the training mode of no module.
    - `gradient`: each trainable parameter gets a gradient, and all gradients are finite. While gradients are recorded,
      `log_prob` is the same.
    - `recompute`: if every `auxar.RecomputableBlock` is computed a second time in the backward pass, gradients and
      state are the same to the last bit.
    - `device`: `log_prob` on a GPU equals that on the CPU up to rounding.
    - `runs`: valid input raises no exception.

    The laws of an `auxar.CausalPrior`:

    - `causality`: a prediction depends on earlier pixels in raster order alone, in evaluation mode and in training
      mode. Statistics over pixels or images of a batch, as in batch normalization, break this law.
    - `encode`: the network's `encode` converts each pixel alone, and in the same way at every place.
    - `steps`: an `auxar.StepwiseNetwork` predicts the same pixel by pixel as for the whole image.
    - `rule`: under every drawing rule, `draw` returns the images that a sampler draws with `auxar.DrawSource`.

    The head of an `auxar.CausalPrior` is also checked, with random parameters and the laws of `check_head`.

    `normalization` and `draws` are checked on specs so small that all images can be enumerated. `images` lists the
    image specs to build the prior for. `build` must accept each of them. By default, small specs are tried, and specs
    that `build` refuses with `UserError` are skipped.

    Raises `ContractError` if a law is broken. Warns if no spec is small enough to sum over all its images.
    """

    def make(spec: ImageSpec, channels: int) -> Distribution:
        prior = build(config, spec)
        if not isinstance(prior, Prior):
            broken("spec", f"build must return an auxar.Prior, got {type(prior).__name__}")
        if getattr(prior, "image", None) != spec:
            found = getattr(prior, "image", None)
            broken("spec", f"the prior's `image` must be the spec passed to build, got {found}", built_for=spec)
        return Distribution(
            prior,
            spec,
            lambda image, features: prior.log_prob(image),
            lambda features, request, sampler: prior.draw(request, sampler),
            lambda image, features: prior.initialize(image),
            lambda image, features: prior.log_prob_by_channel(image),
            network=prior.network if isinstance(prior, CausalPrior) else None,
            exact=prior.exact,
        )

    for seed, spec in enumerate(check_distribution(make, images, (0,))):
        check_parts(randomized(build(config, spec), seed, 1.0), seed)
