"""Tests of runs whose recipe has a condition: training, evaluation, samples, classification, and the files of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.plain_decoder import decoded_images
from helpers.sheets import cells, enlarged
from helpers.tiny_runs import (
    call,
    command,
    run,
    tiny,
    weights,
    with_dropout,
    write,
    write_pictures,
)
from PIL import Image

import auxar
from auxar.cli import main
from auxar.draw.sheets import TITLE
from auxar.errors import UserError
from auxar.evaluation.evaluated_run import read_evaluated_run
from auxar_codec import compress, decompress
from auxar_codec.container import read_container

NAMES = ["cat", "dog", "owl"]
SOFTMAX = {"name": "pixelcnn", "filters": 3, "blocks": 1, "head": "softmax"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Images with labels in text files, and with masks beside them."""
    folder = write_pictures(tmp_path_factory.mktemp("data") / "pictures")
    for number, file in enumerate(sorted(folder.glob("*.png"))):
        file.with_suffix(".txt").write_text(NAMES[number % 3])
    return folder


def labeled(pictures: Path, **changes: Any) -> dict[str, Any]:
    condition = {"kind": "label", "suffix": ".txt", "names": NAMES, "drop": 0.2}
    return with_dropout(tiny(pictures, condition=condition, training__flip=True, **changes))


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory) -> Path:
    changes = {"sampling__figure_rows": 2, "training__sample_every": 4}
    table = labeled(pictures, condition__prior=SOFTMAX, stage__0__support="restricted", **changes)
    return run(tmp_path_factory.mktemp("run") / "out", table)


def test_the_report_and_the_screen_name_the_condition(finished, capsys):
    from auxar.cli import main

    page = (finished / "report.html").read_text()
    assert "so the condition saves" in page
    assert main(["evaluate", str(finished)]) == 0
    shown = capsys.readouterr().out
    assert "condition label; held-out images given the null condition" in shown
    assert "the condition itself takes" in shown


def test_samples_have_all_classes_in_turn_and_a_column_for_each(finished):
    record = json.loads((finished / "samples" / "samples.json").read_text())
    assert record["conditions"] == NAMES
    assert record["columns"] == 3
    with (
        Image.open(finished / "samples" / "samples.png") as shown,
        Image.open(finished / "samples" / "heldout.png") as own,
    ):
        assert shown.height == own.height + TITLE, "the columns have the names of the classes as titles"
    model = auxar.load(finished)
    images = model.sample(3, condition=NAMES)
    files = sorted((finished / "samples" / "images").glob("*.png"))
    assert all(
        torch.equal(model.prepare(file)[0].long(), image) for file, image in zip(files, images.tensor, strict=True)
    )


def test_pictures_of_the_last_step_show_the_first_samples(finished):
    views = auxar.load(finished).sample(8, condition=NAMES).views
    for name, images in zip(("stage0", "prior"), views, strict=True):
        shown = cells(Image.open(finished / "factors" / name / "samples-000000004.png"), 1, 8, 112, 112)[0]
        for cell, image in zip(shown, images, strict=True):
            assert np.array_equal(cell, enlarged(np.asarray(image.to_pil()), 112, 112))


@pytest.mark.parametrize(
    ("texts", "names"),
    [("label=dog,cat", ["dog", "cat"]), (["label=1", "none"], ["dog", "none"]), ("all", NAMES)],
)
def test_sampled_images_have_the_conditions_that_are_asked_for(finished, texts, names, tmp_path):
    folder = auxar.sample(finished, images=4, seed=3, condition=texts, out=tmp_path / "out")
    record = json.loads((folder / "samples.json").read_text())
    assert record["conditions"] == names
    model = auxar.load(finished)
    expected = model.sample(4, condition=[None if name == "none" else name for name in names], seed=3)
    for number, image in enumerate(expected.tensor):
        assert torch.equal(model.prepare(folder / "images" / f"{number:06}.png")[0].long(), image)
    bits = model.bits_per_dim(expected, condition=[None if n == "none" else n for n in (names * 4)[:4]])
    assert torch.allclose(torch.tensor(record["bits_per_dim"], dtype=torch.float64), bits, atol=1e-5)


def test_folders_of_samples_are_named_by_their_conditions(finished):
    assert auxar.sample(finished, images=1, condition="dog").name == "ancestral-dog-seed0"
    assert auxar.sample(finished, images=1, condition=["dog", "owl"]).name == "ancestral-dog-owl-seed0"
    assert auxar.sample(finished, images=1).name == "ancestral-seed0"
    assert auxar.sample(finished, images=1, condition=[None]).name == "ancestral-none-seed0"


