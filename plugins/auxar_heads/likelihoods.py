"""The precision of the likelihoods of heads."""

import torch
from torch import Tensor


def at_least_single(parameters: Tensor) -> Tensor:
    """The parameters in float32 or float64."""
    return parameters if parameters.dtype in (torch.float32, torch.float64) else parameters.float()
