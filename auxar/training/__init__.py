"""Training of one factor: the loop, checkpoints, averaged weights, progress and trackers."""
