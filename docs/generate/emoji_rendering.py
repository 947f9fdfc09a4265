"""Renders drawings of emoji at 32×32 pixels.

Each drawing is scaled so that its larger side has 30 pixels, centered, and drawn on white. It is drawn eight times as
large, and each pixel is the mean of 8×8 values. The mean is over the stored (sRGB) values, as in the view `pyramid`.
"""

import io

from PIL import Image

SIZE = 32
OVERSAMPLING = 8
CANVAS = SIZE * OVERSAMPLING
BOX = (SIZE - 2) * OVERSAMPLING
"""The larger side of a drawing on the canvas, in pixels."""
FAINTEST = 8
"""The largest opacity, 0 … 255, that does not count as part of the drawing."""
LARGEST = 1500
"""The largest width, in pixels, at which a drawing is rasterized. A drawing that would need more is left out."""


def rasterize(svg: str, width: int) -> Image.Image:
    """Draws an SVG document with resvg, `width` pixels wide, RGBA on a transparent background."""
    import resvg_py  # Only this script needs it: `pip install resvg-py`.

    file = resvg_py.svg_to_bytes(svg_string=svg, width=width, skip_system_fonts=True)
    return Image.open(io.BytesIO(file)).convert("RGBA")


def render(svg: str) -> Image.Image | None:
    """Renders an SVG document, 32×32 RGB.

    Returns None if the document has no visible pixel, or is nearly empty.
    """
    extent = _extent(rasterize(svg, CANVAS))
    if extent is None:
        return None
    left, top, right, bottom = extent
    width = round(CANVAS * BOX / max(right - left, bottom - top))
    if width > LARGEST:
        return None
    large = rasterize(svg, width)
    # A pixel more than `BOX` may be visible, because the size was measured at another scale.
    drawing = large.crop(_extent(large))
    canvas = Image.new("RGBA", (CANVAS, CANVAS), "white")
    canvas.alpha_composite(drawing, ((CANVAS - drawing.width) // 2, (CANVAS - drawing.height) // 2))
    return canvas.convert("RGB").reduce(OVERSAMPLING)


def _extent(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The bounding box of the visible pixels: left, top, right, bottom. None if there are none."""
    return image.getchannel("A").point(lambda opacity: 255 * (opacity > FAINTEST)).getbbox()
