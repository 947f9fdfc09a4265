"""Evaluation of models: likelihoods, the records of `evaluation.json`, comparison of runs, nearest training images."""
