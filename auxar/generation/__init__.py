"""Image generation: samples, conditional draws and their inputs, the paper's figures, and contact sheets."""
