"""Layers that causal networks and embeddings are written in."""
