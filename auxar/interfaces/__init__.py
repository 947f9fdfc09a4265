"""The interfaces of auxiliary-variable models p(X, X̂) = p(X̂) p(X | X̂) with X̂ = ψ(X).

See Kolesnikov & Lampert 2017 ("the paper"), equations 2 and 3. Axes are `b c h w` (batch, channel, row, column). A
sub-pixel is one channel of one pixel. Images are passed as integers in [0, levels); `CausalNetwork.encode` scales them
to [-1, 1]. Log-likelihoods of images are in nats, with shape (b,). Each class is either abstract or final: plugins
implement the abstract classes and do not subclass the concrete ones.
"""

from auxar.interfaces.arithmetic import FLOAT, Arithmetic, Converted
from auxar.interfaces.condition import CONDITION_KINDS, NULL, Condition, ConditionKind, is_null
from auxar.interfaces.decoder import Decoder
from auxar.interfaces.embedding import Embedding, NetworkEmbedding
from auxar.interfaces.factor import Factor
from auxar.interfaces.head import Head, RestrictableHead
from auxar.interfaces.image import INTEGER_DTYPES, MOST_LEVELS, MOST_SIDE, ImageSpec, Interval, mark, scale
from auxar.interfaces.known import Known
from auxar.interfaces.likelihood import ByChannel, FactorLogProb
from auxar.interfaces.mode import evaluating
from auxar.interfaces.network import CausalNetwork, StepwiseNetwork
from auxar.interfaces.prior import Prior, PriorFactor
from auxar.interfaces.recomputation import RecomputableBlock, recomputable_blocks, recomputing
from auxar.interfaces.request import RULES, DrawRule, SampleRequest
from auxar.interfaces.sampling import PixelSource, Sampler
from auxar.interfaces.support import DrawnPixels, RepeatedWalk, Restriction, Support, Walk
from auxar.interfaces.validation import at_most, positive
from auxar.interfaces.version import INTERFACE_VERSION
from auxar.interfaces.view import View

__all__ = [
    "CONDITION_KINDS",
    "FLOAT",
    "INTEGER_DTYPES",
    "INTERFACE_VERSION",
    "MOST_LEVELS",
    "MOST_SIDE",
    "NULL",
    "RULES",
    "Arithmetic",
    "ByChannel",
    "CausalNetwork",
    "Condition",
    "ConditionKind",
    "Converted",
    "Decoder",
    "DrawRule",
    "DrawnPixels",
    "Embedding",
    "Factor",
    "FactorLogProb",
    "Head",
    "ImageSpec",
    "Interval",
    "Known",
    "NetworkEmbedding",
    "PixelSource",
    "Prior",
    "PriorFactor",
    "RecomputableBlock",
    "RepeatedWalk",
    "RestrictableHead",
    "Restriction",
    "SampleRequest",
    "Sampler",
    "StepwiseNetwork",
    "Support",
    "View",
    "Walk",
    "at_most",
    "evaluating",
    "is_null",
    "mark",
    "positive",
    "recomputable_blocks",
    "recomputing",
    "scale",
]
