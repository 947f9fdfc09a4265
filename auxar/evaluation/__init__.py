"""Likelihoods of images, their records, comparisons of runs, and the training images nearest to samples."""
