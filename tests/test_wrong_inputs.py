"""A table of calls with wrong inputs, and the one sentence that each gives."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.tiny_runs import run, tiny, write
from PIL import Image

import auxar

TYPES = (
    "images: expected a tensor or an array of integers, a Pillow image, the path of an image or of a folder, or a list "
    "of these, got "
)
SCALED = "; convert whole numbers with x.long(), and values that are scaled to [0, 1] with (x * 255).round().long()"
DENSE = "images: expected a dense tensor, got a sparse, nested or meta tensor"
RANGE = "images: expected integers in [0, 256), got "
A_PATH = "expected a path (a string or a pathlib.Path), got "
PATH = f"path: {A_PATH}"
KNOWN = " (known: auto, cpu, cuda)"

WRONG = [
    # Folders of runs
    ("load(None)", f"{PATH}None"),
    ("load('')", "path: expected a path, got ''"),
    ("load('run/first')", "run/first is not a run's folder: it does not exist; did you mean 'runs'?"),
    ("load('hf://user')", "expected hf://user/name, got 'hf://user'"),
    ("load('hf://')", "expected hf://user/name, got 'hf://'"),
    ("load('runs')", "runs is not a run's folder: it has no recipe.toml; it contains the runs first"),
    (
        "load('runs/first/factors')",
        "runs/first/factors is not a run's folder: it has no recipe.toml; did you mean 'runs/first'?",
    ),
    (
        "load('runs/first/recipe.toml')",
        "runs/first/recipe.toml is not a run's folder: it is a recipe; did you mean 'runs/first'?",
    ),
    (
        "load('runs/first/factors/prior/weights.safetensors')",
        "runs/first/factors/prior/weights.safetensors is not a run's folder: it is a file of weights; did you mean "
        "'runs/first'?",
    ),
    ("load('tiny.toml')", "tiny.toml is not a run's folder: it is a recipe; `auxar run tiny.toml` makes a run of it"),
    ("load('runs/first', trust_plugins='no')", "trust_plugins: expected True or False, got 'no'"),
    ("run(model)", f"recipe: {A_PATH}an object of type ImageModel"),
    # Devices
    ("load('runs/first', device='cudo')", f"device: there is no device named 'cudo'; did you mean 'cuda'?{KNOWN}"),
    # Lists, numbers and flags
    (
        "run('tiny.toml', only='prior')",
        "only: expected a list of names of factors, got the string 'prior'; write ['prior']",
    ),
    (
        "sample('runs/first', settings={'seed': 1})",
        "settings: expected a list of key=value strings, got {'seed': 1} (dict)",
    ),
    ("check('tiny.toml', time='no')", "time: expected True or False, got 'no'"),
    ("score('runs/first', ['pictures'], replace='no')", "replace: expected True or False, got 'no'"),
    ("figures('runs/first', rows=True)", "rows: expected an integer from 1 to 1,048,576, got True"),
    ("load_plugins('mine.py')", "files: expected a list of paths, got the single path 'mine.py'; write ['mine.py']"),
    ("compare([])", "runs: expected at least one run to compare, got none"),
    ("sample('runs/first', given=image)", f"given[0]: {A_PATH}an object of type Tensor"),
    ("sample('runs/first', given=[])", "given: expected at least one image file, or a folder of images"),
    ("ImageModel('runs/first')", "chain: expected a Chain, got 'runs/first'; auxar.load loads the model of a run"),
    (
        "model.classify(image)",
        "classification needs a model whose condition is a label, but this model has no condition",
    ),
    (
        "classify('runs/first', resize='cover')",
        "resize: there are no pictures to resize; held-out images are prepared as the recipe says",
    ),
    # The chain, which takes only tensors
    ("model.chain.bits_per_dim(picture)", "image: expected a tensor of integers, got an object of type Image"),
    # Sheets
    ("model.sample(2).sheet(2.5)", "columns: expected an integer from 1 to 10,000, got 2.5 (float)"),
    # Images of a wrong type
    ("model.log_prob(3)", f"{TYPES}3 (int)"),
    ("model.log_prob([])", "images: expected at least one image, got an empty list"),
    ("model.log_prob([[1, 2], [3, 4]])", f"{TYPES}[1, 2] (list)".replace("images:", "images[0]:")),
    # Tensors and arrays that do not fit
    ("model.log_prob(image / 255)", f"{RANGE}values of torch.float32{SCALED}"),
    ("model.log_prob(image.to_sparse())", DENSE),
    ("model.prepare(image.to('meta'))", DENSE),
    ("model.log_prob(image + 1)", f"{RANGE}1 … 256"),
    (
        "model.log_prob(image[:, :1])",
        "images: expected shape (n, 3, 8, 8) or (3, 8, 8), got (1, 1, 8, 8); model.prepare(images, resize='cover') "
        "converts pictures",
    ),
    # Pictures and files
    (
        "model.log_prob(['pictures/one.png', Path('picture')])",
        "images: there is no file or folder picture; did you mean 'pictures'?",
    ),
    (
        "model.log_prob('runs/first/factors/prior')",
        "images: there is no image in the folder runs/first/factors/prior; looked for .avif, .bmp, .gif, .jpeg, .jpg, "
        ".pbm, .pgm, .png, .ppm, .tif, .tiff, .webp",
    ),
    ("model.log_prob('runs')", "images: there is no image in the folder runs; name one of its subfolders (first)"),
    (
        "model.log_prob('broken.png')",
        "images: broken.png cannot be read: the format is unknown or not supported; expected AVIF, BMP, GIF, "
        "JPEG, PNG, PPM, TIFF, WEBP",
    ),
    (
        "model.prepare(picture.resize((10, 8)))",
        "images: the picture has 8×10 pixels; expected 8×8; set resize to 'cover' (cuts off margins) or 'stretch'",
    ),
    (
        "model.prepare(picture, crop={'upper': 2})",
        "crop: unknown key 'upper' (known: bottom, left, random, right, top)",
    ),
    (
        "model.prepare(picture, crop={'random': True})",
        "crop: expected margins; random crops are drawn only in training",
    ),
    ("model.prepare(['runs/first'])", "images: runs/first/null.png cannot be read: it is not a regular file"),
    ("model.prepare(image * 2)", "images: expected 8-bit values, 0 … 255, got 0 … 510"),
    ("model.prepare(image.flatten())", "images: expected pictures of shape (n, channels, height, width), got (192,)"),
    (
        "model.prepare(image[..., :3])",
        "images: an array of shape (1, 3, 8, 3) has channels first or last; give it as a Pillow image",
    ),
]


@pytest.fixture(scope="module")
def names(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The names that calls use, among them the model of a run, in a folder with the files that they read."""
    folder = tmp_path_factory.mktemp("inputs")
    recipe = tiny(pictures, training__steps=1, sampling__images=0)
    write(folder / "tiny.toml", recipe)
    model = auxar.load(run(folder / "runs" / "first", recipe))
    (folder / "runs" / "first.toml").unlink()
    (folder / "runs" / "first" / "null.png").symlink_to("/dev/null")
    (folder / "pictures").mkdir()
    (folder / "broken.png").write_bytes(b"no picture")
    image = torch.arange(192).reshape(1, 3, 8, 8) * 255 // 191
    picture = Image.fromarray(image[0].permute(1, 2, 0).numpy().astype(np.uint8))
    picture.save(folder / "pictures" / "one.png")
    public = {name: getattr(auxar, name) for name in auxar.__all__}
    values = {**public, "model": model, "image": image, "picture": picture, "Path": Path}
    return SimpleNamespace(folder=folder, values=values)


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[call for call, _ in WRONG])
def test_a_wrong_input_gives_one_sentence(names, monkeypatch, call, message):
    monkeypatch.chdir(names.folder)
    with pytest.raises(auxar.UserError) as caught:
        eval(call, dict(names.values))
    assert str(caught.value) == message
    assert "\n" not in message
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("call", ["sample()", "log_prob(image)", "views(image)", "complete(image, 2)"])
def test_a_default_device_without_values_is_named(names, call):
    with torch.device("meta"), pytest.raises(auxar.UserError, match="tensors on the device 'meta', but the model is"):
        eval(f"model.{call}", dict(names.values))


def test_gpus_that_do_not_exist(names, monkeypatch):
    model = names.values["model"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:7", torch.device("cuda")):
        with pytest.raises(auxar.UserError, match=rf"^device: PyTorch finds no GPU for '{name}'; use device='cpu', or"):
            model.to(name)
    assert model.to("auto").device == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(auxar.UserError, match=r"^device: there is no device named 'cuda:7'; did you mean 'cuda:"):
        model.to("cuda:7")
