"""Auxiliary-variable models p(X, X̂) = p(X̂) p(X | X̂) with X̂ = ψ(X): their parts, and the chain that joins them.

See Kolesnikov & Lampert 2017 ("the paper"), equations 2 and 3. Axes are `b c h w` (batch, channel, row, column). A
sub-pixel is one channel of one pixel. Images are passed as integers in [0, levels); `CausalNetwork.encode` scales them
to [-1, 1]. Log-likelihoods of images are in nats, with shape (b,). Each class is either abstract or final: plugins
implement the abstract classes and do not subclass the concrete ones.
"""

from auxar.model.arithmetic import FLOAT as FLOAT
from auxar.model.arithmetic import Arithmetic as Arithmetic
from auxar.model.arithmetic import Converted as Converted
from auxar.model.augmentation import Augmentation as Augmentation
from auxar.model.centers import REFERENCES as REFERENCES
from auxar.model.centers import NeighborWalk as NeighborWalk
from auxar.model.centers import neighbor_centers as neighbor_centers
from auxar.model.centers import with_neighbors as with_neighbors
from auxar.model.chain import Chain as Chain
from auxar.model.chain import FactorLogProb as FactorLogProb
from auxar.model.condition import CONDITION_KINDS as CONDITION_KINDS
from auxar.model.condition import Condition as Condition
from auxar.model.condition import Conditioning as Conditioning
from auxar.model.condition import ConditionKind as ConditionKind
from auxar.model.condition import is_null as is_null
from auxar.model.conditional import Conditional as Conditional
from auxar.model.distribution import ByChannel as ByChannel
from auxar.model.distribution import CausalDistribution as CausalDistribution
from auxar.model.distribution import Decoder as Decoder
from auxar.model.distribution import Prior as Prior
from auxar.model.embedding import Embedding as Embedding
from auxar.model.embedding import Encoded as Encoded
from auxar.model.embedding import NetworkEmbedding as NetworkEmbedding
from auxar.model.factor import Factor as Factor
from auxar.model.factor_coder import FactorCoder as FactorCoder
from auxar.model.head import Head as Head
from auxar.model.head import RestrictableHead as RestrictableHead
from auxar.model.image import INTEGER_DTYPES as INTEGER_DTYPES
from auxar.model.image import MOST_LEVELS as MOST_LEVELS
from auxar.model.image import MOST_SIDE as MOST_SIDE
from auxar.model.image import ImageSpec as ImageSpec
from auxar.model.image import Interval as Interval
from auxar.model.image import Known as Known
from auxar.model.image import mark as mark
from auxar.model.image import scale as scale
from auxar.model.integers import PARAMETER_BITS as PARAMETER_BITS
from auxar.model.integers import Frequencies as Frequencies
from auxar.model.integers import IntegerHead as IntegerHead
from auxar.model.network import CausalNetwork as CausalNetwork
from auxar.model.network import RecomputableBlock as RecomputableBlock
from auxar.model.network import StepwiseNetwork as StepwiseNetwork
from auxar.model.network import device_of as device_of
from auxar.model.network import evaluating as evaluating
from auxar.model.network import recomputable_blocks as recomputable_blocks
from auxar.model.network import recomputing as recomputing
from auxar.model.network import summary as summary
from auxar.model.request import SampleRequest as SampleRequest
from auxar.model.rule import Adjusted as Adjusted
from auxar.model.rule import Adjustments as Adjustments
from auxar.model.rule import Ancestral as Ancestral
from auxar.model.rule import Rule as Rule
from auxar.model.sources import DecodeSource as DecodeSource
from auxar.model.sources import DrawSource as DrawSource
from auxar.model.sources import ForceSource as ForceSource
from auxar.model.sources import PixelSource as PixelSource
from auxar.model.sources import Sampler as Sampler
from auxar.model.sum_support import SumSupport as SumSupport
from auxar.model.sum_support import SumWalk as SumWalk
from auxar.model.support import CENTER_BITS as CENTER_BITS
from auxar.model.support import DrawnPixels as DrawnPixels
from auxar.model.support import GivenView as GivenView
from auxar.model.support import RepeatedWalk as RepeatedWalk
from auxar.model.support import Support as Support
from auxar.model.support import Walk as Walk
from auxar.model.values import CONDITION as CONDITION
from auxar.model.values import IMAGE as IMAGE
from auxar.model.values import NULL as NULL
from auxar.model.values import Values as Values
from auxar.model.values import variable_at as variable_at
from auxar.model.view import View as View
