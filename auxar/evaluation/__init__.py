"""Evaluation of models: log-likelihoods of images, their figures, comparison of runs, nearest training images."""
