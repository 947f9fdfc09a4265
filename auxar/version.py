"""The version of auxar."""

import importlib.metadata

__version__ = importlib.metadata.version("auxar")
"""The version of the installed package."""
