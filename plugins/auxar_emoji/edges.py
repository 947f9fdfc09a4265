"""Edges of images, as the data set `emoji` gives them with its option `edges`."""

import io

import numpy as np
from PIL import Image

THRESHOLD = 80
"""Least difference of the values of neighboring pixels at an edge, of 255."""


def edges_of(picture: bytes) -> bytes:
    """Returns the edges of an encoded picture as a PNG file in black and white, white where an edge is.

    A pixel is an edge if its red, green or blue differs by at least `THRESHOLD` from that of the pixel to its right or
    below.
    """
    with Image.open(io.BytesIO(picture)) as image:
        values = np.asarray(image.convert("RGB")).astype(np.int16)
    below, right = (np.abs(np.diff(values, axis=axis, append=values.take([-1], axis))).max(2) for axis in (0, 1))
    encoded = io.BytesIO()
    Image.fromarray(np.maximum(below, right) >= THRESHOLD).save(encoded, format="PNG")
    return encoded.getvalue()
