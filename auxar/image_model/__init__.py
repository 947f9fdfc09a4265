"""Trained models for users: likelihoods of images, and drawing images, without gradients and in bounded memory."""
