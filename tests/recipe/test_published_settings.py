"""Tests that shipped recipes have the published settings: those of the paper (Kolesnikov & Lampert 2017) and of
PixelCNN++ (Salimans et al. 2017)."""

from typing import Any

import pytest
from helpers.tiny_runs import PROJECT

from auxar.recipe import load_recipe, recipe_table
from auxar.recipe.facts import flat
from auxar.recipe.loading import parse_recipe

RECIPES = PROJECT / "recipes"
SHIPPED = sorted(RECIPES.rglob("*.toml"))

# Section 4.1: 50,000 training images and 10,000 test images of 32×32.
CIFAR10 = {"data.path": "uoft-cs/cifar10", "data.train": "train", "data.heldout": "test"}
# Section 4.2: aligned and cropped images, of which a random 95 % are for training. The margins cut 178×218 to 128×128.
CELEBA = {"data.path": "flwrlabs/celeba", "data.train": "train", "data.split.train": 0.95}
CELEBA |= {"data.crop.left": 25, "data.crop.right": 25, "data.crop.top": 50, "data.crop.bottom": 40}

# Section 3.3: Adam. Its betas are not given, so they are the usual ones. The released code of Salimans et al. averages
# the weights with a decay of 0.9995.
OPTIMIZER = {"name": "adam", "learning_rate": 0.001, "betas": [0.9, 0.999]}
ADAM = {f"training.optimizer.{key}": value for key, value in OPTIMIZER.items()}
ADAM |= {"training.schedule.name": "exponential", "training.warmup": 0, "training.ema": 0.9995}
MIXTURE = {"head.name": "logistic_mixture", "head.components": 10, "head.centered": False, "head.neighbors": False}


def within(path: str, options: dict[str, Any]) -> dict[str, Any]:
    return {f"{path}.{key}": value for key, value in options.items()}


def full(nr_resnet: int, head: dict[str, Any]) -> dict[str, Any]:
    """PixelCNN++: 5 residual blocks of each stream at a resolution are "36 blocks", and 3 are "24 blocks"."""
    return {"name": "pixelcnn++", "filters": 160, "nr_resnet": nr_resnet, "dropout": 0.5, "kernel": 2, **head}


# Section 4.2: 100 filters, 3 residual blocks without down- or upsampling, and embeddings of 15 blocks: 5 groups of 3.
# The released code has 3×3 kernels.
LIGHT = {"name": "pixelcnn", "filters": 100, "blocks": 3, "dropout": 0.5, "kernel": 3}
EMBEDDING = {"name": "resnet", "filters": 100, "blocks_per_group": 3, "dropout": 0.5}


def pyramid(depth: int) -> dict[str, Any]:
    """Stages that halve the image: `depth` of them."""
    found: dict[str, Any] = {}
    for index in range(depth):
        found |= within(f"stage[{index}].view", {"name": "pyramid", "factor": 2})
        found |= within(f"stage[{index}].embedding", EMBEDDING)
        found |= within(f"stage[{index}].decoder", LIGHT | MIXTURE)
    return found


def size(side: int) -> dict[str, Any]:
    return {"image.channels": 3, "image.height": side, "image.width": side, "image.levels": 256}


# Section 4.2: batches of 16, a decay of 0.999995 and 60 epochs. The paper gives no settings for CIFAR-10.
PYRAMID_TRAINING = ADAM | {"training.batch_size": 16, "training.schedule.decay": 0.999995, "training.epochs": 60}
FLIPPED = {"training.augment[0].name": "flip"}
# Section 4.1: batches of 64, a decay of 0.99999, 30 epochs for the gray view and 200 for the colors, flipped at random.
GRAYSCALE_TRAINING = ADAM | {"training.batch_size": 64, "training.schedule.decay": 0.99999, **FLIPPED}
GRAYSCALE_TRAINING |= {"training.epochs": 200, "training.factor.prior.epochs": 30}
# Section 3.1: 4-bit gray, which is 16 levels.
GRAY = {"stage[0].view.name": "grayscale", "stage[0].view.levels": 16}

