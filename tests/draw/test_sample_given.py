"""Tests of `auxar sample --given`: the drawn images, the written files and the refusals."""

from __future__ import annotations

import io
import itertools
import shutil
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.causal_networks import SEEDS
from helpers.tiny_runs import arrays_of, call, changed, command, run, snapshot, tiny, write, write_pictures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import auxar
from auxar.cli import main
from auxar.draw.sheets import to_uint8
from auxar.files import read_json
from auxar.model import SampleRequest
from auxar_rules import Reduced
from auxar_samplers import AutoSampler

SHARE = "the views of the drawn images equal %s at"


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(grayscale_run, tmp_path_factory) -> Path:
    """A copy of `grayscale_run`, which the tests of this file share."""
    return Path(shutil.copytree(grayscale_run, tmp_path_factory.mktemp("finished") / "run"))


@pytest.fixture(scope="module")
def bare(pictures, tmp_path_factory) -> Path:
    """A run of grayscale images without stages."""
    table = tiny(pictures, stage=None, image__channels=1, training__steps=1)
    return run(tmp_path_factory.mktemp("bare") / "run", table)


@pytest.fixture
def sampled(finished, tmp_path, capsys):
    """Runs `auxar sample`, and returns the arrays and the JSON facts that it writes."""
    numbers = itertools.count()

    def sampled(*arguments, out=None, run=finished):
        folder = out or tmp_path / f"out{next(numbers)}"
        started = time.perf_counter()
        assert main(["sample", str(run), *map(str, arguments), "--out", str(folder)]) == 0
        facts = read_json(folder / "samples.json")
        assert 0 < facts["seconds"] < time.perf_counter() - started
        assert capsys.readouterr().out == f"{folder}\n"
        return arrays_of(folder), facts

    return sampled


@pytest.fixture
def refused(finished, tmp_path, capsys, monkeypatch):
    """Runs `auxar sample`, which must fail without writing anything, and returns its error message."""
    monkeypatch.chdir(tmp_path)

    def refused(*arguments, run=finished):
        def everything():
            return [(snapshot(folder), sorted(folder.rglob("*"))) for folder in (tmp_path, run)]

        before = everything()
        capsys.readouterr()
        for more in ([], ["--out", "out"]):
            assert main(["sample", str(run), *map(str, arguments), *more]) == 2
        output = capsys.readouterr()
        assert not output.out
        first, second = output.err.splitlines()
        assert first == second
        assert first.startswith("auxar: ")
        assert everything() == before
        return first.removeprefix("auxar: ")

    return refused


def as_tensor(values):
    return torch.from_numpy(np.array(values))


@pytest.mark.parametrize("stage", [0, 1])
def test_the_command_draws_a_sample_again_from_its_view(finished, sampled, tmp_path, caplog, stage):
    """If the drawn view of a sample is saved as a picture and given as a view, the same sample is drawn."""
    model = auxar.load(finished).chain
    with torch.no_grad():
        views = model.draw_views(SampleRequest((0,), 4), AutoSampler())
    colors = to_uint8(views[stage + 1], model.specs[stage + 1])[0]
    Image.fromarray(colors if stage == 0 else colors[..., 0]).save(tmp_path / "view.png")
    arrays, facts = sampled("--given", tmp_path / "view.png", "--as-view", "--stage", stage, "-n", 1, "--seed", 4)
    assert torch.equal(as_tensor(arrays["view"]), views[stage + 1])
    assert torch.equal(as_tensor(arrays["images"][0]), views[0])
    assert "given" not in arrays
    assert facts["drawn_from"] == f"depth {stage + 1}"
    assert {name for name in arrays if name.startswith("nats")} == {f"nats_stage{k}" for k in range(stage + 1)}
    assert caplog.messages[-1] == f"{SHARE % 'the given views'} {100 * facts['view_agreement']:.2f} % of the pixels"
    main(["sample", str(finished), "-n", "1", "--seed", "4", "--out", str(tmp_path / "free")])
    free, again = (
        tmp_path / name / "images" / file for name, file in (("free", "000000.png"), ("out0", "000000-000.png"))
    )
    assert again.read_bytes() == free.read_bytes()


