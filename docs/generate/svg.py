"""SVG drawings that are legible on light and dark pages: gray lines and text, and dark text on pale fields."""

from html import escape

INK = "#808080"
DARK = "#202020"
FAINT = "#80808055"
LINE = "#5b8fc7"
ORANGE = "#f2a13c"
BLUE = "#9fc5e8"
PALE = "#dde7f2"
FONT = "system-ui, sans-serif"


def drawing(width: float, height: float, *parts: str) -> str:
    """Returns an SVG document of the given size that contains the elements `parts`."""
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONT}">\n' + "\n".join(parts) + "\n</svg>\n"


def box(x: float, y: float, width: float, height: float, fill: str | None, *, dashed: bool = False) -> str:
    """Returns a rectangle with a thin edge. It is transparent if `fill` is None."""
    dashes = ' stroke-dasharray="3 2"' if dashed else ""
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {place} rx="2" fill="{fill or "none"}" stroke="{INK}" stroke-opacity="0.6"{dashes}/>'


def words(x: float, y: float, text: str, *, ink: str = INK, size: float = 13, anchor: str = "middle") -> str:
    """Returns a line of text that is centered vertically at y. `anchor` names the part of the line that lies at x."""
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}" dominant-baseline="central"'
    return f'<text {place} font-size="{size:g}" fill="{ink}">{escape(text)}</text>'


def path(points: list[tuple[float, float]], ink: str) -> str:
    """Returns a line through points (x, y)."""
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{places}" fill="none" stroke="{ink}" stroke-width="1.5" stroke-linejoin="round"/>'


def legend(x: float, y: float, entries: list[tuple[str | None, bool, str]]) -> list[str]:
    """Returns a legend with its upper left corner at (x, y). An entry (fill, dashed, text) is a box beside a text."""
    parts = []
    for line, (fill, dashed, text) in enumerate(entries):
        top = y + 22 * line
        parts.append(box(x, top, 16, 16, fill, dashed=dashed))
        parts.append(words(x + 24, top + 8, text, anchor="start"))
    return parts
