"""An evaluation: the log-likelihoods of single images, the facts that decide them, and the figures that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.evaluation.facts import SETS, DataFacts, Exactness, FactorFacts, Images, WeightsKind, kind_of
from auxar.evaluation.figures import Dims, Figures, Mean, bits
from auxar.model import FLOAT, ConditionKind, ImageSpec
from auxar.model.factor import CONDITION_FACTOR
from auxar.model.image import term
from auxar.numerics.energy import fallen

NATS, INSIDE, NULL, RULE = "nats", "inside", "null", "rule"
"""Parts of the log-likelihood of images: log p, the log-probability that a free decoder gives to values that the view
allows, log p given the null condition, and log p of the images that a rule draws."""
PIXELS = "pixels"
"""The part with the number of pixels of each image of a factor, if images have other sizes than the model's."""
SAMPLES = "samples"
"""The name of the set of exact samples of the model."""
CODECS = "codecs"
"""The name of the set of the first held-out images, which lossless codecs also store."""
IN_CHAIN, FROM_VIEWS = "in_chain", "given_heldout_views"
"""The two kinds of samples: drawn by the whole chain, and drawn given the views of held-out images."""
ENERGY = "energy"
"""The part with the energy of each image, `heldout_energy`, `in_chain_energy` or `given_heldout_views_energy`."""


