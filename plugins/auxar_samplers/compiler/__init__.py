"""From a causal network to a sampler's program: trace, schedule or plan, program."""