@pytest.mark.parametrize("values", ["scaled", "levels"])
def test_drawn_pictures_can_be_given(pictures, sampled, tmp_path, values):
    """41 levels are among those that no nearest value of a pixel brings back."""
    recipe = write(
        tmp_path / "tiny.toml", tiny(pictures, image__levels=41, data__values=values, data__split__train=0.5)
    )
    model = auxar.build(recipe)
    model.save(tmp_path / "run", steps=0)
    drawn = model.sample(2)
    auxar.sample(tmp_path / "run", images=2, out=tmp_path / "drawn")
    drawn.save(tmp_path / "saved")
    for pictured in (tmp_path / "drawn" / "images", tmp_path / "saved", drawn.to_pil()):
        assert torch.equal(model.prepare(pictured), drawn.tensor.byte())
        assert torch.equal(model.complete(pictured, 4, draws=1).given.tensor, drawn.tensor)
    arrays, _ = sampled("--given", tmp_path / "drawn" / "images", "-n", 1, run=tmp_path / "run", out=tmp_path / "again")
    assert torch.equal(as_tensor(arrays["given"]), drawn.tensor)
    draws = model.draw_given(drawn.view.to_pil(), draws=1)
    assert torch.equal(draws.view.tensor[:, 0], drawn.view.tensor)
    again = model.prepare(tmp_path / "again" / "images")
    assert torch.equal(again.long(), as_tensor(arrays["images"])[:, 0])
    draws.save(tmp_path / "draws")
    assert torch.equal(model.prepare(tmp_path / "draws").long(), draws.tensor[:, 0])
    drawn.view.save(tmp_path / "views")
    arrays, _ = sampled("--given", tmp_path / "views", "--as-view", "-n", 1, run=tmp_path / "run")
    assert torch.equal(as_tensor(arrays["view"]), drawn.view.tensor)
    if values == "levels":
        auxar.integers(tmp_path / "run", images=1, settings=[f"data.path={tmp_path / 'drawn' / 'images'}"])
        auxar.sample(tmp_path / "run", images=2, arithmetic="integer", out=tmp_path / "integers")
        integers = auxar.load(tmp_path / "run", arithmetic="integer").sample(2)
        for images, folder in ((drawn, "drawn/images"), (drawn.view, "views"), (integers, "integers/images")):
            for image, file in zip(images.tensor, sorted((tmp_path / folder).iterdir()), strict=True):
                with Image.open(file) as picture:
                    assert np.array_equal(np.asarray(picture), image.permute(1, 2, 0))


def test_the_command_draws_from_the_view_of_an_image(finished, sampled, pictures, tmp_path):
    first, second = sorted(pictures.iterdir())[:2]
    arrays, _ = sampled("--given", first, "-n", 3)
    with Image.open(first) as picture:
        pixels = np.asarray(picture)
    # Exchanging pixels within each 2×2 square keeps the means, so the view is the same.
    turned = pixels.reshape(4, 2, 4, 2, 3)[:, ::-1, :, ::-1].reshape(8, 8, 3)
    Image.fromarray(turned).save(tmp_path / "turned.png")
    same, _ = sampled("--given", tmp_path / "turned.png", "-n", 3)
    assert not np.array_equal(same["given"], arrays["given"])
    assert np.array_equal(same["images"], arrays["images"])
    other, _ = sampled("--given", second, "-n", 3)
    assert not np.array_equal(other["images"], arrays["images"])
    model = auxar.load(finished).chain
    with torch.no_grad():
        expected = model.views(as_tensor(arrays["given"]))[1]
        factor = model.factors[0]
        nats = factor(as_tensor(arrays["images"][0]), expected.expand(3, -1, -1, -1))
    assert torch.equal(as_tensor(arrays["view"]), expected)
    np.testing.assert_allclose(arrays["nats_stage0"][0], nats, rtol=1e-5)


