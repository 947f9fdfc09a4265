"""Makes random recipes: takes a shipped or a small valid recipe, and breaks it in random ways."""

from __future__ import annotations

import copy
import datetime
import math
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import attrs
import tomli_w

SHIPPED = [path.read_text() for path in sorted((Path(__file__).parents[2] / "recipes").rglob("*.toml"))]

VIEWS = [
    {"name": "pyramid", "factor": 2},
    {"name": "pyramid", "factor": 4},
    {"name": "grayscale", "levels": 4},
    {"name": "bitplanes", "drop": 1},
    {"name": "subsample", "factor": 3},
    {"name": "thin", "every": 2, "share": 0.5, "names": ["a"]},
]
NETWORKS = [
    {"name": "pixelcnn", "filters": 2, "blocks": 1, "head": {"name": "logistic_mixture", "components": 2}},
    {"name": "pixelcnn", "filters": 3, "blocks": 1, "head": "softmax", "dropout": 0.0},
    {"name": "transformer", "width": 4, "heads": 2, "blocks": 1},
    {"name": "pixelcnn++", "filters": 2, "nr_resnet": 1, "head": {"name": "logistic_mixture", "components": 1}},
]
SAMPLERS = ["auto", "wavefront", "cached", "raster", {"name": "auto", "engine": {"name": "torch"}}]
NAMES = ["pyramid", "grayscale", "pixelcnn", "pixelcnn++", "transformer", "resnet", "auto", "noto-emoji", "thin", "no"]
KEYS = [
    *("data", "image", "stage", "prior", "training", "evaluation", "sampling", "plugins", "factor", "stage0", "name"),
    *("filters", "blocks", "levels", "heads", "width", "height", "repeat", "steps", "epochs", "support"),
    *("head", "components", "engine"),
    "factor_training",
    *("options", "seed", "trackers", "betas", "split", "crop", "__class__", "self", "", "a.b", "ю", "a\nb", "é" * 99),
]
PLUGINS = ["thin.py", "broken.py", "odd.py"]
"""Plugin files in the recipe's folder: one that is valid, one with a syntax error, and one that is not text."""
NO_PLUGINS = [
    *("missing.py", "thin.txt", "folder.py", "pipe.py", "loop.py", "thin.py/thin.py", "", ".", "..", "/", "*.py", "~"),
    *("../../x.py", "/dev/zero", "/dev/stdin", "/proc/self/mem", "a\0.py", "x" * 300 + ".py", "x/" * 3000, "a\n@ b.py"),
    *("file:///thin.py", "\\\\thin.py", "thin.py ", "\U0010ffff.py"),
]
"""Invalid values for a plugin file: a folder, a pipe, a link to itself, devices, and names that no file can have."""
NUMBERS = [
    *(0, -1, 1, 2, 7, 255, 256, 257, 1000, 65_537, 2**24 + 1, 2**31 - 1, 2**31, 2**62, 2**63 - 1, -(2**63), 10**30),
    *(-(10**400), 10**400, 0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, math.inf, -math.inf, math.nan, 1e9),
]
ODD_TEXTS = ["", " ", "0", "true", "\0", "a\nb", "\x1b[2J", "\u202ex", "\U0010ffff", "'", '"', "@ y", "a" * 100_000]
TOKENS = [
    *("[", "]", "[[", "]]", "{", "}", "=", ",", ".", '"', "'", '"""', "'''", "#", "\n", "\r", "\t", "\0", "\x7f"),
    *("inf", "nan", "true", "1e999", "-0", "0x", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "\ufeff", "\u202e"),
    *("[stage]", "[[stage]]", "[[image]]", "[training.factor.prior]", "[training.factor]", "[a.b.c]", "a.b.c = 1"),
]


@attrs.frozen
class Case:
    """The bytes of a recipe, and the `--set` settings that are applied to it."""

    recipe: bytes
    settings: tuple[str, ...] = ()


def make_case(seed: int, number: int) -> Case:
    """Makes the case with this number. Equal arguments give the same case on every machine."""
    random = Random(f"{seed}/{number}")
    table = tomllib.loads(random.choice(SHIPPED)) if random.random() < 0.03 else small_recipe(random)
    chance = random.random()
    if 0.05 < chance < 0.75:
        for _ in range(_few(random)):
            random.choice(TABLE_CHANGES)(random, table)
    text = tomli_w.dumps(table)
    recipe = text.encode()
    if chance > 0.7:
        for _ in range(_few(random)):
            recipe = random.choice(TEXT_CHANGES)(random, recipe)
    settings = [_setting(random, table) for _ in range(_few(random))] if random.random() < 0.25 else []
    return Case(recipe, tuple(settings))