PUBLISHED: dict[str, dict[str, Any]] = {
    "grayscale_cifar10": {
        **CIFAR10,
        **size(32),
        **GRAY,
        **within("stage[0].embedding", EMBEDDING | {"filters": 160}),
        **within("stage[0].decoder", full(3, MIXTURE)),
        **within("prior", full(5, {"head.name": "softmax"})),
        **GRAYSCALE_TRAINING,
    },
    # The code that Salimans et al. released in 2016, except for the number of epochs, which is not published.
    "pixelcnnpp_cifar10": {
        **CIFAR10,
        **size(32),
        **within("prior", full(5, MIXTURE)),
        **ADAM,
        **{"training.optimizer.betas": [0.95, 0.9995], "training.schedule.decay": 0.999995},
        "training.initialization_images": 100,
        **{"training.batch_size": 96, "training.epochs": 200, "training.augment": []},
    },
    "pyramid_celeba": {
        **CELEBA,
        **size(128),
        **pyramid(4),
        **within("prior", LIGHT | MIXTURE),
        **PYRAMID_TRAINING,
        "training.augment": [],
    },
    "pyramid_cifar10": {
        **CIFAR10,
        **size(32),
        **pyramid(2),
        **within("prior", LIGHT | MIXTURE),
        **PYRAMID_TRAINING,
        **FLIPPED,
    },
    # Section 5 suggests this model. It has the networks of the pyramid, and a small embedding for the 8×8 image.
    "pyramid_grayscale_celeba": {
        **CELEBA,
        **size(128),
        **pyramid(4),
        **{key.replace("stage[0]", "stage[4]"): value for key, value in GRAY.items()},
        **within("stage[4].embedding", EMBEDDING | {"blocks_per_group": 1}),
        **within("stage[4].decoder", LIGHT | MIXTURE),
        **within("prior", LIGHT | {"head.name": "softmax"}),
        **PYRAMID_TRAINING,
        "training.augment": [],
    },
}
PLAIN = """
data = { path = "x" }
image = { height = 1, width = 1 }
prior = "pixelcnn"
training = { epochs = 1 }
"""
"""A recipe of defaults."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_of_the_paper_have_its_settings(name):
    recipe = load_recipe(RECIPES / f"{name}.toml")
    found = dict(flat(recipe_table(recipe)))
    expected = PUBLISHED[name]
    assert {key: found.get(key) for key in expected} == expected
    stages = {key.partition(".")[0] for key in expected if key.startswith("stage")}
    assert len(recipe.stage) == len(stages)
    # Every other key has its default, except for the samples of a run.
    plain = dict(flat(recipe_table(parse_recipe(PLAIN, RECIPES))))
    others = {key for key, value in found.items() if plain.get(key) != value} - expected.keys()
    assert {key for key in others if not key.startswith("sampling.")} == {
        f"{stage}.{key}" for stage in stages for key in ("support", "repeat")
    }


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(RECIPES)))
def test_images_of_all_recipes_are_divided_and_cropped_as_in_the_paper(path):
    """Small recipes, too, hold out the paper's images, and their gray views have 16 levels. Headers name sources."""
    header = path.read_text("utf-8").partition("\n\n[data]")[0]
    assert "hosen here" in header or "the header of that recipe names the sources of the other settings" in header
    recipe = load_recipe(path)
    found = dict(flat(recipe_table(recipe)))
    expected = next((data for data in (CIFAR10, CELEBA) if data["data.path"] == recipe.data.path), {})
    # The images of celeba-coarse are those of pyramid_celeba, as `auxar views` writes them.
    others = (("emoji", "test"), ("letters", "test"), ("celeba-coarse", "test"), ("photos", "test"))
    assert expected or (recipe.data.path, recipe.data.heldout) in others
    assert {key: found[key] for key in expected} == expected
    for stage in recipe.stage:
        if stage.view.name in ("grayscale", "pyramid"):
            assert stage.view.options == ({"levels": 16} if stage.view.name == "grayscale" else {"factor": 2})
