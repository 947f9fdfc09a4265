"""Training of factors: the loop, checkpoints, weight averages, progress and trackers."""
