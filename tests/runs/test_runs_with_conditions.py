"""Tests of runs whose recipe has a condition: training, evaluation, samples, classification, and the files of a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.installed import install_components
from helpers.tiny_runs import NAMES, run, tiny, with_dropout, write_labeled

import auxar
from auxar.cli import main
from auxar.commands.classify import _lines
from auxar.draw.classification import most_probable
from auxar.errors import UserError
from auxar.evaluation.stored import read_evaluation
from auxar_pixelcnn.components import LightConfig

SOFTMAX = {"name": "pixelcnn", "filters": 3, "blocks": 1, "head": "softmax"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Images with labels in text files."""
    return write_labeled(tmp_path_factory.mktemp("data") / "pictures")


def labeled(pictures: Path, **changes: Any) -> dict[str, Any]:
    condition = {"kind": "label", "suffix": ".txt", "names": NAMES, "drop": 0.2}
    return with_dropout(tiny(pictures, condition=condition, training__augment=["flip"], **changes))


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory) -> Path:
    changes = {"sampling__figure_rows": 2, "training__sample_every": 4}
    table = labeled(pictures, condition__prior=SOFTMAX, stage__0__support="restricted", **changes)
    return run(tmp_path_factory.mktemp("run") / "out", table)


def test_the_report_and_the_screen_name_the_condition(finished, capsys):
    page = (finished / "report.html").read_text()
    assert "so the condition saves" in page
    assert main(["evaluate", str(finished)]) == 0
    shown = capsys.readouterr().out
    assert "condition label; held-out images given the null condition" in shown
    assert "the condition itself takes" in shown


def test_folders_of_samples_are_named_by_their_conditions(finished, pictures, tmp_path):
    assert auxar.sample(finished, images=1, condition="dog").name == "ancestral-dog-seed0"
    assert auxar.sample(finished, images=1, condition=["dog", "owl"]).name == "ancestral-dog-owl-seed0"
    assert auxar.sample(finished, images=1).name == "ancestral-seed0"
    assert auxar.sample(finished, images=1, condition=[None]).name == "ancestral-none-seed0"
    auxar.sample(finished, images=1, condition="cat", out=tmp_path / "cat")
    with pytest.raises(UserError, match="holds samples of other options"):
        auxar.sample(finished, images=1, condition="dog", out=tmp_path / "cat")
    drawn = auxar.sample(finished, images=1, given=[min(pictures.glob("*.png"))])
    assert json.loads((drawn / "samples.json").read_text())["conditions"] == ["none"]


def test_classify_measures_its_accuracy_on_held_out_images(finished, capsys):
    heldout = auxar.load_images(auxar.load(finished)).heldout.spaced_examples(100)
    classes = auxar.load(finished).classify(heldout["image"])
    found = classes.labels.tolist()
    own = heldout["condition"].flatten().tolist()
    result = auxar.classify(finished)
    assert (result.images, result.kind, result.accuracy.names) == ((), "exact", tuple(NAMES))
    counts = [[sum(pair == (k, n) for pair in zip(own, found, strict=True)) for n in range(3)] for k in range(3)]
    assert result.accuracy.confusion == tuple(map(tuple, counts))
    assert result.accuracy.share == pytest.approx(np.mean(np.equal(own, found)))
    for few in (2, 3, 4, 5):
        chosen = [own[round(place * (len(own) - 1) / (few - 1))] for place in range(few)]
        confusion = auxar.classify(finished, heldout=few).accuracy.confusion
        assert [sum(row) for row in confusion] == [chosen.count(label) for label in range(3)]
    assert main(["classify", str(finished)]) == 0
    first, head, *rows, _ = capsys.readouterr().out.splitlines()
    share = f"{result.accuracy.share:.3f} ± {result.accuracy.standard_error:.3f}"
    assert first.startswith(f"{share} of {len(own)} held-out images have their own label as the most probable, from ")
    assert head.split() == NAMES
    assert [line.split() for line in rows] == [[n, *map(str, r)] for n, r in zip(NAMES, counts, strict=True)]
    # The folders of given images may have the names of labels.
    files = [Path(NAMES[label], "a.png") for label in own]
    given = most_probable(classes, files, 1, modeled=True)
    assert given.accuracy == result.accuracy
    assert f" of {len(own)} images, whose folders name their labels, have their own" in [*_lines(given)][len(own) + 1]
    assert most_probable(classes, [*files[1:], Path("a.png")], 1, modeled=True).accuracy is None


