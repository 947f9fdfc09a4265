"""The groups of the data set `emoji`, with Unicode's subgroups that it has images of."""

GROUPS = {
    name: tuple(subgroups.split())
    for name, subgroups in {
        "smileys": """
            face-smiling face-affection face-tongue face-hand face-neutral-skeptical face-sleepy face-unwell
            face-hat face-glasses face-concerned face-negative face-costume cat-face monkey-face heart
            emotion
        """,
        "people": """
            hand-fingers-open hand-fingers-partial hand-single-finger hand-fingers-closed hands hand-prop
            body-parts person person-gesture person-role person-fantasy person-activity person-sport
            person-resting
        """,
        "animals": """
            animal-mammal animal-bird animal-amphibian animal-reptile animal-marine animal-bug plant-flower
            plant-other
        """,
        "food": "food-fruit food-vegetable food-prepared food-asian food-sweet drink dishware",
        "travel": """
            place-map place-geographic place-building place-religious place-other transport-ground
            transport-water transport-air hotel time sky-weather
        """,
        "activities": "event award-medal sport game arts-crafts",
        "objects": """
            clothing sound music musical-instrument phone computer light-video writing lock tool science
            medical household other-object
        """,
        "flags": "flag country-flag subdivision-flag",
    }.items()
}
"""The subgroups of each group, by Unicode's names, in Unicode's order."""
GROUP_OF = {subgroup: group for group, subgroups in GROUPS.items() for subgroup in subgroups}
"""The group of each subgroup."""
