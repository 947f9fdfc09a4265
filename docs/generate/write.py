"""Writes the generated parts of the documentation (tables and pictures), and the JSON Schema of recipes.

    python docs/generate/write.py            # write the files that are out of date
    python docs/generate/write.py --check    # write nothing; the exit status is 1 if a file is out of date

Pages are plain Markdown that contains every table and links to every picture, so they can be read with or without a
site generator. A generated part of a page lies between the lines `<!-- generated: NAME ARGUMENTS -->` and
`<!-- end -->`. Pictures are files in docs/pictures/.
"""

import argparse
import io
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pictures
from command_tables import command_list, commands
from PIL import Image
from recipe_tables import components, keys, schema

DOCS = Path(__file__).parents[1]
SCHEMA = DOCS.parent / "recipes" / "auxar.schema.json"
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]
GENERATORS: dict[str, Callable[..., str]] = {
    "command_list": command_list,
    "commands": commands,
    "components": components,
    "keys": keys,
    "picture": pictures.picture,
}
PICTURES = pictures.PICTURES
REGION = re.compile(r"^(<!-- generated: (\S+)([^\n]*?) -->\n)(.*?)^(<!-- end -->)$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
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
    """Returns the page with every region generated again."""

    def generated(region: re.Match[str]) -> str:
        begin, name, arguments, _, end = region.groups()
        return f"{begin}\n{GENERATORS[name](*arguments.split())}\n\n{end}"

    return REGION.sub(generated, page)


def same_picture(suffix: str, written: bytes, drawn: bytes) -> bool:
    """Whether two pictures are equal within the tolerance of their format."""
    if suffix == ".svg":
        return same_but_places(written.decode(), drawn.decode())
    first, second = (np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), float) for content in (written, drawn))
    return first.shape == second.shape and float(abs(first - second).mean()) <= PIXEL_TOLERANCE


def same_but_places(written: str, drawn: str) -> bool:
    """Whether two SVG files are equal, where numbers may differ within the tolerance of places."""
    first, second = ([float(number) for number in NUMBER.findall(text)] for text in (written, drawn))
    same = NUMBER.sub("", written) == NUMBER.sub("", drawn) and len(first) == len(second)
    return same and np.allclose(first, second, rtol=0, atol=PLACE_TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
