"""Commands on runs that exist, as functions: evaluate, sample, figures, compare. `auxar.pipeline` makes the runs."""
