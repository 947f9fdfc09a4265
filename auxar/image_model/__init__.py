"""Trained models for users: likelihoods of images, and drawing images, without gradients and in bounded memory."""

from auxar.image_model.loading import load
from auxar.image_model.model import ImageModel

__all__ = ["ImageModel", "load"]