def test_the_command_takes_rule_batch_size_sampler_and_folders(sampled, pictures, tmp_path):
    folder = write_pictures(tmp_path / "few", 4)
    arguments = ["--given", pictures / "003.png", folder, "-n", 2, "--stage", 1, "--seed", 7]
    arrays, facts = sampled(*arguments)
    assert facts["given"] == ["003.png", *(f"00{number}.png" for number in range(4))]
    assert (facts["rule"], facts["seed"], facts["draws_each"], facts["count"]) == ({"name": "ancestral"}, 7, 2, 10)
    assert arrays["images"].shape == (5, 2, 3, 8, 8)
    again, other = sampled(*arguments, "--batch-size", 3, "--sampler", "raster")
    assert other["sampler"] == "raster"
    assert np.array_equal(again["images"], arrays["images"])
    centers, facts = sampled(*arguments, "--rule", "map")
    assert facts["rule"]["name"] == "map"
    assert not np.array_equal(centers["images"], arrays["images"])
    by_default, facts = sampled("--given", pictures / "000.png")
    assert by_default["images"].shape == (1, 4, 3, 8, 8)


def test_the_command_draws_into_the_run(finished, pictures, capsys):
    for arguments, name in (
        (["--stage", "1"], "given-depth2-map-seed3"),
        (["--keep", "2"], "completed-map-seed3"),
    ):
        given_files = ["--given", str(pictures / "000.png"), "-n", "1", "--rule", "map", "--seed", "3"]
        for _ in range(2):  # The second call replaces the files of the first.
            assert main(["sample", str(finished), *given_files, *arguments]) == 0
            assert capsys.readouterr().out == f"{finished / 'samples' / name}\n"
        assert sorted(file.name for file in (finished / "samples" / name).iterdir()) == [
            ".lock",
            "draws.npz",
            "images",
            "samples.json",
            "samples.png",
        ]


@pytest.mark.parametrize("rows", [1, 4, 7])
def test_the_command_keeps_upper_rows(sampled, pictures, caplog, rows):
    arrays, facts = sampled("--given", pictures / "004.png", pictures / "005.png", "--keep", rows, "-n", 2)
    assert (arrays["known"] == (np.arange(8) < rows)[:, None]).all()
    assert (arrays["images"][..., :rows, :] == arrays["given"][:, None, :, :rows]).all()
    assert not (arrays["images"][..., rows:, :] == arrays["given"][:, None, :, rows:]).all()
    assert facts["drawn_from"] == "known pixels"
    of_views = SHARE % "the views that they were drawn from"
    assert caplog.messages[-1] == f"{of_views} {100 * facts['view_agreement']:.2f} % of the pixels"
    assert {name for name in arrays if name.startswith("nats")} == {"nats_stage0", "nats_stage1", "nats_prior"}


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, share=st.sampled_from([0.0, 0.3, 0.9, 1.0]), depth=st.sampled_from(["L", "RGB", "1"]))
def test_the_command_keeps_what_is_white_in_a_picture(sampled, pictures, tmp_path, seed, share, depth):
    mask = np.random.default_rng(seed).random((8, 8)) < share
    Image.fromarray(255 * mask.astype(np.uint8)).convert(depth).save(tmp_path / "mask.png")
    files = [pictures / "000.png", pictures / "001.png"]
    arrays, _ = sampled("--given", *files, "--keep", tmp_path / "mask.png", "-n", 2)
    assert (arrays["known"] == mask).all()
    assert (arrays["images"][..., mask] == arrays["given"][:, None][..., mask]).all()


def test_a_model_without_views_completes_images(bare, sampled, tmp_path, pictures):
    with Image.open(pictures / "000.png") as picture:
        picture.convert("L").save(tmp_path / "gray.png")
    arrays, facts = sampled("--given", tmp_path / "gray.png", "--keep", 5, "-n", 2, run=bare)
    assert arrays.keys() == {"given", "known", "images", "nats_prior"}
    assert arrays["images"].shape == (1, 2, 1, 8, 8)
    assert (arrays["images"][..., :5, :] == arrays["given"][:, None, :, :5]).all()
    assert facts["view_agreement"] is None


