"""Tests that identities, by which prepared images are found in the cache, depend on all that decides their values."""

from typing import Any

import attrs
import pytest
import torch

from auxar.data.conditions import ConditionReader, condition_reader
from auxar.data.conversion import Preparation
from auxar.data.crops import Crops
from auxar.draw.conditions import digest_of
from auxar.draw.images import Images
from auxar.draw.plan import Given
from auxar.model import ImageSpec, Known
from auxar.recipe import Crop, DataConfig
from auxar.recipe.component_choice import ComponentChoice
from auxar.recipe.condition import ConditionConfig

IMAGE = ImageSpec(3, height=8, width=6, levels=16)
PREPARATION = Preparation(IMAGE, Crop(1, 2, 3, 4), "cover", "scaled")
CONFIG = ConditionConfig(
    "attributes", suffix=".json", key="a", names=("x", "y"), embedding=ComponentChoice("categories")
)


def one_by_one(value: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """Copies of a record, of which each has one field with another value. All of its fields have one."""
    assert set(changes) == {field.name for field in attrs.fields(type(value)) if field.init}
    return {name: attrs.evolve(value, **{name: new}) for name, new in changes.items()}


def assert_all_differ(identities: dict[Any, str]) -> None:
    for name, own in identities.items():
        assert [other for other, identity in identities.items() if identity == own] == [name]


def test_conversions_of_images_differ_in_each_setting():
    crop = one_by_one(PREPARATION.crop, {"left": 9, "right": 9, "top": 9, "bottom": 9, "random": True})
    spec = one_by_one(IMAGE, {"channels": 1, "height": 9, "width": 9, "levels": 8})
    changes = {
        "image": spec["height"],
        "crop": crop["left"],
        "resize": "none",
        "values": "levels",
        "crops": Crops(IMAGE),
    }
    found = {"": PREPARATION, **one_by_one(PREPARATION, changes)}
    found |= {
        ("image", name): attrs.evolve(PREPARATION, image=image) for name, image in spec.items() if name != "height"
    }
    # Whether crops are random does not change how an image is converted; `crops` says whether it keeps its size.
    others = {name: own for name, own in crop.items() if name not in ("left", "random")}
    found |= {("crop", name): attrs.evolve(PREPARATION, crop=own) for name, own in others.items()}
    assert_all_differ({name: preparation.identity for name, preparation in found.items()})


def reader(config: ConditionConfig, image: ImageSpec = IMAGE, **data: Any) -> ConditionReader:
    found = condition_reader(
        config, image, DataConfig("images", **{"resize": "cover", "crop": Crop(1, 2, 3, 4), **data})
    )
    assert found is not None
    return found


def test_readers_of_conditions_differ_in_each_setting_that_changes_values():
    attributes: dict[str, Any] = {"suffix": ".other.json", "key": "b", "names": ("y", "x")}
    found = {name: reader(attrs.evolve(CONFIG, **{name: value})) for name, value in attributes.items()}
    found["columns"] = reader(attrs.evolve(CONFIG, suffix=None, key=None, columns=("p", "q")))
    found["column"] = reader(attrs.evolve(CONFIG, suffix=None, key=None, column="p"))
    label = attrs.evolve(CONFIG, kind="label", suffix=None, key=None, column="p")
    found["label"], found["folders"] = reader(label), reader(attrs.evolve(label, column=None, folders=True))
    found["classes"] = reader(attrs.evolve(label, names=(), classes=3))
    picture = attrs.evolve(CONFIG, kind="image", names=(), key=None, suffix=".png")
    for name, value in {"channels": 1, "levels": 4, "height": 5, "width": 5}.items():
        sides: dict[str, Any] = {"height": 4, "width": 4} if name in ("height", "width") else {}
        found[name] = reader(attrs.evolve(picture, **{**sides, name: value}))
    found["own size"] = reader(attrs.evolve(picture, height=4, width=4))
    found["image"], found["mask"] = reader(picture), reader(attrs.evolve(picture, kind="mask", classes=3))
    found["crop"], found["resize"] = reader(picture, crop=Crop(9, 2, 3, 4)), reader(picture, resize="stretch")
    assert_all_differ({name: own.identity for name, own in found.items()})
    changes: tuple[dict[str, Any], ...] = (
        {"drop": 0.5},
        {"prior": ComponentChoice("pixelcnn")},
        {"embedding": ComponentChoice("resnet")},
    )
    for change in changes:
        assert reader(attrs.evolve(CONFIG, **change)).identity == reader(CONFIG).identity


def test_digests_of_given_images_differ_in_each_of_them():
    view, image = torch.arange(8).view(2, 1, 2, 2), torch.arange(24).view(2, 3, 2, 2)
    known = Known(image, torch.ones(2, 2, 2).bool())
    mask = torch.tensor([True, False]).expand(2, 2, 2)
    given = Given(1, view, Images(image, ImageSpec(height=2, width=2)), None, ("a", "b"))
    completed = attrs.evolve(given, view=None, known=known)
    other = Images(image.flip(0), ImageSpec(height=2, width=2))
    changes = {"depth": 2, "view": view + 1, "image": other, "known": known, "names": ("b", "a")}
    found = {"": given, **one_by_one(given, changes), "completed": completed}
    found |= {
        name: attrs.evolve(completed, known=own)
        for name, own in (("values", Known(image + 1, known.mask)), ("mask", Known(image, mask)))
    }
    assert_all_differ({name: own.digest for name, own in found.items()})


@pytest.mark.parametrize("tensor", [torch.arange(6), torch.zeros(2, 3).long(), torch.zeros(0).long()])
def test_digests_tell_tensors_their_order_and_their_shapes_apart(tensor):
    digests = {
        "one": digest_of(tensor),
        "none": digest_of(),
        "missing": digest_of(None),
        "first": digest_of(tensor, None),
        "second": digest_of(None, tensor),
        "text": digest_of(tensor, text="a"),
        "shape": digest_of(tensor.reshape(1, *tensor.shape)),
        "twice": digest_of(tensor, tensor),
    }
    assert_all_differ(digests)
