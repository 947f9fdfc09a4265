"""Lossless files of images: entropy coding with a model's frequencies, and the format of files."""
