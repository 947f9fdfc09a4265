"""Models for users: likelihoods, drawing images, building and saving models, and loading the images of recipes."""
