"""Loads images from a folder, from parquet files or from the Hugging Face hub, and converts them to integer tensors.

The table [image] of a recipe gives the size, channels and levels of the tensors.
"""
