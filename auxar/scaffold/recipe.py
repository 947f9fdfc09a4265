"""Writes a first recipe for a data set, from a look at its pictures."""

import contextlib
import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import datasets
import numpy as np
import pyarrow.parquet

from auxar.arguments import described
from auxar.data.conditions import companion
from auxar.data.decoding import BrokenImage, eight_bit, is_deep, opened, read_file, warn_of_depth
from auxar.data.folder import find_files
from auxar.data.level_use import suited_levels
from auxar.data.library import progress_in_main_process
from auxar.data.loading import place_of
from auxar.data.source import EncodedImages, open_source
from auxar.errors import UserError, one_line
from auxar.files import kind, write_text
from auxar.numerics.levels import SCALED
from auxar.plugins import load_plugins
from auxar.recipe import DataConfig
from auxar.recipe.building import checked_model
from auxar.recipe.condition import LONGEST_NAME, ConditionConfig
from auxar.recipe.loading import parse_recipe
from auxar.recipe.structuring import toml_text
from auxar.scaffold.writing import render

HELDOUT = ("test", "validation", "valid", "val")
"""Names of splits whose pictures are held out. The first of them that a data set has counts."""
MOST_PICTURES = 200
"""Maximum number of pictures that are looked at."""
MOST_LABELS = 100
"""Maximum number of classes."""
MOST_SIDE = 128
"""Largest side of pictures that are modeled in their own size."""
SIDE = 64
"""Largest side of crops, and of larger pictures that are made smaller."""
COARSEST = 12
"""Largest side of the coarsest view, of which the other one is not smaller."""
FLAT = 0.2
"""Share of pixels that repeat their left neighbor, from which on pictures are taken for drawings."""
COMMENTS = (
    'A pixel of the view is the mean of a square; "subsample" suits drawings with areas of one color.',
    'A pixel of the view is every second pixel, so that areas of one color stay so; "pyramid" suits photographs.',
)
COMPRESS = "\n# After the training, `auxar integers` makes the integers that `auxar compress` needs.\n"
FEW_LEVELS = 32
"""Largest number of levels for which the head `softmax` is chosen."""
HEADS = ('{ name = "logistic_mixture", components = 5, neighbors = true }', '"softmax"')
"""The heads for many and for few levels."""


def write_recipe(path: Path, out: Path, minutes: float) -> Path:
    """Writes a recipe for the pictures in `path`, to be trained for some minutes, to the new file `out`.

    Raises `UserError` if the file exists, or if no picture can be read.
    """
    if kind(out) is not None:
        raise UserError(f"{out} exists and is not replaced; choose another file with --out")
    if not isinstance(minutes, float | int):
        raise UserError(f"minutes: expected a number greater than 0, got {described(minutes)}")
    registry, config = load_plugins(), DataConfig(str(path))
    names = registry.names("dataset")
    with progress_in_main_process():
        place = place_of(config, registry)
        source = open_source(config, place, names)
        condition = _condition(source.splits["train"].rows, place) if "train" in source.splits else {}
        source = open_source(config, place, names, ConditionConfig(**condition) if condition else None)
        # Beside its pictures, a folder with masks has a second column of files.
        own = attrs.evolve(config, column="image" if "suffix" in condition else None)
        words = _words(source.images(own, "train"), condition, config.path)
    heldout = next((name for name in HELDOUT if name in source.splits), None)
    words["split"] = "split = { train = 0.9 }" if heldout is None else f"heldout = {json.dumps(heldout)}"
    named = str(path) if place is None or str(path) in names else os.path.relpath(path, out.parent)
    words |= {"path": toml_text(named), "file": one_line(out.name), "minutes": toml_text(minutes)}
    text = render("new_recipe/recipe.toml.template", words)
    checked_model(parse_recipe(text, out.parent))
    write_text(out, text)
    return out


def _words(images: EncodedImages, condition: dict[str, Any], where: str) -> dict[str, Any]:
    """The words of the template that follow from the pictures. Warnings name the data set `where`."""
    sizes, channels, used, flat = _look(images, where)
    height, width, fitting = _size(sizes, can_crop="suffix" not in condition)
    levels, values = suited_levels(used, 256) or (256, SCALED)
    stages = max(0, math.ceil(math.log2(min(height, width) / COARSEST)))
    classes = len(condition.get("names", ())) or 1
    words: dict[str, Any] = {
        "count": len(images.rows),
        "looked": len(sizes),
        "sizes": " … ".join(dict.fromkeys(f"{size[0]}×{size[1]}" for size in (min(sizes), max(sizes)))),
        "fitting": fitting,
        "values": values,
        "channels": channels,
        "height": height,
        "width": width,
        "levels": levels,
        "head": HEADS[levels <= FEW_LEVELS],
        "stages": stages,
        "view": "subsample" if flat >= FLAT else "pyramid",
        "view_comment": COMMENTS[flat >= FLAT],
        "coarsest": "×".join(str(math.ceil(side / 2**stages)) for side in (height, width)),
        "images": math.ceil(16 / classes) * classes,
        "compress": COMPRESS if levels == 256 else "",
        "keys": "\n".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in condition.items()),
    }
    for part, has_part in (("condition", condition), ("views", stages)):
        words[part] = render(f"new_recipe/{part}.toml.template", words) if has_part else ""
    return words