@pytest.mark.slow
def test_two_processes_draw_what_one_draws(finished, sampled, pictures, tmp_path):
    arguments = ["--given", *sorted(pictures.iterdir())[:3], "--stage", 1, "-n", 3, "--batch-size", 2]
    done = call(command("sample", finished, *map(str, arguments), "--out", "shared", processes=2), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    by_one, _ = sampled(*arguments, out=tmp_path / "alone")
    by_two = arrays_of(tmp_path / "shared")
    assert by_two.keys() == by_one.keys()
    for name, values in by_one.items():
        if name.startswith("nats"):
            np.testing.assert_allclose(by_two[name], values, rtol=1e-5)
        else:
            assert np.array_equal(by_two[name], values), name
    kept = [{**read_json(tmp_path / name / "samples.json"), "seconds": 0} for name in ("shared", "alone")]
    assert kept[0] == kept[1]
    files = [
        {name: content for name, (_, content) in snapshot(tmp_path / folder).items() if name.endswith(".png")}
        for folder in ("shared", "alone")
    ]
    assert len(files[0]) == 9 + 1
    assert files[0] == files[1]


# Refusals ------------------------------------------------------------------------------------------------------------

UNREADABLE = "--given: {path} cannot be read: "
WRONG_FILES = {
    "missing": (None, "--given: there is no file or folder {path}"),
    "text": (b"not a picture\n", UNREADABLE + "the format is unknown or not supported"),
    "empty": (b"", UNREADABLE + "the file is empty"),
    "truncated": ("truncated", UNREADABLE),
    "huge": ("huge", UNREADABLE),
    "large": (Image.new("RGB", (9, 8)), "--given: {path} has 8×9 pixels; expected 8×8; set data.resize"),
    "turned": (Image.new("RGB", (8, 4)), "--given: {path} has 4×8 pixels; expected 8×8; set data.resize"),
}


def write_wrong(path, content):
    """Writes a file that cannot be used as a given image."""
    buffer = io.BytesIO()
    if content == "truncated":
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue()[:120])
    elif content == "huge":
        Image.new("RGB", (8, 8)).save(buffer, "BMP")
        head = buffer.getvalue()
        path.write_bytes(head[:18] + struct.pack("<ii", 60_000, 60_000) + head[26:])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content.save(path)


