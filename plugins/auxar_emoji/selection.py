"""The options of the data set `emoji`, and the files that have the chosen images."""

import functools
from pathlib import Path

import attrs

from auxar import UserError, cached_folder, names_among
from auxar_emoji.edges import edges_of
from auxar_emoji.groups import GROUP_OF, GROUPS
from auxar_emoji.vendors import VENDORS

FILES = Path(__file__).parent / "emoji"
"""The folder with all images, in the files train.parquet and test.parquet."""


@attrs.frozen
class EmojiConfig:
    """Color images of emoji by several vendors on white, 32×32 RGB, with the splits train and test.

    All images of an emoji are in the same split, whatever the vendor, so the emoji of test are not in train. The text
    columns `name`, `emoji`, `vendor`, `group` and `subgroup` describe each image, and can be read as labels.
    """

    vendors: tuple[str, ...] = attrs.field(default=tuple(VENDORS), validator=names_among(VENDORS))
    """The vendors, each of which has its own drawings of the emoji."""
    groups: tuple[str, ...] = attrs.field(default=tuple(GROUPS), validator=names_among((*GROUPS, *GROUP_OF)))
    """Groups of emoji such as `smileys`, or Unicode's subgroups such as `cat-face`."""
    edges: bool = False
    """Whether there is a column `edges` with the edges of each image, in black and white, as pairs of images need."""


def build(config: EmojiConfig) -> Path:
    """Returns a folder with train.parquet and test.parquet: the folder of the package if the options choose all images.

    Raises `UserError` if one of the splits has none of the chosen images.
    """
    vendors = sorted(set(config.vendors))
    subgroups = sorted({subgroup for group in config.groups for subgroup in GROUPS.get(group, (group,))})
    if len(vendors) == len(VENDORS) and len(subgroups) == len(GROUP_OF) and not config.edges:
        return FILES
    name = "emoji-edges" if config.edges else "emoji"
    files = [*sorted(FILES.glob("*.parquet")), *([Path(__file__).with_name("edges.py")] if config.edges else [])]
    make = functools.partial(write, vendors=vendors, subgroups=subgroups, edges=config.edges)
    return cached_folder(name, (vendors, subgroups), make, sources=files)


def write(folder: Path, vendors: list[str], subgroups: list[str], *, edges: bool = False) -> None:
    """Writes train.parquet and test.parquet with the images of these vendors and subgroups, in the order of the files.

    With `edges`, there is a column with the edges of each image.

    Raises `UserError` if one of the splits has none of these images.
    """
    import pyarrow as pa  # It takes time to import, and a plugin is loaded by every command.
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for split in ("train", "test"):
        rows = pq.read_table(FILES / f"{split}.parquet")
        of_subgroups = rows.filter(pc.is_in(rows["subgroup"], pa.array(subgroups)))
        chosen = of_subgroups.filter(pc.is_in(of_subgroups["vendor"], pa.array(vendors)))
        if not len(chosen):
            others = ", ".join(sorted(set(of_subgroups["vendor"].to_pylist())))
            advice = f"vendors that have some: {others}" if others else "choose a larger group"
            raise UserError(f"groups: {', '.join(vendors)} have no images of them in the split {split}; {advice}")
        if edges:
            found = [{"bytes": edges_of(image["bytes"]), "path": None} for image in chosen["image"].to_pylist()]
            column = pa.array(found, chosen.schema.field("image").type)
            chosen = chosen.replace_schema_metadata(None).append_column("edges", column)
        pq.write_table(chosen, folder / f"{split}.parquet")
