"""The demo page: a model's samples, colorings, enlargements, completions and likelihoods in a browser."""
