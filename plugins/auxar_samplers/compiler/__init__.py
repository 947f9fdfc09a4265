"""The compiler from a causal network to a sampler's program.

It traces the network, makes a schedule (wavefront sampler) or a plan (cached sampler), and generates the program.
"""