def test_the_command_classify_shows_names_and_probabilities(finished, pictures, capsys):
    from auxar.cli import main

    file = pictures / "000.png"
    assert main(["classify", str(finished), str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "probabilities p(y | X), from exact p(X | y) and the model's p(y)"
    assert lines[1].startswith(f"{file}: ")
    assert all(name in lines[1] for name in NAMES)
    assert main(["classify", str(finished), str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["names"][0] in NAMES


def test_classify_measures_its_accuracy_on_held_out_images(finished, capsys):
    heldout = auxar.load_images(auxar.load(finished)).heldout.spaced_examples(100)
    found = auxar.load(finished).classify(heldout.image).labels.tolist()
    own = heldout.condition.flatten().tolist()
    result = auxar.classify(finished)
    assert (result.images, result.kind, result.accuracy.names) == ((), "exact", tuple(NAMES))
    counts = [[sum(pair == (k, n) for pair in zip(own, found, strict=True)) for n in range(3)] for k in range(3)]
    assert result.accuracy.confusion == tuple(map(tuple, counts))
    assert result.accuracy.share == pytest.approx(np.mean(np.equal(own, found)))
    assert auxar.classify(finished, heldout=2).accuracy.images == 2
    assert main(["classify", str(finished)]) == 0
    first, head, *rows, _ = capsys.readouterr().out.splitlines()
    assert first.startswith(
        f"{result.accuracy.share:.3f} ± {result.accuracy.standard_error:.3f} of {len(own)} held-out"
    )
    assert head.split() == NAMES
    assert [line.split() for line in rows] == [[n, *map(str, r)] for n, r in zip(NAMES, counts, strict=True)]


@pytest.mark.slow
def test_two_processes_train_the_same_model(pictures, tmp_path):
    # Each process draws its own dropout.
    table = with_dropout(labeled(pictures, training__batch_size=4), 0.0)
    recipe = write(tmp_path / "recipe.toml", table)
    ends = [call(command("run", recipe, "--out", f"out{count}", processes=count), tmp_path) for count in (1, 2)]
    assert [end.returncode for end in ends] == [0, 0]
    one, two = (weights(tmp_path / f"out{count}") for count in (1, 2))
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_streamed_images_bring_their_conditions(pictures, tmp_path):
    table = labeled(pictures, data__streaming=True, data__shuffle_buffer=4, data__split=None)
    folder = tmp_path / "pictures"
    for split in ("train", "test"):
        write_pictures(folder / split, 8)
        for number, file in enumerate(sorted((folder / split).glob("*.png"))):
            file.with_suffix(".txt").write_text(NAMES[number % 3])
    table["data"] |= {"path": str(folder), "heldout": "test"}
    out = run(tmp_path / "out", table)
    evaluation = read_evaluated_run(out).evaluation
    assert evaluation.saved().error is not None


@pytest.mark.parametrize("drop", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_a_mask_is_given_to_all_factors(tmp_path, drop):
    folder = write_pictures(tmp_path / "pictures")
    for file in sorted(folder.glob("*.png")):
        gray = Image.open(file).convert("L").point(lambda value: value // 128)
        gray.save(file.with_name(f"{file.stem}.mask.png"))
    condition = {"kind": "mask", "suffix": ".mask.png", "classes": 2, "drop": drop, "embedding": {"name": "categories"}}
    out = run(tmp_path / "out", tiny(folder, condition=condition, sampling__figure_rows=2))
    evaluation = read_evaluated_run(out).evaluation
    assert evaluation.condition == "mask"
    assert (evaluation.without_condition().value is not None) == (drop > 0)
    # The features of the null condition start at 0, and change if images without a condition are trained.
    nulls = [tensor for name, tensor in weights(out).items() if name.endswith("conditioning.null")]
    assert [bool(null.any()) for null in nulls] == ([True, True] if drop else [])
    mask = min(folder.glob("*.mask.png"))
    drawn = auxar.sample(out, images=2, condition=mask)
    other = auxar.sample(out, images=2, condition=max(folder.glob("*.mask.png")))
    assert other != drawn
    assert (drawn / "samples.json").is_file()
    assert json.loads((drawn / "samples.json").read_text())["conditions"] == [mask.name]
    if drop:
        auxar.sample(out, images=2)
    else:
        with pytest.raises(UserError, match=r"condition: this model requires a condition \(mask\) for each image"):
            auxar.sample(out, images=2)


def test_a_model_with_a_condition_starts_another_training(pictures, finished, tmp_path):
    table = labeled(pictures, condition__prior=SOFTMAX, training__steps=1, training__init=str(finished))
    run(tmp_path / "out", table, only=["condition", "prior"])
    with pytest.raises(UserError, match=r"this recipe has none, but that of the weights has a condition"):
        run(tmp_path / "other", tiny(pictures, training__init=str(finished)), only=["prior"])
    changed = labeled(pictures, condition__names=[*NAMES, "emu"], training__init=str(finished))
    with pytest.raises(UserError, match=r"trained with another image, view or network: condition"):
        run(tmp_path / "third", changed, only=["prior"])
    reordered = labeled(pictures, condition__names=NAMES[::-1], training__init=str(finished))
    with pytest.raises(UserError, match=r"condition.condition.names: expected \['owl', 'dog', 'cat'\], found"):
        run(tmp_path / "fourth", reordered, only=["prior"])


def test_an_exported_run_keeps_the_condition(finished, tmp_path):
    auxar.export(finished, tmp_path / "small")
    model, original = auxar.load(tmp_path / "small"), auxar.load(finished)
    assert model.condition == original.condition
    assert torch.equal(model.sample(2, condition="owl").tensor, original.sample(2, condition="owl").tensor)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown kind": ({"condition__kind": "labl"}, r"condition: kind must be one of .*did you mean 'label'"),
    "no source": ({"condition__suffix": None}, r"exactly one of column, columns, suffix, folders must be given"),
    "two sources": ({"condition__column": "y"}, r"exactly one of .* must be given, got column and suffix"),
    "no classes": ({"condition__names": None}, r"a label needs its number of classes"),
    "wrong number": ({"condition__classes": 4}, r"names must have one name for each of 4 classes, got 3"),
    "key of another kind": ({"condition__height": 4}, r"height requires the kind image, got the kind label"),
    "drop everything": ({"condition__drop": 1.0}, r"drop must be at least 0 and less than 1"),
    "unknown key": ({"condition__colunm": "y"}, r"condition: unknown key 'colunm'; did you mean 'column'"),
    "unknown embedding": ({"condition__embedding": "categroies"}, r"condition.embedding: .*did you mean 'categories'"),
    "same names": ({"condition__names": ["a", "a"]}, r"names must differ from each other"),
    "unknown prior": ({"condition__prior": "pixelcn"}, r"condition.prior: .*did you mean 'pixelcnn'"),
    "resnet does not fit": (
        {"condition__embedding": "resnet", "image__width": 16},
        r"condition.embedding \('resnet'\)",
    ),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_a_wrong_condition_is_one_error(pictures, tmp_path, case):
    changes, message = case
    with pytest.raises(UserError, match=message):
        run(tmp_path / "out", labeled(pictures, **changes))
    assert not (tmp_path / "out").exists()


def test_a_prior_that_cannot_be_given_a_condition_is_refused(pictures, tmp_path):
    (tmp_path / "plugin.py").write_text(
        "from auxar import Component, Prior, hookimpl\n"
        "from auxar_pixelcnn.components import LightConfig\n"
        "AUXAR_INTERFACE = 1\n"
        "@hookimpl\n"
        "def auxar_register_components():\n"
        "    return [Component('prior', 'own', LightConfig, lambda config, image: Prior())]\n"
    )
    with pytest.raises(UserError, match=r"prior: 'own' cannot be given a condition; expected one of convnet, "):
        run(tmp_path / "out", labeled(pictures, plugins=["plugin.py"], prior={"name": "own"}))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["label=doog"], "condition: the label 'doog' is no class; did you mean 'dog'"),
        (["label=3"], "condition: the label 3 is no class; expected an integer from 0 to 2"),
        (
            ["mask=a.png"],
            "condition: expected label=NAME or none, because the model's condition is of the kind 'label', got 'mask=a",
        ),
        (["label=dog,none"], "condition: the label 'none' is no class"),
        (["drawn", "label=dog"], "condition: the label 'drawn' is no class"),
    ],
)
def test_wrong_conditions_of_samples_are_one_error(finished, tmp_path, texts, message):
    with pytest.raises(UserError, match=message):
        auxar.sample(finished, images=1, condition=texts, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_condition_refuses_one(pictures, tmp_path):
    out = run(tmp_path / "out", tiny(pictures, training__steps=1))
    with pytest.raises(UserError, match="condition: this model has no condition"):
        auxar.sample(out, condition="label=dog")
    model = auxar.load(out)
    with pytest.raises(UserError, match="condition: this model has no condition"):
        model.sample(1, condition="dog")
    with pytest.raises(UserError, match="a label, but this model has no condition"):
        auxar.classify(out, [pictures])
    with pytest.raises(UserError, match="no p\\(y\\) to draw from"):
        model.sample_conditions(1)


CONDITIONS: dict[str, dict[str, Any]] = {
    "label": {"kind": "label", "suffix": ".txt", "names": NAMES, "drop": 0.2, "prior": SOFTMAX},
    "mask": {"kind": "mask", "suffix": ".mask.png", "classes": 2, "embedding": {"name": "categories", "blocks": 1}},
    "image": {"kind": "image", "suffix": ".mask.png", "channels": 1, "levels": 256, "drop": 0.2},
    "small image": {"kind": "image", "suffix": ".small.png", "channels": 1, "height": 2, "width": 2},
}


LABELED = pytest.mark.parametrize("converted", [CONDITIONS["label"]], indirect=True, ids=["label"])
"""Only the run with labels."""


SLOW = ("mask", "image")
"""The kinds that are converted by slow tests only: they have the embeddings of the other two."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(condition, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, condition in CONDITIONS.items()
    ],
)
def converted(request, tmp_path_factory) -> Path:
    """A run in integers with a condition."""
    folder = write_pictures(tmp_path_factory.mktemp("data") / "pictures")
    suffix = request.param["suffix"]
    for number, file in enumerate(sorted(folder.glob("*.png"))):
        file.with_suffix(".txt").write_text(NAMES[number % 3])
        gray = Image.open(file).convert("L").point(lambda value: value // 128)
        gray = gray.resize((2, 2)) if suffix == ".small.png" else gray
        if suffix != ".txt":
            gray.save(file.with_name(f"{file.stem}{suffix}"))
    table = tiny(folder, condition=request.param, arithmetic="integer", stage__0__support="restricted")
    return run(tmp_path_factory.mktemp("run") / "out", table)


def test_a_run_in_integers_costs_little(converted):
    evaluation = read_evaluated_run(converted, "integer").evaluation
    cost = evaluation.cost(read_evaluated_run(converted).evaluation).value
    assert cost is not None
    assert abs(cost) < 0.02
    assert evaluation.condition == read_evaluated_run(converted).evaluation.condition
    names = {"stage0", "prior"} | ({"condition"} if evaluation.condition == "label" else set())
    assert set(evaluation.digests) == names


def test_samples_in_integers_are_the_same_for_every_batch_sampler_and_engine(converted):
    model = auxar.load(converted, arithmetic="integer")
    assert model.arithmetic == "integer"
    heldout = next(auxar.load_images(model).heldout.in_order_examples(4))
    given = heldout.condition
    first = model.sample(4, condition=given, seed=1).tensor
    assert torch.equal(model.sample(4, condition=given, seed=1, batch_size=1).tensor, first)
    assert torch.equal(model.sample(4, condition=given, seed=1, sampler="raster").tensor, first)
    assert not torch.equal(model.sample(4, condition=given.flip(0), seed=1).tensor, first)
    bits = model.bits_per_dim(heldout.image, condition=given)
    assert torch.equal(model.bits_per_dim(heldout.image, condition=given, batch_size=1), bits)
    floats = auxar.load(converted)
    assert torch.allclose(floats.bits_per_dim(heldout.image, condition=given), bits, atol=0.05)
    if model.condition is not None and model.condition.optional:
        assert torch.allclose(floats.bits_per_dim(heldout.image), model.bits_per_dim(heldout.image), atol=0.05)
        assert not torch.equal(model.bits_per_dim(heldout.image), bits)


@pytest.fixture
def pictures_of(converted) -> list[Path]:
    """Three pictures of the data."""
    recipe, _ = auxar.load_recipe(converted / "recipe.toml")
    files = sorted(file for file in Path(recipe.data.path).glob("*.png") if file.stem.isdigit())
    return files[:3]


def decompressed(path: Path, run: Path, out: Path) -> list[Any]:
    return [np.asarray(Image.open(file)) for file in decompress(path, out, run=run).paths]


@LABELED
def test_files_keep_the_labels_of_their_pictures(converted, pictures_of, tmp_path, capsys):
    from auxar.cli import main

    model = auxar.load(converted, arithmetic="integer")
    originals = [np.asarray(Image.open(file)) for file in pictures_of]
    labels = ["owl", None, "cat"]
    packed = compress(converted, pictures_of, tmp_path / "a.auxar", condition=labels)
    assert all(map(np.array_equal, decompressed(packed.path, converted, tmp_path / "a"), originals))
    found = read_container(packed.path)
    assert [entry.condition for entry in found.entries] == [(2,), (-1,), (0,)]
    bits = model.bits_per_dim(model.prepare(pictures_of), condition=labels) * model.image.dims
    for entry, expected in zip(found.entries, bits.tolist(), strict=True):
        assert expected <= 8 * entry.size + 1e-6 <= expected + 16 * 2
    plain = decoded_images(packed.path.read_bytes(), model, most=2)
    for file, original in zip(pictures_of[:2], originals, strict=False):
        assert np.array_equal(plain[file.name].transpose(1, 2, 0), original)
    assert main(["decompress", str(packed.path), "--list"]) == 0
    shown = capsys.readouterr().out
    assert "bits/dim  label 2" in shown
    assert "bits/dim  no label" in shown
    one = compress(converted, pictures_of, tmp_path / "b.auxar", condition="dog")
    assert [entry.condition for entry in read_container(one.path).entries] == 3 * [(1,)]
    with pytest.raises(UserError, match="expected one, or one for each of 3 images, got 2"):
        compress(converted, pictures_of, tmp_path / "c.auxar", condition=["cat", "dog"])


def test_files_of_pictures_without_a_condition(converted, pictures_of, tmp_path):
    condition = auxar.load(converted).condition
    assert condition is not None
    if not condition.optional:
        with pytest.raises(UserError, match="this model requires a condition"):
            compress(converted, pictures_of, tmp_path / "a.auxar")
        if condition.kind == "mask":
            mask = next(pictures_of[0].parent.glob("*.mask.png"))
            with pytest.raises(UserError, match="files have labels or attributes of images, but this model has a cond"):
                compress(converted, pictures_of, tmp_path / "a.auxar", condition=mask)
        return
    packed = compress(converted, pictures_of, tmp_path / "a.auxar")
    assert read_container(packed.path).header.condition is None
    originals = [np.asarray(Image.open(file)) for file in pictures_of]
    assert all(map(np.array_equal, decompressed(packed.path, converted, tmp_path / "a"), originals))
    again = compress(converted, pictures_of, tmp_path / "b.auxar", condition="none")
    assert again.path.read_bytes() == packed.path.read_bytes()


def test_the_card_of_a_model_says_how_it_is_given_its_condition(finished):
    from auxar_hub.card import card

    text = card("me/animals", auxar.RunFolder(finished), None, {}, trust_plugins=False)
    assert "images = model.sample(4, condition='cat')" in text
    assert "model.bits_per_dim(images, condition='cat')" in text
    assert "The model is given a label with each image: `cat`, `dog`, `owl`. Without `condition`, it is given" in text


def test_scores_given_conditions_rank_among_images_with_their_own(finished, pictures, capsys, monkeypatch):
    files = [file for file in sorted(pictures.glob("*.png")) if not file.stem.endswith(".mask")][:2]
    model = auxar.load(finished)
    images: Any = auxar.load_images(model).heldout
    examples = images.examples(range(len(images)))
    heldout = model.bits_per_dim(examples.image, condition=examples.condition)
    for condition in ("owl", ["owl", "cat"]):
        scores = auxar.score(finished, files, condition=condition)
        expected = model.bits_per_dim(files, condition=condition)
        for image, bits in zip(scores.images, expected.tolist(), strict=True):
            assert image.bits_per_dim == pytest.approx(bits, rel=1e-6)
            assert image.rank == pytest.approx(float((heldout < bits).double().mean()))
    null = [image.bits_per_dim for image in auxar.score(finished, files, heldout=0).images]
    assert null == pytest.approx(model.bits_per_dim(files).tolist(), rel=1e-6)
    command = ["score", str(finished), *map(str, files), "--heldout", "0", "--json", "-q"]
    assert main([*command, "--condition", "label=owl,cat"]) == 0
    printed = json.loads(capsys.readouterr().out)["images"]
    assert [image["bits_per_dim"] for image in printed] == [image.bits_per_dim for image in scores.images]
    with pytest.raises(UserError, match=r"^condition: expected one, or one for each of 2 images, got 3$"):
        auxar.score(finished, files, condition=[0, 1, 2])
