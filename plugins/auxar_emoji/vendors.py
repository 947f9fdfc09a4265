"""The vendors whose emoji the data set `emoji` has, and their npm packages. Their licenses are in licenses/."""

VENDORS = {
    "noto": ("@iconify-json/noto", "1.2.9"),
    "twemoji": ("@twemoji/svg", "15.0.0"),
    "fluent": ("@iconify-json/fluent-emoji", "1.2.7"),
    "fluent-flat": ("@iconify-json/fluent-emoji-flat", "1.2.6"),
    "emojione": ("emojione", "2.2.7"),
    "noto-v1": ("@iconify-json/noto-v1", "1.2.5"),
}
"""The npm package of each vendor's design, and its version. A package has an SVG drawing for each emoji.

If two vendors have the same drawing, that of the first one is in the set.
"""
