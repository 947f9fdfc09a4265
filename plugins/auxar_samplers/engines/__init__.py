"""Engines, which run a sampler's program."""
