"""Layers for causal networks and embeddings."""