@attrs.frozen(eq=False)
class Evaluation:
    """The evaluation of a model on images, in one arithmetic.

    Examples:
        >>> import auxar
        >>> evaluation = auxar.compare(["runs/quickstart"]).runs[0].evaluation
        >>> str(evaluation).endswith("bits/dim (exact, p(X))")
        True
        >>> evaluation.bits_per_dim("heldout").value > evaluation.bits_per_dim("heldout", "stage0").error > 0
        True
        >>> {(row["set"], row["factor"]) for row in evaluation.rows()} >= {("heldout", "total"), ("heldout", "prior")}
        True
    """

    factors: list[FactorFacts]
    data: DataFacts
    """The source of the images."""
    checksums: dict[str, str] = attrs.Factory(dict)
    """The checksums of the files of weights that were evaluated, by factor."""
    arithmetic: str = FLOAT
    """The arithmetic in which likelihoods were computed: `float`, or the name of a component, such as `integer`."""
    condition: ConditionKind | None = None
    """The kind of the condition that the images were given; None for a model without a condition."""
    rule: str | None = None
    """A phrase that says what the rule `evaluation.rule` draws; None if no rule was evaluated."""
    digests: dict[str, str] = attrs.Factory(dict)
    """The digests of the converted factors, by name. Empty for `float`."""
    key: str = ""
    """Key of the work that computed it, a digest of the weights, images and options."""
    tensors: Mapping[str, Tensor] = attrs.Factory(dict)
    """Log-likelihoods in nats, float64, (channels, images), by set, factor and part, such as `heldout.stage0.nats`.

    Sets are `heldout`, `training` and `samples`, and factors are those that are trained, and `condition`. The parts are
    `nats`, `inside`, `null` and `rule` or, of samples, `in_chain` and `given_heldout_views`. Rows are the channels of
    the factor's image, each given the channels before it. There is one row if a factor cannot tell channels apart. If
    images have other sizes than the model's, there is also the part `pixels`, (1, images). Of samples, there are also
    energies and excesses in levels (see `auxar.numerics.energy`), (2, images): `in_chain_energy`,
    `given_heldout_views_energy` and, of the held-out images with the same numbers, `heldout_energy`. The set `codecs`
    has lossless codecs in place of factors: the sizes of the first held-out images in files, -log(256) for each
    byte."""

    def __repr__(self) -> str:
        return f"{self.bits_per_dim()} bits/dim ({self.kind}, {term('X', self.condition)})"

    def has_facts_of(self, other: Evaluation) -> bool:
        """Whether the factors, the weights and the source of the images are those of another evaluation."""
        data = attrs.evolve(self.data, heldout_digest=other.data.heldout_digest)
        return (self.factors, data, self.checksums) == (other.factors, other.data, other.checksums)

    @property
    def image(self) -> ImageSpec:
        """Description of the images that the model describes."""
        return self.factors[0].image

    @property
    def kind(self) -> Exactness:
        """Whether the figures of the whole model are exact, that is, whether all factors are exact."""
        return kind_of(self.factors)

    @property
    def cumulative_kinds(self) -> list[Exactness]:
        """For each factor, whether its cumulative figures are exact: whether it and all coarser factors are exact."""
        return [kind_of(self.factors[place:]) for place in range(len(self.factors))]

    @property
    def weights(self) -> WeightsKind:
        """Kind of weights that were evaluated; `mixed` if factors differ or none is trained."""
        found = {factor.weights for factor in self.factors if factor.weights is not None}
        return next((kind for kind in ("ema", "last", "own") if found == {kind}), "mixed")

    @property
    def images(self) -> dict[Images, int]:
        """Number of images of each set that was evaluated."""
        counts = {key.partition(".")[0]: tensor.shape[1] for key, tensor in self.tensors.items()}
        return {name: counts[name] for name in SETS if name in counts}

    def missing(self, images: Images) -> list[str]:
        """Names of the factors that have no figures for a set, because they are not trained or it is not evaluated."""
        return [factor.factor for factor in self.factors if f"{images}.{factor.factor}.{NATS}" not in self.tensors]

    @property
    def trained_elsewhere(self) -> list[str]:
        """Names of the factors that were trained on other images than the training images, perhaps on held-out ones.

        Factors whose recipe has a data set of their own are not among them.
        """
        others = [factor for factor in self.factors if factor.trained_on not in (None, self.data.fingerprint)]
        return [factor.factor for factor in others if factor.history is None or factor.history.data is None]

    def nats(self, images: str, factors: Sequence[FactorFacts], part: str = NATS) -> Tensor | None:
        """Log-likelihood of each image under factors together, (images,). None if it is unknown for one of them."""
        found = [self.tensors.get(f"{images}.{factor.factor}.{part}") for factor in factors]
        known = [rows.sum(0) for rows in found if rows is not None]
        return torch.stack(known).sum(0) if known and len(known) == len(found) else None

    def figures(self, images: Images = "heldout", factor: str | None = None) -> Figures:
        """Figures of a factor or, without a name, of the whole model."""
        dims = self._dims(images, self.factors[0])
        if factor is None:
            nats = self.nats(images, self.factors)
            free = [each for each in self.factors if each.support == "free"]
            inside = self.nats(images, free, INSIDE) if free or nats is None else torch.zeros_like(nats)
            return Figures(nats, inside, nats, dims, dims)
        place = next(place for place, each in enumerate(self.factors) if each.factor == factor)
        own, coarser = self.factors[place], self.factors[place:]
        nats, inside = (self.nats(images, [own], part) for part in (NATS, INSIDE))
        together, own_dims = self.nats(images, coarser), self._dims(images, own)
        return Figures(nats, inside, together, own_dims, dims, self._channels(images, own))

    def _dims(self, images: str, factor: FactorFacts) -> Dims:
        """The number of sub-pixels of a factor's image, or of each image if they have several sizes."""
        pixels = self.tensors.get(f"{images}.{factor.factor}.{PIXELS}")
        return factor.image.dims if pixels is None else pixels[0] * factor.image.channels

    def _channels(self, images: Images, factor: FactorFacts) -> list[Figures]:
        """Figures of each channel of a factor's image. Empty if the factor cannot split its likelihood."""
        rows, inside = (self.tensors.get(f"{images}.{factor.factor}.{part}") for part in (NATS, INSIDE))
        if rows is None or len(rows) != factor.image.channels:
            return []
        dims, of_image = self._dims(images, factor) / len(rows), self._dims(images, self.factors[0])
        parts = [None] * len(rows) if inside is None else inside
        return [Figures(nats, part, None, dims, of_image) for nats, part in zip(rows, parts, strict=False)]

    def bits_per_dim(self, images: Images = "heldout", factor: str | None = None) -> Mean:
        """Bits/dim of the whole model, or of a factor's own image."""
        return self.figures(images, factor).bits_per_dim

    def difference(self, factor: str | None = None) -> Mean:
        """Held-out minus training bits/dim. A difference of several standard errors indicates overfitting."""
        return self.bits_per_dim("heldout", factor) - self.bits_per_dim("training", factor)

    def without_condition(self, images: Images = "heldout") -> Mean:
        """Bits/dim if images are given the null condition. Unknown if the model does not accept it."""
        return bits(self.nats(images, self.factors, NULL), self._dims(images, self.factors[0]))

    def saved(self, images: Images = "heldout") -> Mean:
        """Bits/dim that the conditions of images save, compared with the null condition."""
        nats, null = (self.nats(images, self.factors, part) for part in (NATS, NULL))
        return bits(None if nats is None or null is None else null - nats, self._dims(images, self.factors[0]))

    def under_rule(self, images: Images = "heldout", factor: str | None = None) -> Mean:
        """Bits/dim of the images that the rule draws, of the whole model or of a factor; unknown without a rule."""
        factors = self._named(factor)
        return bits(self.nats(images, factors, RULE), self._dims(images, factors[0]))

    def cost_of_rule(self, images: Images = "heldout", factor: str | None = None) -> Mean:
        """Bits/dim by the rule minus those of the model itself, for the same images; unknown without a rule."""
        factors = self._named(factor)
        exact, ruled = (self.nats(images, factors, part) for part in (NATS, RULE))
        return bits(None if exact is None or ruled is None else ruled - exact, self._dims(images, factors[0]))

    def _named(self, factor: str | None) -> list[FactorFacts]:
        """The factor with a name, or all factors."""
        return [each for each in self.factors if factor in (None, each.factor)]

    def codecs(self) -> dict[str, tuple[Mean, Mean]]:
        """Bits/dim of the first held-out images in files of lossless codecs, by the name of the codec.

        The second mean is the bits/dim of the model minus the bits/dim of the codec, for the same images. There are no
        codecs if a factor is not trained, if images are a stream, or if they are not gray or RGB with 256 levels.
        """
        nats, dims, found = self.nats("heldout", self.factors), self._dims("heldout", self.factors[0]), {}
        for name, sizes in self._sizes_in_files().items():
            of = dims[: len(sizes)] if isinstance(dims, Tensor) else dims
            found[name] = bits(sizes, of), bits(None if nats is None else nats[: len(sizes)] - sizes, of)
        return found

    @property
    def codec_count(self) -> int:
        """Number of held-out images that codecs also store."""
        return next((len(sizes) for sizes in self._sizes_in_files().values()), 0)

    def _sizes_in_files(self) -> dict[str, Tensor]:
        keys = [key for key in self.tensors if key.startswith(f"{CODECS}.")]
        return {key.split(".")[1]: self.tensors[key][0] for key in keys}

    def condition_bits(self, images: Images = "heldout") -> Mean:
        """Bits of a condition, -log₂ p(y). Unknown if conditions are not modeled."""
        nats = self.tensors.get(f"{images}.{CONDITION_FACTOR}.{NATS}")
        return bits(None if nats is None else nats.sum(0))

    def samples(self, factor: str, kind: str) -> Mean:
        """Bits/dim of a factor for exact samples of the model, of the kind `in_chain` or `given_heldout_views`.

        If the model fits its data, they are about equal to the bits/dim of held-out images.
        """
        factors = self._named(factor)
        return bits(self.nats(SAMPLES, factors, kind), self._dims(SAMPLES, factors[0]))

    def fallen(self, factor: str, kind: str) -> int | None:
        """Number of a factor's exact samples of a kind that fell apart; None if it was not measured.

        Energies in the highest frequency tell this: see `auxar.numerics.energy.fallen`. They are compared with those of
        the held-out images for which samples were drawn.
        """
        energies, real = (self.tensors.get(f"{SAMPLES}.{factor}.{part}_{ENERGY}") for part in (kind, "heldout"))
        return None if energies is None or real is None else int(fallen(energies.T, real.T).sum())

    @property
    def sample_count(self) -> int:
        """Number of samples of each kind."""
        return next((tensor.shape[1] for key, tensor in self.tensors.items() if key.endswith(IN_CHAIN)), 0)

    def is_of_same(self, other: Evaluation) -> bool:
        """Whether both evaluations are of the same weights and images, so that they differ in their arithmetic only."""
        return (self.checksums, self.data, self.images) == (other.checksums, other.data, other.images)

    def cost(self, floats: Evaluation, images: Images = "heldout") -> Mean:
        """Bits/dim in this arithmetic minus bits/dim in floating point, for the same images."""
        nats, expected = (each.nats(images, self.factors) for each in (self, floats))
        return bits(None if nats is None or expected is None else nats - expected, self._dims(images, self.factors[0]))

    def rows(self) -> list[dict[str, Any]]:
        """The figures as flat rows, for a table of pandas: of each set, factor (and `total`), and channel (or None)."""
        return [
            {"set": images, "factor": name or "total", "channel": channel, "images": count, **part.means()}
            for images, count in self.images.items()
            for name in (None, *(factor.factor for factor in self.factors))
            for figures in [self.figures(images, name)]
            for channel, part in [(None, figures), *enumerate(figures.channels)]
        ]

    def to_dict(self) -> dict[str, Any]:
        """The facts and figures as plain values, as `auxar evaluate --json` prints them."""
        totals = {images: self.figures(images).means() for images in SETS}
        own_bits = {images: self.condition_bits(images) for images in SETS}
        keys = ("bits_per_dim", "standard_error", "wasted_bits_per_dim", "wasted_standard_error")
        facts = ("kind", "weights", "images", "checksums", "arithmetic", "condition", "digests")
        return {
            **{key: {images: found[key] for images, found in totals.items()} for key in keys},
            **{fact: getattr(self, fact) for fact in facts},
            "data": attrs.asdict(self.data),
            "difference": self.difference().to_dict(),
            "without_condition": {
                images: found.to_dict() | self.saved(images).to_dict("saved", "saved_error")
                for images in SETS
                if (found := self.without_condition(images)).value is not None
            },
            "rule": {"meaning": self.rule, **{images: self._by_rule(images) for images in self.images}}
            if self.rule
            else None,
            "condition_figures": {name: own.to_dict("bits") for name, own in own_bits.items() if own.value is not None},
            "codecs": {
                name: mean.to_dict() | difference.to_dict("difference", "difference_error")
                for name, (mean, difference) in self.codecs().items()
            },
            "factors": [self._factor(place) for place in range(len(self.factors))],
        }

    def _factor(self, place: int) -> dict[str, Any]:
        factor, name = self.factors[place], self.factors[place].factor
        samples: dict[str, Any] = {"count": self.sample_count}
        for kind in (IN_CHAIN, FROM_VIEWS):
            samples |= self.samples(name, kind).to_dict(kind, f"{kind}_standard_error")
            samples[f"{kind}_fallen"] = self.fallen(name, kind)
        return {
            **attrs.asdict(factor),
            "cumulative_kind": self.cumulative_kinds[place],
            **{images: self.figures(images, name).to_dict() for images in SETS},
            "difference": self.difference(name).to_dict(),
            "samples": samples if self.sample_count else None,
            "rule": {images: self._by_rule(images, name) for images in self.images} if self.rule else None,
        }

    def _by_rule(self, images: Images, factor: str | None = None) -> dict[str, float | None]:
        cost = self.cost_of_rule(images, factor)
        return self.under_rule(images, factor).to_dict() | cost.to_dict("cost", "cost_error")
