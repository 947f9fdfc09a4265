"""Auxiliary-variable models p(X, X̂) = p(X̂) p(X | X̂) with X̂ = ψ(X): their parts, and the chain that joins them.

See Kolesnikov & Lampert 2017 ("the paper"), equations 2 and 3. Axes are `b c h w` (batch, channel, row, column). A
sub-pixel is one channel of one pixel. Images are passed as integers in [0, levels); `CausalNetwork.encode` scales them
to [-1, 1]. Log-likelihoods of images are in nats, with shape (b,). Each class is either abstract or final: plugins
implement the abstract classes and do not subclass the concrete ones.
"""

from auxar.model.centers import NeighborWalk, neighbor_centers
from auxar.model.chain import Chain, FactorLogProb
from auxar.model.condition import CONDITION_KINDS, NULL, Condition, Conditioning, ConditionKind, is_null
from auxar.model.distribution import ByChannel, CausalDistribution, Decoder, Prior
from auxar.model.embedding import Embedding, Encoded, NetworkEmbedding
from auxar.model.factor import FLOAT, Arithmetic, Converted, Factor
from auxar.model.factor_coder import FactorCoder
from auxar.model.head import Head, RestrictableHead
from auxar.model.image import INTEGER_DTYPES, MOST_LEVELS, MOST_SIDE, ImageSpec, Interval, Known, mark, scale
from auxar.model.integers import PARAMETER_BITS, Frequencies, IntegerHead
from auxar.model.network import (
    CausalNetwork,
    RecomputableBlock,
    StepwiseNetwork,
    device_of,
    evaluating,
    recomputable_blocks,
    recomputing,
    summary,
)
from auxar.model.request import SampleRequest
from auxar.model.rule import Adjusted, Adjustments, Ancestral, Rule
from auxar.model.sources import DecodeSource, DrawSource, ForceSource, PixelSource, Sampler
from auxar.model.sum_support import SumSupport, SumWalk
from auxar.model.support import CENTER_BITS, DrawnPixels, GivenView, RepeatedWalk, Support, Walk
from auxar.model.view import View

__all__ = [
    "CENTER_BITS",
    "CONDITION_KINDS",
    "FLOAT",
    "INTEGER_DTYPES",
    "MOST_LEVELS",
    "MOST_SIDE",
    "NULL",
    "PARAMETER_BITS",
    "Adjusted",
    "Adjustments",
    "Ancestral",
    "Arithmetic",
    "ByChannel",
    "CausalDistribution",
    "CausalNetwork",
    "Chain",
    "Condition",
    "ConditionKind",
    "Conditioning",
    "Converted",
    "DecodeSource",
    "Decoder",
    "DrawSource",
    "DrawnPixels",
    "Embedding",
    "Encoded",
    "Factor",
    "FactorCoder",
    "FactorLogProb",
    "ForceSource",
    "Frequencies",
    "GivenView",
    "Head",
    "ImageSpec",
    "IntegerHead",
    "Interval",
    "Known",
    "NeighborWalk",
    "NetworkEmbedding",
    "PixelSource",
    "Prior",
    "RecomputableBlock",
    "RepeatedWalk",
    "RestrictableHead",
    "Rule",
    "SampleRequest",
    "Sampler",
    "StepwiseNetwork",
    "SumSupport",
    "SumWalk",
    "Support",
    "View",
    "Walk",
    "device_of",
    "evaluating",
    "is_null",
    "mark",
    "neighbor_centers",
    "recomputable_blocks",
    "recomputing",
    "scale",
    "summary",
]
