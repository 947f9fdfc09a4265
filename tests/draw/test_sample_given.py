"""Tests of `auxar sample --given`: the drawn images, the written files and the refusals."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_runs import arrays_of, snapshot, tiny, write
from PIL import Image

import auxar
from auxar.cli import main
from auxar.files import read_json
from auxar.recipe import load_recipe
from auxar.recipe.building import build_model


@pytest.fixture(scope="module")
def finished(grayscale_run, tmp_path_factory) -> Path:
    """A copy of `grayscale_run`, which the tests of this file share."""
    return Path(shutil.copytree(grayscale_run, tmp_path_factory.mktemp("finished") / "run"))


@pytest.fixture
def not_drawn(finished, refused):
    """A function that runs `auxar sample`, which must fail and write nothing, and returns its error message."""

    def not_drawn(*arguments):
        before = snapshot(finished), sorted(finished.rglob("*"))
        first, second = (refused("sample", finished, *arguments, *more) for more in ([], ["--out", "out"]))
        assert first == second
        assert "\n" not in first
        assert (snapshot(finished), sorted(finished.rglob("*"))) == before
        return first

    return not_drawn


def sampled(path, *arguments, out):
    """Runs `auxar sample`, and returns the arrays that it writes."""
    assert main(["sample", str(path), *map(str, arguments), "--out", str(out)]) == 0
    return {name: torch.from_numpy(values) for name, values in arrays_of(out).items()}


@pytest.mark.parametrize("values", ["scaled", "levels"])
def test_drawn_pictures_can_be_given(pictures, tmp_path, values):
    """41 levels are among those that no nearest value of a pixel brings back."""
    recipe = write(
        tmp_path / "tiny.toml", tiny(pictures, image__levels=41, data__values=values, data__split__train=0.5)
    )
    model = auxar.build(recipe)
    model.save(tmp_path / "run", steps=0)
    assert build_model(load_recipe(recipe)).picture_values == values, "the model with which `auxar run` draws"
    drawn = model.sample(2)
    auxar.sample(tmp_path / "run", images=2, out=tmp_path / "drawn")
    drawn.save(tmp_path / "saved")
    for pictured in (tmp_path / "drawn" / "images", tmp_path / "saved", drawn.to_pil()):
        assert torch.equal(model.prepare(pictured), drawn.tensor.byte())
        assert torch.equal(model.complete(pictured, 4, draws=1).given.tensor, drawn.tensor)
    arrays = sampled(tmp_path / "run", "--given", tmp_path / "drawn" / "images", "-n", 1, out=tmp_path / "again")
    assert torch.equal(arrays["given"], drawn.tensor)
    draws = model.draw_given(drawn.view.to_pil(), draws=1)
    assert torch.equal(draws.view.tensor[:, 0], drawn.view.tensor)
    again = model.prepare(tmp_path / "again" / "images")
    assert torch.equal(again.long(), arrays["images"][:, 0])
    draws.save(tmp_path / "draws")
    assert torch.equal(model.prepare(tmp_path / "draws").long(), draws.tensor[:, 0])
    drawn.view.save(tmp_path / "views")
    arrays = sampled(tmp_path / "run", "--given", tmp_path / "views", "--as-view", "-n", 1, out=tmp_path / "of views")
    assert torch.equal(arrays["view"], drawn.view.tensor)
    if values == "levels":
        for image, file in zip(drawn.tensor, sorted((tmp_path / "drawn" / "images").iterdir()), strict=True):
            with Image.open(file) as picture:
                assert np.array_equal(np.asarray(picture), image.permute(1, 2, 0))


def test_the_command_draws_into_the_run(finished, pictures, capsys, caplog):
    for arguments, name, views in (
        (["--stage", "1"], "given-depth2-map-seed3", "the given views"),
        (["--keep", "2"], "completed-map-seed3", "the views that they were drawn from"),
    ):
        given_files = ["--given", str(pictures / "000.png"), "-n", "1", "--rule", "map", "--seed", "3"]
        for _ in range(2):  # The second call replaces the files of the first.
            assert main(["sample", str(finished), *given_files, *arguments]) == 0
            assert capsys.readouterr().out == f"{finished / 'samples' / name}\n"
        files = sorted(file.name for file in (finished / "samples" / name).iterdir())
        assert files == [".lock", "draws.npz", "images", "samples.json", "samples.png"]
        share = 100 * read_json(finished / "samples" / name / "samples.json")["view_agreement"]
        assert f"the views of the drawn images equal {views} at {share:.2f} % of the pixels" in caplog.messages


def test_a_message_tells_pictures_of_the_size_of_a_view_from_views(tmp_path, caplog):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    for depth, count in ((0, 1), (1, 0)):
        caplog.clear()
        auxar.sample("emoji32", given=[tmp_path / "a.png"], as_view=depth == 1, images=1, out=tmp_path / f"{depth}")
        assert sum("these pictures of 16×16 pixels are taken as images" in each for each in caplog.messages) == count


APART = (
    "--keep: cannot be combined with --stage or --as-view, because it completes images, and these options draw images "
    "from a view"
)
REFUSED = {
    "--given nothing.png": "--given: there is no file or folder nothing.png",
    "--given 000.png text.png": "--given: text.png cannot be read: the format is unknown or not supported",
    "--given cut.png": "--given: cut.png cannot be read: decoding failed",
    "--given 000.png small.png": "--given: expected images of one size, got 5×4, 8×8",
    "--given 000.png --keep small.png": "--keep: small.png has 5×4 pixels; expected 8×8",
    "--given 000.png --keep 8": "--keep: expected an integer from 1 to 7, got 8 (int)",
    "--given 000.png --stage 2": "--stage: expected an integer from 0 to 1, got 2 (int)",
    "--given 000.png --as-view --stage -1": "--stage: expected an integer from 0 to 1, got -1 (int)",
    "--given 000.png --keep 3 --stage 0": APART,
    "--given 000.png --keep 3 --as-view": APART,
    "--stage 0": "--stage: expected images to draw from, which --given names",
    "--as-view": "--as-view: expected images to draw from, which --given names",
    "--keep 3": "--keep: expected images to draw from, which --given names",
}


@pytest.mark.parametrize("words", REFUSED)
def test_mistakes_are_named_and_nothing_is_written(not_drawn, pictures, tmp_path, words):
    shutil.copy(pictures / "000.png", tmp_path)
    (tmp_path / "text.png").write_text("not a picture\n")
    (tmp_path / "cut.png").write_bytes((pictures / "000.png").read_bytes()[:-40])
    Image.new("L", (4, 5)).save(tmp_path / "small.png")
    assert not_drawn(*words.split()).startswith(REFUSED[words])


def test_an_image_of_another_size_is_brought_to_the_models_as_one_says(finished, not_drawn, pictures, tmp_path):
    with Image.open(pictures / "000.png") as picture:
        small = picture.convert("RGB").resize((8, 8), Image.Resampling.NEAREST)
    small.save(tmp_path / "small.png")
    small.resize((16, 16), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    own = sampled(finished, "--given", tmp_path / "large.png", "-n", 1, out=tmp_path / "own")
    assert own["given"].shape == (1, 3, 16, 16)
    for setting in ("data.resize=cover", "data.crop={left=4,right=4,top=4,bottom=4}"):
        given = ["--given", tmp_path / "large.png", "-n", 1, "--set", setting]
        assert sampled(finished, *given, out=tmp_path / setting[:9])["given"].shape == (1, 3, 8, 8)
    assert "data.path" in not_drawn("--given", tmp_path / "small.png", "--set", "data.path=elsewhere")
