"""Division of pictures of any size into tiles of a model's size."""

import numpy as np

from auxar import ImageSpec


def tile_counts(height: int, width: int, tile_height: int, tile_width: int) -> tuple[int, int]:
    """The number of rows and of columns of tiles that cover a picture.

    Examples:
        >>> tile_counts(33, 64, 32, 32)
        (2, 2)
    """
    return -(-height // tile_height), -(-width // tile_width)


def to_tiles(pixels: np.ndarray, tile: ImageSpec) -> np.ndarray:
    """Divides a picture (c, height, width) into tiles in raster order: (tiles, c, tile.height, tile.width).

    A picture that does not fill its last tiles is continued by its last row and column.

    Examples:
        >>> to_tiles(np.array([[[1, 2, 3]]]), ImageSpec(1, height=2, width=2)).tolist()
        [[[[1, 2], [1, 2]]], [[[3, 3], [3, 3]]]]
    """
    channels, height, width = pixels.shape
    rows, columns = tile_counts(height, width, tile.height, tile.width)
    missing = ((0, 0), (0, rows * tile.height - height), (0, columns * tile.width - width))
    whole = np.pad(pixels, missing, mode="edge").reshape(channels, rows, tile.height, columns, tile.width)
    return whole.transpose(1, 3, 0, 2, 4).reshape(-1, channels, tile.height, tile.width)


def from_tiles(tiles: np.ndarray, height: int, width: int) -> np.ndarray:
    """Joins tiles (tiles, c, h, w) to a picture (c, height, width), the inverse of `to_tiles`."""
    _, channels, tile_height, tile_width = tiles.shape
    rows, columns = tile_counts(height, width, tile_height, tile_width)
    whole = tiles.reshape(rows, columns, channels, tile_height, tile_width).transpose(2, 0, 3, 1, 4)
    return whole.reshape(channels, rows * tile_height, columns * tile_width)[:, :height, :width]