def _few(random: Random) -> int:
    """Draws a count from 1 to 6, mostly 1."""
    return min(6, 1 + int(random.expovariate(1.2)))


# Small recipes


def small_recipe(random: Random) -> dict[str, Any]:
    """Draws a recipe with valid names and options, whose sizes usually fit each other."""
    table: dict[str, Any] = {
        "data": {"path": random.choice(["noto-emoji", "pictures", "somebody/set"])},
        "image": {
            "channels": random.choice([3, 3, 3, 1, 2]),
            "height": random.choice([1, 2, 3, 4, 5, 8, 8, 8, 16]),
            "width": random.choice([1, 4, 8, 8, 8, 9, 16]),
            "levels": random.choice([256, 256, 2, 3, 16]),
        },
        "prior": _network(random),
        "training": {random.choice(["steps", "epochs"]): random.randint(1, 9), "batch_size": random.randint(1, 40)},
        "sampling": {"sampler": copy.deepcopy(random.choice(SAMPLERS)), "rule": random.choice(["ancestral", "map"])},
    }
    stages = [_stage(random) for _ in range(random.choice([0, 0, 0, 0, 1, 1, 2]))]
    if stages:
        table["stage"] = stages
    if random.random() < 0.1 or any(stage["view"]["name"] == "thin" for stage in stages):
        table["plugins"] = random.sample(PLUGINS, 1) if random.random() < 0.1 else ["thin.py"]
    return table


def _network(random: Random) -> dict[str, Any]:
    # The last network is drawn less often, because it is several times slower than the others.
    return copy.deepcopy(random.choices(NETWORKS, weights=[4, 4, 4, 1])[0])


def _stage(random: Random) -> dict[str, Any]:
    return {
        "view": dict(random.choice(VIEWS)),
        "embedding": {"name": "resnet", "filters": random.choice([1, 2]), "blocks_per_group": 1},
        "decoder": _network(random),
        "repeat": random.choice([1, 1, 1, 2]),
        "support": random.choice(["free", "free", "restricted"]),
    }


# Changes of tables


def _value(random: Random, depth: int = 0) -> Any:
    """Draws any value that TOML can hold; extreme values are likely."""
    chance = random.random()
    if chance < 0.5:
        return random.choice(NUMBERS)
    if chance < 0.6:
        return random.randint(-(2**70), 2**70) >> random.randint(0, 69)
    if chance < 0.75:
        return random.choice([*ODD_TEXTS, *NAMES])
    if chance < 0.8:
        return random.choice([True, False])
    if chance < 0.85 or depth > 4:
        return random.choice(
            [datetime.date(1, 1, 1), datetime.time(23, 59), datetime.datetime.max, datetime.datetime.min]
        )
    if chance < 0.88:
        return _nested(random.choice([3, 40]), random.choice(["list", "table"]))
    if chance < 0.94:
        return [_value(random, depth + 1) for _ in range(random.choice([0, 1, 2, 3, 1000 if depth == 0 else 3]))]
    return {random.choice(KEYS): _value(random, depth + 1) for _ in range(random.randint(0, 4))}


def _nested(depth: int, kind: str) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


def _tables(node: Any) -> Iterator[dict[str, Any]]:
    """Yields all tables that `node` contains at any depth, including `node` itself."""
    if isinstance(node, dict):
        yield node
    for entry in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _tables(entry)


