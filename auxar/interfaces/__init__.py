"""The interfaces of an auxiliary-variable model p(X, X̂) = p(X̂) p(X | X̂), X̂ = ψ(X): one file each.

Kolesnikov & Lampert 2017, equations 2 and 3. Axes are `b c h w` (batch, channel, row, column). Images cross every
interface as integers in [0, levels); scaling to [-1, 1] happens inside networks. Log-likelihoods are nats of
shape (b,). A class here is abstract or final: implementations are complete and are not subclassed.
"""

from auxar.interfaces.decoder import Decoder
from auxar.interfaces.embedding import Embedding
from auxar.interfaces.factor import Factor
from auxar.interfaces.head import Head, RestrictableHead
from auxar.interfaces.image import INTEGER_DTYPES, MOST_LEVELS, MOST_SIDE, ImageSpec, Interval, mark, scale
from auxar.interfaces.known import Known
from auxar.interfaces.likelihood import ByChannel, FactorLogProb
from auxar.interfaces.network import CausalNetwork
from auxar.interfaces.prior import Prior, PriorFactor
from auxar.interfaces.request import RULES, DrawRule, SampleRequest
from auxar.interfaces.sampling import PixelSource, Sampler
from auxar.interfaces.support import DrawnPixels, RepeatedWalk, Restriction, Support, Walk
from auxar.interfaces.validation import at_most, positive
from auxar.interfaces.version import INTERFACE_VERSION
from auxar.interfaces.view import View

__all__ = [
    "INTEGER_DTYPES",
    "INTERFACE_VERSION",
    "MOST_LEVELS",
    "MOST_SIDE",
    "RULES",
    "ByChannel",
    "CausalNetwork",
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
    "PixelSource",
    "Prior",
    "PriorFactor",
    "RepeatedWalk",
    "RestrictableHead",
    "Restriction",
    "SampleRequest",
    "Sampler",
    "Support",
    "View",
    "Walk",
    "at_most",
    "mark",
    "positive",
    "scale",
]
