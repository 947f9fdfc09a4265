"""The vendors whose emoji the data set `emoji` has: their npm packages, licenses and copyrights."""

from __future__ import annotations

import attrs


@attrs.frozen
class Vendor:
    """One design of emoji, as an npm package with one SVG drawing for each emoji."""

    name: str
    """The name in the option `vendors` and in the column `vendor`."""
    package: str
    """The npm package."""
    version: str
    """The version of the package from which the images were rendered."""
    license: str
    """The SPDX name of the license of the drawings."""
    notice: str
    """The copyright notice of the drawings, or the name of their author where the package has no notice."""
    license_file: str
    """The file in `licenses/` with the notice and the text of the license."""


VENDORS = {
    vendor.name: vendor
    for vendor in (
        Vendor("noto", "@iconify-json/noto", "1.2.9", "Apache-2.0", "Copyright 2013 Google, Inc.", "noto.txt"),
        Vendor(
            "twemoji",
            "@twemoji/svg",
            "15.0.0",
            "CC-BY-4.0",
            "Copyright 2020 Twitter, Inc and other contributors",
            "twemoji.txt",
        ),
        Vendor(
            "fluent",
            "@iconify-json/fluent-emoji",
            "1.2.7",
            "MIT",
            "Copyright (c) Microsoft Corporation",
            "fluent.txt",
        ),
        Vendor(
            "fluent-flat",
            "@iconify-json/fluent-emoji-flat",
            "1.2.6",
            "MIT",
            "Copyright (c) Microsoft Corporation",
            "fluent.txt",
        ),
        Vendor("emojione", "emojione", "2.2.7", "CC-BY-4.0", "Emoji One, http://emojione.com", "emojione.txt"),
        Vendor("noto-v1", "@iconify-json/noto-v1", "1.2.5", "Apache-2.0", "Copyright 2013 Google, Inc.", "noto.txt"),
    )
}
"""The vendors by name. If two vendors have the same drawing, that of the first one is in the set."""
