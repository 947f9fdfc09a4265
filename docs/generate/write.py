"""Writes the generated parts of the documentation (tables, references and pictures), and the JSON Schema of recipes.

    python docs/generate/write.py            # write the files that are out of date
    python docs/generate/write.py --check    # write nothing; the exit status is 1 if a file is out of date

Pages are plain Markdown that contains every table and links to every picture, so they can be read with or without a
site generator. A generated part of a page lies between the lines `<!-- generated: NAME ARGUMENTS -->` and
`<!-- end -->`. Pictures are files in docs/pictures/.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pictures
from command_tables import command_list, commands
from costs import costs
from measurements import read_measurements
from PIL import Image
from python_reference import module, names, section
from recipe_tables import components, keys, schema
from result_pictures import curves, result_pictures
from result_sheets import sheets
from result_tables import results

DOCS = Path(__file__).parents[1]
SCHEMA = DOCS.parent / "recipes" / "auxar.schema.json"
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]
GENERATORS: dict[str, Callable[..., str]] = {
    "command_list": command_list,
    "commands": commands,
    "components": components,
    "costs": costs,
    "curves": curves,
    "keys": keys,
    "module": module,
    "names": names,
    "picture": pictures.picture,
    "results": results,
    "section": section,
    "sheets": sheets,
}
PICTURES = pictures.PICTURES | result_pictures(read_measurements())
REGION = re.compile(r"^(<!-- generated: (\S+)([^\n]*?) -->\n)(.*?)^(<!-- end -->)$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
COSTS_TOLERANCE = 0.2
"""Largest relative difference of a cost. Versions of PyTorch store different tensors for the backward pass."""
PLACE_TOLERANCE = 0.2
"""Largest difference of a coordinate in an SVG file, in its own units. Processors round the last digit differently."""
PIXEL_TOLERANCE = 0.03
"""Largest mean difference of two PNG files, in steps of 8-bit values. It allows for other versions of FreeType, but not
for another word in a title."""


def main() -> int:
    """Writes or checks all generated parts; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    check = parser.parse_args().check
    outdated = list(outdated_files())
    for path, content in outdated:
        name = path.relative_to(DOCS.parent)
        print(f"{name} is out of date" if check else f"{name} was written")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    if check and outdated:
        print("run `python docs/generate/write.py` and commit the files", file=sys.stderr)
    return int(check and bool(outdated))


def outdated_files() -> Iterator[tuple[Path, bytes]]:
    """Yields the files whose content is out of date, each with its new content."""
    for page in PAGES:
        written = page.read_text(encoding="utf-8")
        generated = filled(written)
        if generated != written:
            yield page, generated.encode()
    described = schema().encode()
    if not SCHEMA.is_file() or SCHEMA.read_bytes() != described:
        yield SCHEMA, described
    for name, shown in PICTURES.items():
        path = DOCS / "pictures" / name
        drawn = shown.draw()
        content = drawn.encode() if isinstance(drawn, str) else drawn
        if not path.is_file() or not same_picture(path.suffix, path.read_bytes(), content):
            yield path, content


def filled(page: str) -> str:
    """Returns the page with every region generated again. Costs that differ within the tolerance stay unchanged."""

    def generated(region: re.Match[str]) -> str:
        begin, name, arguments, written, end = region.groups()
        text = f"\n{GENERATORS[name](*arguments.split())}\n\n"
        if name == "costs" and same_but_numbers(written, text, relative=COSTS_TOLERANCE):
            text = written
        return f"{begin}{text}{end}"

    return REGION.sub(generated, page)


def same_picture(suffix: str, written: bytes, drawn: bytes) -> bool:
    """Whether two pictures are equal within the tolerance of their format."""
    if suffix == ".svg":
        return same_but_numbers(written.decode(), drawn.decode(), absolute=PLACE_TOLERANCE)
    first, second = (np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), float) for content in (written, drawn))
    return first.shape == second.shape and float(abs(first - second).mean()) <= PIXEL_TOLERANCE


def same_but_numbers(written: str, generated: str, *, relative: float = 0.0, absolute: float = 0.0) -> bool:
    """Whether two texts are equal, where numbers may differ within the tolerances."""
    if NUMBER.sub("", written) != NUMBER.sub("", generated):
        return False
    first, second = (
        np.array([float(number.replace(",", "")) for number in NUMBER.findall(text)]) for text in (written, generated)
    )
    return first.shape == second.shape and np.allclose(first, second, rtol=relative, atol=absolute)


if __name__ == "__main__":
    sys.exit(main())