@pytest.mark.parametrize(("content", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
@pytest.mark.parametrize("arguments", [[], ["--keep", "3"]], ids=["view", "completion"])
def test_files_that_cannot_be_given(refused, pictures, tmp_path, content, message, arguments):
    path = tmp_path / "wrong.png"
    write_wrong(path, content)
    # The wrong file is given together with a usable one.
    assert refused("--given", pictures / "000.png", path, *arguments).startswith(message.format(path=path))


def test_given_pictures_get_the_channels_of_the_model(sampled, bare, pictures, tmp_path):
    """They are converted as images of the data are: a gray picture is colored, and white lies behind transparency."""
    with Image.open(pictures / "000.png") as picture:
        gray = picture.convert("L")
    gray.save(tmp_path / "gray.png")
    gray.convert("RGB").save(tmp_path / "colors.png")
    Image.new("RGBA", (8, 8), (9, 9, 9, 0)).save(tmp_path / "clear.png")
    for stage in (0, 1):
        found, _ = sampled("--given", tmp_path / "gray.png", "--stage", stage, "-n", 1)
        expected, _ = sampled("--given", tmp_path / "colors.png", "--stage", stage, "-n", 1)
        assert np.array_equal(found["images"], expected["images"])
    assert (sampled("--given", tmp_path / "clear.png", "-n", 1)[0]["given"] == 255).all()
    found, _ = sampled("--given", pictures / "000.png", "--keep", 3, "-n", 1, run=bare)
    assert np.array_equal(found["given"][0, 0], np.asarray(gray))


def test_views_and_masks_of_another_size(refused, pictures, tmp_path):
    path = tmp_path / "wrong.png"
    Image.new("L", (4, 5)).save(path)
    for stage in (0, 1):
        message = refused("--given", path, "--stage", stage, "--as-view")
        assert message == f"--given: {path} has 5×4 pixels; expected 4×4"
    assert refused("--given", pictures, "--keep", path) == f"--keep: {path} has 5×4 pixels; expected 8×8"


def test_a_folder_without_images(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none")
    message = refused("--given", tmp_path / "empty")
    assert message.startswith(f"--given: there is no image in the folder {tmp_path / 'empty'}; looked for .avif, ")


@pytest.mark.parametrize("as_view", [[], ["--as-view"]])
@pytest.mark.parametrize("stage", [-1, 2, 10])
def test_stages_that_are_not_there(refused, pictures, stage, as_view):
    message = refused("--given", pictures, "--stage", stage, *as_view)
    assert message == f"--stage: expected an integer from 0 to 1, got {stage} (int)"


@pytest.mark.parametrize("arguments", [[], ["--stage", "0"], ["--as-view"]])
def test_a_model_without_a_view(refused, bare, tmp_path, arguments):
    Image.new("L", (8, 8)).save(tmp_path / "gray.png")
    message = refused("--given", tmp_path / "gray.png", *arguments, run=bare)
    assert message == "--stage: this model has no views to draw from; use --keep to complete images"


@pytest.mark.parametrize("rows", ["0", "8", "9", "1000"])
def test_rows_that_leave_nothing_to_keep_or_draw(refused, pictures, rows):
    message = refused("--given", pictures, "--keep", rows)
    assert message == f"--keep: expected an integer from 1 to 7, got {rows} (int)"


def test_options_that_do_not_go_together(refused, pictures):
    apart = (
        "--keep: cannot be combined with --stage or --as-view, because it completes images, and these options draw "
        "images from a view"
    )
    assert refused("--given", pictures, "--keep", 3, "--stage", 0) == apart
    assert refused("--given", pictures, "--keep", 3, "--as-view") == apart
    for option in (["--stage", 0], ["--as-view"], ["--keep", 3]):
        assert refused(*option) == f"{option[0]}: expected images to draw from, which --given names"


def test_a_run_that_is_not_finished(refused, pictures, tmp_path_factory):
    table = changed(tiny(pictures), training__steps=1)
    path = run(tmp_path_factory.mktemp("unfinished") / "run", table, only=["prior"])
    for arguments in ([], ["--keep", "3"], ["--as-view"]):
        message = refused("--given", pictures, *arguments, run=path)
        file = path / "factors" / "stage0" / "weights.safetensors"
        assert message.startswith(f"{file} is missing: factor stage0 is not trained")


@pytest.mark.parametrize("arguments", [[], ["--keep", "3"]])
def test_draws_that_are_none(refused, pictures, arguments):
    for none in (["-n", 0], ["--set", "sampling.images=0"]):
        message = refused("--given", pictures, *arguments, *none)
        assert message == "sampling.images (-n) is 0: expected at least 1"


def test_the_number_of_draws_can_be_set_as_any_key(sampled, pictures):
    arrays, _ = sampled("--given", pictures / "000.png", "--set", "sampling.images=7")
    assert arrays["images"].shape[:2] == (1, 7)


def test_an_image_of_another_size_is_brought_to_the_models_as_one_says(sampled, refused, pictures, tmp_path):
    with Image.open(pictures / "000.png") as picture:
        small = picture.convert("RGB").resize((8, 8), Image.Resampling.NEAREST)
    small.save(tmp_path / "small.png")
    small.resize((16, 16), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    assert "data.resize" in refused("--given", tmp_path / "large.png")
    expected, _ = sampled("--given", tmp_path / "small.png", "-n", 1)
    margins = "data.crop={left=4,right=4,top=4,bottom=4}"
    for setting in ("data.resize=cover", margins):
        found, _ = sampled("--given", tmp_path / "large.png", "-n", 1, "--set", setting)
        assert found["given"].shape == expected["given"].shape
    assert "data.path" in refused("--given", tmp_path / "small.png", "--set", "data.path=elsewhere")


def test_more_than_a_thousand_draws_make_way_as_fewer_do(sampled, pictures, tmp_path):
    images = tmp_path / "many" / "images"
    sampled("--given", pictures / "000.png", "-n", 1, out=images.parent)
    shutil.copy(images / "000000-000.png", images / "000000-1000.png")
    sampled("--given", pictures / "000.png", "-n", 1, "--seed", 1, "--replace", out=images.parent)
    assert [file.name for file in images.iterdir()] == ["000000-000.png"]


def test_draws_under_every_rule_are_those_of_the_api(finished, sampled, pictures):
    model = auxar.load(finished).chain
    arrays, _ = sampled("--given", pictures / "002.png", "--rule", "reduced:reduction=1.5", "-n", 2, "--seed", 9)
    request = SampleRequest((0, 1), 9, Reduced(1.5))
    with torch.no_grad():
        expected = model.draw_from(as_tensor(arrays["view"]).expand(2, -1, -1, -1), request, AutoSampler())
    assert torch.equal(as_tensor(arrays["images"][0]), expected[0])
