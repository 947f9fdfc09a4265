"""PixelCNN++ networks and embeddings in plain NumPy, for one image in float64, to compare the shipped ones with.

It is written from Salimans et al. 2017 and Kolesnikov & Lampert 2017: convolutions of padded images, whose outputs are
shifted. Arrays have the axes (row, column, channel).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy import ndarray

Layer = Callable[..., ndarray]


def elu(x: ndarray) -> ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def concat_elu(*inputs: ndarray) -> ndarray:
    """Both elu(x) and elu(-x) of each input. The order of the channels is that of the shipped weights."""
    return np.concatenate([elu(sign * x) for x in inputs for sign in (1, -1)], axis=2)


def pad(x: ndarray, top: int, bottom: int, left: int, right: int) -> ndarray:
    return np.pad(x, ((top, bottom), (left, right), (0, 0)))


def down_shift(x: ndarray) -> ndarray:
    return pad(x, 1, 0, 0, 0)[:-1]


def right_shift(x: ndarray) -> ndarray:
    return pad(x, 0, 0, 1, 0)[:, :-1]


def convolution(x: ndarray, weight: ndarray, bias: ndarray, stride: int = 1) -> ndarray:
    """The convolution at all places where the kernel, (rows, columns, inputs, outputs), lies inside of x."""
    rows, columns = weight.shape[:2]
    height, width = ((x.shape[axis] - weight.shape[axis]) // stride + 1 for axis in (0, 1))
    found = np.empty((height, width, weight.shape[3]))
    for r in range(height):
        for c in range(width):
            patch = x[r * stride : r * stride + rows, c * stride : c * stride + columns]
            found[r, c] = np.einsum("rci,rcio->o", patch, weight) + bias
    return found


def transposed_convolution(x: ndarray, weight: ndarray, bias: ndarray, stride: int) -> ndarray:
    """Adds the kernel, (rows, columns, inputs, outputs), times each input at the input's place times the stride."""
    rows, columns = weight.shape[:2]
    height, width = x.shape[:2]
    found = np.zeros((stride * (height - 1) + rows, stride * (width - 1) + columns, weight.shape[3]))
    for r in range(height):
        for c in range(width):
            place = found[r * stride : r * stride + rows, c * stride : c * stride + columns]
            place += np.einsum("i,rcio->rco", x[r, c], weight)
    return found + bias


