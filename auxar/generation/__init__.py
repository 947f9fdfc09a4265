"""Drawn images: samples, conditional draws and their inputs, the paper's figures, contact sheets."""
