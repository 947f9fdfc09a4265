"""Causal networks and embeddings of residual blocks in one stream: fewer bits/dim than `pixelcnn` in equal time.

The form was found by experiments on the factor of faces 16×16 given 8×8: 600 steps of 16 images (unless stated), one
seed, 500 validation images, Muon with the rate 0.008, centers. The difference of two arms has an error of about 0.003
over images, and seeds differ by about 0.01. Each line compares a change with the same network without it, in
parentheses. 3.235 is the network as it is, and 3.233 the same with a trained subtraction. Most of the changes are not
part of auxar.

    3, 5, 12 blocks in place of 8                                  3.269, 3.249, 3.232  (3.233)
    128 hidden channels in place of 64                             3.227                (3.233)
    6 blocks of 96 channels                                        3.238                (3.233)
    an embedding of 2, 8 blocks in place of 4                      3.251, 3.233         (3.233)
    an embedding of 64 hidden channels in place of 128             3.255                (3.233)
    5 components of the mixture in place of 10                     3.246                (3.233)
    learned features of each place, after the first layer          3.235                (3.233)
    the same in a prior of 8×8 faces, 1,000 steps                  4.790                (4.797)
    attention with 4 heads in the embedding, 600 and 2,000 steps   3.229, 3.120         (3.233, 3.127)
    the layer that subtracts the view is trained, too              3.233                (3.235)
    kernels that read one more pixel to the left                   3.250                (3.243)
    a first kernel of 3×9                                          3.251                (3.243)
    GELU, hard-swish                                               3.249, 3.249         (3.243)
    ReLU                                                           3.280                (3.224)
    gates with a sigmoid (a step takes 1.4 times as long)          3.224                (3.224)
    depthwise kernels after, before a 1×1 convolution to 192, 256  3.293, 3.315         (3.243)
    weight normalization                                           3.418                (3.312)
    RMS normalization in each block                                3.338                (3.312)
    the view is not subtracted, 600 and 2,000 steps                3.322, 3.187         (3.243, 3.131)
    centers as a further input, 600 and 2,000 steps                3.224, 3.125         (3.243, 3.131)
    the width of each sub-pixel's interval as a further input      3.264                (3.233)
    rates of 0.005, 0.012 in place of 0.008                        3.240, 3.271         (3.233)
    rates of 0.003, 0.008 in place of 0.005, for 2,000 steps       3.155, 3.149         (3.127)
    Adam with rates of 0.003, 0.0015 in place of Muon              3.332, 3.417         (3.233)
    batches of 8 in place of 16, and 1,200 steps, with 5 blocks    3.252                (3.249)
    `pixelcnn` with Muon and centers (twice as long a step)        3.378                (3.233)
"""

from collections.abc import Sequence

from auxar import Component, hookimpl
from auxar_convnet.components import ConvEmbeddingConfig, ConvNetworkConfig, embedding, network

AUXAR_INTERFACE = 1


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the network and the embedding `convnet`."""
    return [
        Component("network", "convnet", ConvNetworkConfig, network),
        Component("embedding", "convnet", ConvEmbeddingConfig, embedding),
    ]