def _spot(random: Random, table: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Draws a nonempty table (`table` or one inside it) and one of its keys; `table` and a new key if all are empty."""
    filled = [found for found in _tables(table) if found]
    node = random.choice(filled) if filled else table
    return node, random.choice(list(node)) if node else "data"


def _delete(random: Random, table: dict[str, Any]) -> None:
    node, key = _spot(random, table)
    node.pop(key, None)


def _rename(random: Random, table: dict[str, Any]) -> None:
    node, key = _spot(random, table)
    place = random.randint(0, len(key))
    new = random.choice([random.choice(KEYS), key[:place] + key[place + 1 :], key + "s", key.upper(), key[:20] * 2000])
    if key in node:
        node[new] = node.pop(key)


def _copy(random: Random, table: dict[str, Any]) -> None:
    """Copies the value of one key to another key."""
    source, key = _spot(random, table)
    target, other = _spot(random, table)
    # Tables and lists are not copied: one that contains itself could not be written.
    if key in source and not isinstance(source[key], dict | list):
        target[random.choice([key, other])] = source[key]


def _replace(random: Random, table: dict[str, Any]) -> None:
    node, key = _spot(random, table)
    node[key] = _value(random)


def _extreme(random: Random, table: dict[str, Any]) -> None:
    """Replaces a number by one of `NUMBERS`."""
    found = [(node, key) for node in _tables(table) for key in node if type(node[key]) in (int, float)]
    if found:
        node, key = random.choice(found)
        node[key] = random.choice(NUMBERS)


def _large(random: Random, table: dict[str, Any]) -> None:
    """Replaces an integer by a large but plausible one."""
    found = [(node, key) for node in _tables(table) for key in node if type(node[key]) is int]
    if found:
        node, key = random.choice(found)
        node[key] = random.choice([3, 12, 50, 64, 100, 256, 300, 1024, 4096, 10**4, 10**5, 10**6, 2**20])


def _largest(random: Random, table: dict[str, Any]) -> None:
    """Sets several sizes to extreme values, each of which is valid alone."""
    sizes = {"height": 65_536, "width": 65_536, "levels": 2**24, "filters": 16_384, "heads": 1}
    sizes |= {"batch_size": 2**20, "components": 1024, "factor": random.choice([256, 65_536]), "blocks": 1}
    for node in _tables(table):
        for key in node:
            if key in sizes and random.random() < 0.7:
                node[key] = sizes[key]


def _swap_component(random: Random, table: dict[str, Any]) -> None:
    found = [node for node in _tables(table) if isinstance(node.get("name"), str)]
    if found:
        random.choice(found)["name"] = random.choice(NAMES)


def _add(random: Random, table: dict[str, Any]) -> None:
    node = random.choice(list(_tables(table)))
    for _ in range(random.choice([1, 1, 1, 30])):
        node[random.choice([*KEYS, f"key{random.randrange(10**6)}"])] = _value(random)


def _factor(random: Random, table: dict[str, Any]) -> None:
    training = table.get("training")
    if isinstance(training, dict):
        own = random.choice([{"steps": 3}, {"epochs": 0.5, "clip": 1}, {"precision": "bf16"}, _value(random)])
        training["factor"] = {random.choice(["prior", "stage0", "stage1", "x", "p\n @ q"]): own}


def _many_stages(random: Random, table: dict[str, Any]) -> None:
    stages = table.get("stage")
    if isinstance(stages, list) and stages:
        times = random.choice([2, 3, 20, 65, 1000])
        # Stages that another change made very long are not repeated: the recipe would become too large to write.
        if len(str(stages[:10])) < 10_000:
            table["stage"] = [copy.deepcopy(stage) for stage in stages[:10] * times]


def _endless_stages(random: Random, table: dict[str, Any]) -> None:
    """Repeats the view `subsample` many times. It accepts images of any size, so that sizes set no limit."""
    count = random.choice([2, 4, 8, 64, 65, 10**6])
    table["stage"] = [{**_stage(random), "view": {"name": "subsample"}, "repeat": count}]


def _name_plugins(random: Random, table: dict[str, Any]) -> None:
    table["plugins"] = random.choices([*PLUGINS, *NO_PLUGINS], k=random.choice([1, 1, 1, 2, 50]))


TABLE_CHANGES: list[Callable[[Random, dict[str, Any]], None]] = [
    *(_delete, _rename, _copy, _replace, _replace, _replace, _extreme, _extreme, _extreme, _large, _largest),
    *(_swap_component, _add, _factor, _many_stages, _endless_stages, _name_plugins),
]


# Changes of text


def _cut(random: Random, text: bytes) -> bytes:
    start = random.randint(0, len(text))
    return text[:start] + text[start + random.choice([1, 1, 5, 40, 10**6]) :]


def _splice(random: Random, text: bytes) -> bytes:
    other = random.choice(SHIPPED).encode()
    return text[: random.randint(0, len(text))] + other[random.randint(0, len(other)) :]


def _flip(random: Random, text: bytes) -> bytes:
    found = bytearray(text)
    for _ in range(random.choice([1, 1, 2, 10]) if found else 0):
        found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def _double_lines(random: Random, text: bytes) -> bytes:
    lines = text.split(b"\n")
    place = random.randrange(len(lines))
    return b"\n".join(lines[:place] + lines[place : place + 1] * random.choice([2, 2, 3, 5000]) + lines[place + 1 :])


def _shuffle_lines(random: Random, text: bytes) -> bytes:
    lines = text.split(b"\n")
    random.shuffle(lines)
    return b"\n".join(lines)


def _insert(random: Random, text: bytes) -> bytes:
    place = random.randint(0, len(text))
    new = random.choice([random.choice(TOKENS).encode(), _monster(random).encode(), random.randbytes(4)])
    return text[:place] + new + text[place:]


def _put_value(random: Random, text: bytes) -> bytes:
    """Replaces the text after an equals sign."""
    lines = text.split(b"\n")
    places = [number for number, line in enumerate(lines) if b"=" in line]
    if places:
        place = random.choice(places)
        key = lines[place].partition(b"=")[0]
        lines[place] = key + b"= " + random.choice([random.choice(TOKENS), _monster(random)]).encode()
    return b"\n".join(lines)


def _put_line(random: Random, text: bytes) -> bytes:
    """Adds a line at the start or at the end."""
    line = f"{_monster(random)} = {_monster(random)}".encode()
    return line + b"\n" + text if random.random() < 0.5 else text + b"\n" + line + b"\n"


def _monster(random: Random) -> str:
    """Draws a piece of TOML that is much too long or nested much too deeply."""
    size = random.choice([30, 300, 3000, 30_000])
    return random.choice(
        [
            "9" * size,
            "-" + "9" * size,
            "0x" + "f" * size,
            "0b" + "1" * size,
            "0." + "0" * size + "1",
            "1e" + "9" * size,
            "[" * size + "]" * size,
            "{a=" * size + "1" + "}" * size,
            "[" + "{}," * size + "]",
            "[" + "0.5," * size + "]",
            '"' + "x" * size + '"',
            '"' + "\\n" * size + '"',
            "x" * size,
            " " * size,
            "é" * size,
            "'''" + "\n" * size + "'''",
            "\n".join(f"k{number} = 1" for number in range(size)),
            "\n".join(f"[t{number}]" for number in range(min(size, 5000))),
            "[[stage]]\n" * min(size, 5000),
        ]
    )


TEXT_CHANGES: list[Callable[[Random, bytes], bytes]] = [
    *(_cut, _splice, _flip, _double_lines, _shuffle_lines, _insert, _insert, _put_value, _put_value, _put_line)
]


# Settings


def _setting(random: Random, table: dict[str, Any]) -> str:
    """Draws a setting `key=value`, sometimes a malformed one."""
    chance = random.random()
    if chance < 0.15:
        return random.choice([*ODD_TEXTS, *TOKENS, _monster(random), "\udc80", "=", "==", "[0]=1", "stage[-1]=2"])
    key = _path(random, table)
    if chance < 0.25:
        key += random.choice([".x", "[0]", "[-1]", "[99999999999999999999]", "[]", ".", ".a" * 5000, "[0]" * 3000])
    return f"{key}={_setting_value(random)}"


def _path(random: Random, table: dict[str, Any]) -> str:
    """Draws a key of the recipe and returns its path in the syntax of `--set`."""
    node: Any = table
    path = ""
    while node and isinstance(node, dict | list):
        part = random.choice(list(node)) if isinstance(node, dict) else random.randrange(len(node))
        path += f"[{part}]" if isinstance(node, list) else f".{part}"
        node = node[part]
        if random.random() < 0.1:
            break
    return path.removeprefix(".")


def _setting_value(random: Random) -> str:
    chance = random.random()
    if chance < 0.6:
        return str(random.choice(NUMBERS[:16]))
    if chance < 0.8:
        return random.choice([*ODD_TEXTS, *TOKENS, *NAMES, "\udc80", "1\nvalue = 2", "{ name = 'pixelcnn' }"])
    return _monster(random)