def _look(images: EncodedImages, where: str) -> tuple[Sequence[tuple[int, int]], int, np.ndarray, float]:
    """Looks at evenly spaced pictures. Returns their sizes, their number of channels, and the values of their pixels.

    The last result is the share of pixels that equal the pixel to their left, but not the picture's first pixel.
    Pictures of 16 bits per channel, which a warning names, may have any values.

    Raises `UserError` if none can be read.
    """
    sizes, channels, used, flat = [], 1, np.zeros(256, np.int64), []
    for number in np.linspace(0, len(images.rows) - 1, min(len(images.rows), MOST_PICTURES)).astype(int).tolist():
        with contextlib.suppress(BrokenImage):
            content = images.content(images.rows[number][images.column])
            with opened(content) as picture:
                pixels = np.asarray(eight_bit(picture).convert("RGB"))
            if is_deep(content):
                warn_of_depth(where)
                used += 1
            sizes.append(pixels.shape[:2])
            used += np.bincount(pixels.ravel(), minlength=256)
            repeated, others = (pixels[:, 1:] == pixels[:, :-1]).all(2), (pixels[:, 1:] != pixels[0, 0]).any(2)
            flat.append(float((repeated & others).mean()) if pixels.shape[1] > 1 else 0.0)
            channels = 3 if (pixels != pixels[..., :1]).any() else channels
    if not sizes:
        raise UserError("data: none of the pictures that were looked at can be read")
    return sizes, channels, np.flatnonzero(used), float(np.mean(flat))


def _size(sizes: Sequence[tuple[int, int]], *, can_crop: bool) -> tuple[int, int, str]:
    """The height and width of [image], and the line of [data] that says how pictures get them."""
    (height, width), several, smallest = sizes[0], len(set(sizes)) > 1, min(map(min, sizes))
    if several and can_crop and smallest > COARSEST:
        side = 2 ** int(math.log2(min(SIDE, smallest)))
        return side, side, 'crop = "random"'
    if several:
        return SIDE, SIDE, 'resize = "cover"'
    if max(height, width) <= MOST_SIDE:
        return height, width, 'resize = "none"'
    scale = SIDE / max(height, width) / 8
    return max(8, 8 * round(height * scale)), max(8, 8 * round(width * scale)), 'resize = "cover"'


def _condition(rows: Any, place: Path | None) -> dict[str, Any]:
    """The keys of [condition] for labels or masks; empty if there are none.

    `rows` are the training pictures, and `place` is the file or folder that they are from, None if it is on the hub.
    """
    if place is not None and not (files := [place] if place.is_file() else find_files(place, (".parquet",))):
        return _beside([Path(value["path"]) for value in rows["image"]], place.resolve())
    with contextlib.suppress(pyarrow.ArrowException):  # Columns of several files may not fit each other.
        if place is not None:
            schema = pyarrow.parquet.read_schema(files[0])
            plain = [field.name for field in schema if str(field.type).startswith(("string", "large_string", "int"))]
            rows = datasets.Dataset(pyarrow.parquet.read_table(files, columns=plain))
        for column in rows.column_names:
            if found := _label(_names(rows, column), column=column):
                return found
    return {}


def _names(rows: datasets.Dataset, column: str) -> list[str]:
    """The names of the classes in a column; empty if it has no labels."""
    feature = rows.features[column]
    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names)
    values = set(rows.unique(column)) if isinstance(feature, datasets.Value) else set()
    if values == set(range(len(values))):
        return [str(number) for number in range(len(values))]
    has_names = 5 * len(values) <= len(rows) and all(isinstance(value, str) for value in values)
    return sorted(values) if has_names else []


def _beside(files: Sequence[Path], folder: Path) -> dict[str, Any]:
    """The keys of [condition] for masks or images beside the pictures, or for labels that are names of folders."""
    for end, count in Counter("".join(file.suffixes[-2:]) for file in files).items():
        others = {companion(file, end) for file in files if not file.name.endswith(end)}
        if 2 * count == len(files) and others < set(files):
            classes = [_classes(file) for file in others]
            return {"suffix": end} | ({"kind": "mask", "classes": max(classes)} if all(classes) else {"kind": "image"})
    in_folders = all(file.parent != folder for file in files)
    return _label(sorted({file.parent.name for file in files}), folders=True) if in_folders else {}


def _label(names: Sequence[str], **place: Any) -> dict[str, Any]:
    """The keys of [condition] for labels at some place; empty if these are no names of classes."""
    are_names = all(name.isprintable() and 0 < len(name) <= LONGEST_NAME for name in names)
    return {"kind": "label", **place, "names": names} if are_names and 1 < len(names) <= MOST_LABELS else {}


def _classes(mask: Path) -> int:
    """The number of classes that a mask shows, at least 2; 0 if it has colors. White may be the second of two."""
    with contextlib.suppress(BrokenImage, OSError), opened(read_file(mask), upright=False) as picture:
        used = set(np.unique(np.asarray(picture)).tolist()) - {0}
        return 0 if len(picture.getbands()) > 1 else 2 if used <= {255} else max(used) + 1
    return 2
