"""Pure functions on tensors: likelihoods of discretized distributions and draws from them."""