def test_a_null_condition_that_was_never_trained_is_not_evaluated(finished, tmp_path):
    model = auxar.build(finished / "recipe.toml")
    assert model.condition.optional
    for name in ("untrained", "trained"):
        evaluation = read_evaluation(auxar.evaluate(model.save(tmp_path / name)).evaluation)
        assert evaluation.bits_per_dim().value is not None
        assert (evaluation.without_condition().value is not None) == (name == "trained")
        for factor in model.factors:
            factor.conditioning.null.data += 0.1


def test_a_model_with_a_condition_starts_another_training(pictures, finished, tmp_path):
    table = labeled(pictures, condition__prior=SOFTMAX, training__steps=1, training__init=str(finished))
    run(tmp_path / "out", table, only=["condition", "prior"])
    with pytest.raises(UserError, match=r"it was trained with more views or conditions"):
        run(tmp_path / "other", tiny(pictures, training__init=str(finished)), only=["prior"])
    changed = labeled(pictures, condition__names=[*NAMES, "emu"], training__init=str(finished))
    with pytest.raises(UserError, match=r"trained with another image, view or network: condition"):
        run(tmp_path / "third", changed, only=["prior"])
    reordered = labeled(pictures, condition__names=NAMES[::-1], training__init=str(finished))
    with pytest.raises(UserError, match=r"condition.condition.names\[0\]: expected 'owl', found 'cat'"):
        run(tmp_path / "fourth", reordered, only=["prior"])


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown kind": ({"condition__kind": "labl"}, r"condition: kind must be one of .*did you mean 'label'"),
    "no source": ({"condition__suffix": None}, r"exactly one of column, columns, suffix, folders, augmentation must"),
    "two sources": ({"condition__column": "y"}, r"exactly one of .* must be given, got column and suffix"),
    "no classes": ({"condition__names": None}, r"a label needs its number of classes"),
    "wrong number": ({"condition__classes": 4}, r"names must have one name for each of 4 classes, got 3"),
    "key of another kind": ({"condition__height": 4}, r"height requires the kind image, got the kind label"),
    "drop everything": ({"condition__drop": 1.0}, r"drop must be less than 1"),
    "same names": ({"condition__names": ["a", "a"]}, r"names must differ from each other"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_a_wrong_condition_is_one_error(pictures, tmp_path, case):
    changes, message = case
    with pytest.raises(UserError, match=message):
        run(tmp_path / "out", labeled(pictures, **changes))
    assert not (tmp_path / "out").exists()


def test_a_prior_that_cannot_be_given_a_condition_is_refused(pictures, tmp_path, monkeypatch):
    install_components(monkeypatch, auxar.Component("prior", "own", LightConfig, lambda config, image: config))
    with pytest.raises(UserError, match=r"prior: 'own' cannot be given a condition; expected one of convnet, "):
        run(tmp_path / "out", labeled(pictures, prior={"name": "own"}))


def test_the_card_of_a_model_says_how_it_is_given_its_condition(finished):
    from auxar_hub.card import card

    text = card("me/animals", auxar.RunFolder(finished), None, {}, trust_plugins=False)
    assert "images = model.sample(4, condition='cat')" in text
    assert "model.bits_per_dim(images, condition='cat')" in text
    assert "The model is given a label with each image: `cat`, `dog`, `owl`. Without `condition`, it is given" in text
