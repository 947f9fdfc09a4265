"""The emoji of the data set `emoji`: their names, groups and order, from the npm package emojibase-data.

An emoji is named by its code points in hexadecimal, such as `1f469-200d-1f680`, without variation selectors.
"""

import json
import re
from pathlib import Path

import attrs

from auxar_emoji.groups import GROUP_OF

PACKAGE, VERSION = "emojibase-data", "17.0.0"
VARIATION_SELECTORS = {"fe0e", "fe0f"}
SIGNS_OF_GENDER = {"2640", "2642"}
MAN_OR_WOMAN = {"1f468", "1f469"}
HAIR = {"1f9b0", "1f9b1", "1f9b2", "1f9b3"}
CLOCK_FACE = re.compile(r"o[’']clock|thirty")


@attrs.frozen
class Emoji:
    """An emoji of Unicode."""

    code: str
    """The code points, such as `1f469-200d-1f680`."""
    name: str
    """The English name, such as `woman astronaut`."""
    subgroup: str
    """The subgroup of Unicode, such as `person-role`."""

    @property
    def group(self) -> str:
        """The group, one of the keys of `GROUPS`."""
        return GROUP_OF[self.subgroup]


def code_of(text: str) -> str:
    """The code points of a file name or a key, without variation selectors.

    Examples:
        >>> code_of("2764-FE0F")
        '2764'
    """
    return "-".join(part for part in text.lower().split("-") if part not in VARIATION_SELECTORS)


def read_emoji(package: Path) -> list[Emoji]:
    """Reads the emoji of the data set, in Unicode's order, from the folder of the package emojibase-data.

    Emoji of subgroups without images are left out: symbols, arrows, letters, plain shapes, signs and skin tones; paper,
    money, mail and office supplies, which are mostly lettering and diagrams; and families and silhouettes. So are these
    single emoji: clock faces, which differ in few pixels, and people who differ from others by gender or hair.
    Variants with skin tones are no entries of their own.
    """
    subgroups = json.loads((package / "meta" / "groups.json").read_text())["subgroups"]
    entries = [entry for entry in json.loads((package / "en" / "data.json").read_text()) if "subgroup" in entry]
    emoji = [
        Emoji(code_of(entry["hexcode"]), entry["label"], subgroups[str(entry["subgroup"])])
        for entry in sorted(entries, key=lambda entry: entry["order"])
    ]
    return [each for each in emoji if each.subgroup in GROUP_OF and not _is_variant(each)]


def _is_variant(emoji: Emoji) -> bool:
    """Whether the emoji differs from another one only by gender, hair or the time on a clock face."""
    parts = emoji.code.split("-")
    by_gender = bool(SIGNS_OF_GENDER & set(parts)) or (len(parts) > 1 and parts[0] in MAN_OR_WOMAN)
    by_hair = len(parts) > 1 and parts[-1] in HAIR
    return by_gender or by_hair or (emoji.subgroup == "time" and bool(CLOCK_FACE.search(emoji.name)))
