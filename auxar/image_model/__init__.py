"""Models for users: likelihoods of images and drawing images, building models, their images, and saving them as runs."""