class Reference:
    """A network with the weights of a module. `outputs` lists the output of each layer and block by the module's name.

    Raises `KeyError` if the module has no layer of a name that the network uses.
    """

    def __init__(self, weights: dict[str, ndarray], blocks: Sequence[int] | int) -> None:
        self.weights = weights
        self.blocks = blocks
        """The number of blocks of each stream or group, by group."""
        self.outputs: dict[str, ndarray] = {}

    def keep(self, name: str, found: ndarray) -> ndarray:
        assert name not in self.outputs
        self.outputs[name] = found
        return found

    def parameters(self, name: str, *, transposed: bool = False) -> tuple[ndarray, ndarray]:
        """Weight (rows, columns, inputs, outputs) and bias (outputs,) of a weight-normalized layer."""
        direction = self.weights[f"{name}.direction"].transpose((2, 3, 0, 1) if transposed else (2, 3, 1, 0))
        norm = np.sqrt((direction**2).sum((0, 1, 2)))
        return direction / norm * self.weights[f"{name}.gain"], self.weights[f"{name}.bias"]

    # Layers

    def pointwise(self, name: str, x: ndarray) -> ndarray:
        return self.keep(name, convolution(x, *self.parameters(name)))

    def ordinary(self, name: str, x: ndarray, stride: int = 1) -> ndarray:
        x = pad(x, 1, 1, 1, 1) if stride == 1 else pad(x, 0, 2, 0, 2)
        return self.keep(name, convolution(x, *self.parameters(name), stride))

    def down_shifted(self, name: str, x: ndarray, stride: int = 1) -> ndarray:
        """A convolution that ends at the pixel's row, with as many columns to its left as to its right."""
        weight, bias = self.parameters(name)
        side = (weight.shape[1] - 1) // 2
        return self.keep(name, convolution(pad(x, weight.shape[0] - 1, 0, side, side), weight, bias, stride))

    def down_right_shifted(self, name: str, x: ndarray, stride: int = 1) -> ndarray:
        """A convolution that ends at the pixel itself."""
        weight, bias = self.parameters(name)
        return self.keep(
            name, convolution(pad(x, weight.shape[0] - 1, 0, weight.shape[1] - 1, 0), weight, bias, stride)
        )

    def grown(self, name: str, x: ndarray, size: Sequence[int], stride: int = 2, left: int = 0) -> ndarray:
        """A transposed convolution without its first `left` columns, cropped to a size."""
        found = transposed_convolution(x, *self.parameters(name, transposed=True), stride)
        return self.keep(name, found[: size[0], left : left + size[1]])

    def block(self, name: str, x: ndarray, sides: Sequence[ndarray], convolve: Layer) -> ndarray:
        """The gated residual block, with side inputs."""
        hidden = convolve(f"{name}.first", concat_elu(x))
        if sides:
            hidden = hidden + self.pointwise(f"{name}.side", concat_elu(*sides))
        value, gate = np.split(convolve(f"{name}.second", concat_elu(hidden)), 2, axis=2)
        return self.keep(name, x + value / (1 + np.exp(-gate)))

    def start(self, x: ndarray) -> tuple[ndarray, ndarray]:
        """Both streams before the first block. The outputs of the first layers are shifted."""
        u = down_shift(self.down_shifted("start.u", x))
        above = down_shift(self.down_shifted("start.ul_above", x))
        left = right_shift(self.down_right_shifted("start.ul_left", x))
        for name, shifted in (("u", u), ("ul_above", above), ("ul_left", left)):
            self.outputs[f"start.{name}"] = shifted
        return u, above + left

    # Networks

    def light(self, x: ndarray, features: Sequence[ndarray]) -> ndarray:
        """PixelCNN++ at one resolution, with features as side inputs of every block."""
        assert isinstance(self.blocks, int)
        u, ul = self.start(x)
        for k in range(self.blocks):
            u = self.block(f"u_blocks.{k}", u, features, self.down_shifted)
            ul = self.block(f"ul_blocks.{k}", ul, [u, *features], self.down_right_shifted)
        return self.pointwise("out", elu(ul))

    def full(self, x: ndarray, features: Sequence[ndarray]) -> ndarray:
        """PixelCNN++ with three resolutions. Blocks on the way up have skip connections from the way down."""
        assert not isinstance(self.blocks, int)
        sides = [features]
        for k in range(2):
            sides.append([self.ordinary(f"shrink_features.{k}", each, 2) for each in sides[-1]])
        u, ul = self.start(x)
        us, uls = [u], [ul]
        for k in range(3):
            if k:
                us.append(self.down_shifted(f"shrink_u.{k - 1}", us[-1], 2))
                uls.append(self.down_right_shifted(f"shrink_ul.{k - 1}", uls[-1], 2))
            for n in range(self.blocks[0]):
                us.append(self.block(f"down.{k}.u_blocks.{n}", us[-1], sides[k], self.down_shifted))
                above = [us[-1], *sides[k]]
                uls.append(self.block(f"down.{k}.ul_blocks.{n}", uls[-1], above, self.down_right_shifted))
        u, ul = us.pop(), uls.pop()
        for k in range(3):
            for n in range(self.blocks[k]):
                u = self.block(f"up.{k}.u_blocks.{n}", u, [us.pop(), *sides[2 - k]], self.down_shifted)
                above = [u, uls.pop(), *sides[2 - k]]
                ul = self.block(f"up.{k}.ul_blocks.{n}", ul, above, self.down_right_shifted)
            if k < 2:
                u = self.grown(f"grow_u.{k}", u, us[-1].shape, left=1)
                ul = self.grown(f"grow_ul.{k}", ul, uls[-1].shape)
        assert not us
        assert not uls
        return self.pointwise("out", elu(ul))

    def group(self, name: str, x: ndarray, blocks: int, skips: list[ndarray] | None = None) -> list[ndarray]:
        """The outputs of a group of ordinary blocks, with the last of `skips` as the side input of the first block."""
        found = [x]
        for k in range(blocks):
            sides = [skips.pop()] if skips else []
            found.append(self.block(f"{name}.blocks.{k}", found[-1], sides, self.ordinary))
        return found[1:]

    def enlarging(self, view: ndarray, size: Sequence[int], factor: int) -> ndarray:
        """The embedding of a view that is smaller than the image (Kolesnikov & Lampert 2017, section 4.2)."""
        assert isinstance(self.blocks, int)
        fine = self.group("first", self.ordinary("start", view), self.blocks)
        coarse = self.group("second", self.ordinary("shrink", fine[-1], 2), self.blocks)
        x = self.group("third", coarse[-1], self.blocks, coarse)[-1]
        x = self.group("fourth", self.grown("grow", x, view.shape), self.blocks, fine)[-1]
        x = self.group("fifth", self.grown("enlarge", x, size, factor), self.blocks)[-1]
        return self.ordinary("out", x)

    def same_size(self, view: ndarray) -> ndarray:
        """The embedding of a view of the image's size: PixelCNN++ with one stream, which is not causal."""
        assert not isinstance(self.blocks, int)
        xs = [self.ordinary("start", view)]
        for k in range(3):
            if k:
                xs.append(self.ordinary(f"shrink.{k - 1}", xs[-1], 2))
            xs += self.group(f"down.{k}", xs[-1], self.blocks[0])
        x = xs.pop()
        for k in range(3):
            x = self.group(f"up.{k}", x, self.blocks[k], xs)[-1]
            if k < 2:
                x = self.grown(f"grow.{k}", x, xs[-1].shape)
        assert not xs
        return self.ordinary("out", x)
