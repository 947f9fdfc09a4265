"""How the report writes factors, sizes and numbers."""

from __future__ import annotations

from collections.abc import Sequence

from auxar.evaluation.records import FactorFigures
from auxar.interfaces import ImageSpec
from auxar.report.markup import Html, join, tag

WASTED = (
    "“Wasted” are bits that a free decoder loses to images of other views. Restricting it to images of the given view, "
    "without training it again, would save that many."
)


def factor_term(depth: int, count: int) -> Html:
    """One factor of a model with `count` of them."""
    if count == 1:
        return Html("p(<i>X</i>)")
    if depth == count - 1:
        return tag("span", "p(", view_symbol(depth), ")", class_="whole")
    return tag("span", "p(", view_symbol(depth), " | ", view_symbol(depth + 1), ")", class_="whole")


def view_symbol(depth: int) -> Html:
    return join(tag("i", "X"), tag("sub", depth))


def mixed_levels(factors: Sequence[FactorFigures]) -> bool:
    """Whether the image and its views differ in their number of values per sub-pixel."""
    return len({factor.image.levels for factor in factors}) > 1


def size_words(image: ImageSpec, factors: Sequence[FactorFigures]) -> Html:
    """Height × width × channels, with the number of values where that is not the same everywhere."""
    levels = tag("small", f" ({image.levels} levels)") if mixed_levels(factors) else None
    return join(f"{image.height}×{image.width}×{image.channels}", levels)


def resolution_words(image: ImageSpec, factors: Sequence[FactorFigures]) -> Html:
    """Height × width, as the paper's tables have it, or all there is to say where that names two of them."""
    sizes = {(factor.image.height, factor.image.width) for factor in factors}
    return join(f"{image.height}×{image.width}") if len(sizes) == len(factors) else size_words(image, factors)


def bits_words(value: float | None) -> str:
    return "–" if value is None else f"{value:z.3f}"


def measured(value: float | None, error: float | None, unit: str = "") -> Html:
    words = [uncertainty(error) if value is not None else "", unit]
    suffix = " ".join(word for word in words if word)
    return join(bits_words(value), tag("small", " ", suffix) if suffix else None)


def uncertainty(error: float | None) -> str:
    return "" if error is None else f"± {error:.3f}"


def count_words(value: int) -> str:
    return f"{value:,}" if value else "–"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def short_count(count: int) -> str:
    """123456 as 123.5 k."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= unit:
            return f"{count / unit:.1f}{name}"
    return str(count)


def duration(seconds: float) -> str:
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"


def absence(sentence: str) -> Html:
    return tag("p", sentence, class_="missing")
