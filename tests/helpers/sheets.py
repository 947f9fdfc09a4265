"""Reading the images of a sheet back from its picture."""

import numpy as np
from PIL import Image

from auxar.draw.sheets import MARGIN


def cells(picture: Image.Image, rows: int, columns: int, height: int, width: int) -> np.ndarray:
    """Returns the images of a sheet without their margins: uint8, (rows, columns, height, width, 3).

    The images are those in the lower right corner, since the names of columns and rows are above and to the left.
    """
    pixels = np.asarray(picture.convert("RGB"))
    tall, wide = rows * (height + MARGIN), columns * (width + MARGIN)
    grid = pixels[-tall:, -wide:].reshape(rows, height + MARGIN, columns, width + MARGIN, 3)
    return grid[:, :height, :, :width].transpose(0, 2, 1, 3, 4)


def enlarged(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Copies the pixels of an image (h, w, 3) into an image (height, width, 3) by nearest neighbor."""
    rows, columns = (np.arange(new) * old // new for new, old in zip((height, width), image.shape[:2], strict=True))
    return image[rows[:, None], columns]
