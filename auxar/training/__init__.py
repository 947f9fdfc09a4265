"""Training of factors: the loop, optimizers, schedules, checkpoints, weight averages, progress and trackers."""
