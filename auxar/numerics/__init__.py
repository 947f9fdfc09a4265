"""Pure functions on tensors that compute likelihoods of discrete distributions and draw from them."""
