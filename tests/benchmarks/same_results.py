"""Writes digests of the results of this checkout to a file, and compares two such files: the evidence that a change of
the code changes no result.

    python tests/benchmarks/same_results.py write old.json
    python tests/benchmarks/same_results.py write new.json             # in the other checkout
    python tests/benchmarks/same_results.py compare old.json new.json

A digest is the SHA-256 of a value: of a tensor of weights, of nats, of the pixels of a picture, of the numbers of a
model in integers, of the coded bytes of a picture. Its name is GROUP/CASE/SEED/VALUE. The groups are described in
same_results.toml:

    matrix      conditions × free and restricted decoders × accumulated batches × dropout, in small models
    kinds       networks, views, heads, optimizers, schedules, samplers and sources of images, in small models
    further     runs that are continued from their checkpoints
    recipes     the recipes that come with auxar, with few filters, blocks, steps and images
    models      the models that come with auxar

Only the functions from `cases` to `what_a_model_computes` depend on auxar. If its functions, keys or files change, they
change. `--leave-out PATTERN` leaves names out of the comparison.
"""

import argparse
import gc
import hashlib
import importlib
import itertools
import json
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Libraries read these variables when they are imported. Sums depend on the number of threads.
    os.environ |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

import numpy as np
import tomli_w
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor

import auxar
from auxar_augmentations import Flip
from auxar_codec import compress, decompress
from auxar_codec.container import read_container

PROJECT = Path(__file__).parents[2]
TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
SEEDS = (0, 1)
Results = Iterator[tuple[str, Any]]
"""Names of values, and the values."""


def cases() -> dict[str, Callable[[], Results]]:
    """The cases by name. Each computes its results in the working directory, in which `data` has the images."""
    found: dict[str, Callable[[], Results]] = {}
    for seed in SEEDS:
        for chosen in itertools.product(*(table.items() for table in TABLES["matrix"].values())):
            name, settings = "-".join(key for key, _ in chosen), [each for _, own in chosen for each in own]
            found[f"matrix/{name}/{seed}"] = partial(results_of_recipe, "base.toml", [settings], seed)
        for name, settings in TABLES["kinds"].items():
            found[f"kinds/{name}/{seed}"] = partial(results_of_recipe, "base.toml", [settings], seed)
        for name, settings in TABLES["further"].items():
            parts = [[*settings, "training.steps=3"], settings]
            found[f"further/{name}/{seed}"] = partial(results_of_recipe, "base.toml", parts, seed)
        for recipe in auxar.list_recipes():
            run = partial(results_of_recipe, recipe.name, [shortened(recipe.path)], seed)
            found[f"recipes/{recipe.name.replace('/', '-')}/{seed}"] = run
        for model in auxar.list_models():
            found[f"models/{model.name}/{seed}"] = partial(results_of_model, model.name, seed)
    return found


def shortened(path: Path) -> list[str]:
    """Settings with which a recipe that comes with auxar runs in seconds, on images that are here."""
    recipe, changes = tomllib.loads(path.read_text("utf-8")), TABLES["recipes"]
    found = list(changes["settings"])

    def visit(place: str, table: dict[str, Any]) -> None:
        for key, value in table.items():
            if key in changes["most"]:
                found.append(f"{place}.{key}={min(value, changes['most'][key])}")
            elif isinstance(value, dict):
                visit(f"{place}.{key}", value)

    visit("prior", recipe["prior"])
    visit("condition", recipe.get("condition", {}))
    for number, stage in enumerate(recipe.get("stage", [])):
        visit(f"stage[{number}]", stage)
    if (source := recipe["data"]["path"]) in changes["data"]:
        found += [f"data.path={changes['data'][source]}", "data.column=image"]
    if "validation" in recipe["data"].get("split", {}):
        found += ["data.split.validation=0.2", "training.evaluate_every=1"]
    return found


def write_images(folder: Path) -> None:
    """Writes images with all kinds of conditions: 8×8 and 32×32 in two splits, and 218×178 in one."""
    from datasets import Dataset, Features, List, Value
    from datasets import Image as Picture

    random, side = np.random.default_rng(0), (-0.5, 0.5)
    features = Features({key: Picture() for key in ("image", "mask", "edges")})
    features |= {"label": Value("int64"), "attributes": List(Value("int64"))}
    for height, width, splits in ((8, 8, ("train", "test")), (32, 32, ("train", "test")), (218, 178, ("train",))):
        Path(folder, str(height)).mkdir(parents=True)
        for split in splits:
            columns: dict[str, list[Any]] = {key: [] for key in features}
            for number in range(24 if split == "train" else 7):
                place = np.stack(np.meshgrid(np.linspace(*side, height), np.linspace(*side, width), indexing="ij"), 2)
                image = 128 + place @ random.uniform(-96, 96, (2, 3)) + random.normal(0, 4, (height, width, 3))
                colors = image.clip(0, 255).astype(np.uint8)
                bright = (colors[:, :, 0] > 128).astype(np.uint8)
                pictures = [Image.fromarray(array) for array in (colors, bright, bright * 255)]
                row = [*pictures, number * 7 % 10, [number % 2, number // 2 % 2]]
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
            Dataset.from_dict(columns, features).to_parquet(folder / str(height) / f"{split}.parquet")


def results_of_recipe(recipe: str, parts: Sequence[Sequence[str]], seed: int) -> Results:
    """The results of a run that is trained with each list of settings in turn: of `base`, or of a recipe of auxar."""
    Path("base.toml").write_text(tomli_w.dumps(TABLES["base"]), "utf-8")
    for settings in parts:
        run = auxar.run(recipe, settings=[*settings, f"training.seed={seed}", f"sampling.seed={seed}"], out="run")
    yield from results_of_run(str(run.path), run.path, seed)
    # A run that is trained further continues from its checkpoints.
    yield from results_in_files(run.path, "^$" if len(parts) > 1 else r"training-|best-|weights\.")


def results_of_model(name: str, seed: int) -> Results:
    """The results of a model that comes with auxar. Commands write them into a folder of the same name."""
    settings = TABLES["models"]["settings"]
    auxar.evaluate(name, settings=settings)
    yield from results_of_run(name, Path(name), seed, settings)
    yield from results_in_files(Path(name))


def results_of_run(name: str, folder: Path, seed: int, settings: Sequence[str] = ()) -> Results:
    """The results of a trained model: its weights and images, and what it computes in floating point and in integers.

    Files with other results are written into the folder.
    """
    model = auxar.load(name)
    for factor in model.chain.all_factors:
        yield from ((f"weights/{factor.name}/{key}", tensor) for key, tensor in factor.state_dict().items())
    assert model.recipe is not None
    sets, drop = auxar.load_images(model), 0.5 if model.condition is not None else 0.0
    heldout = next(sets.heldout.in_order_examples(5))
    shuffled = next(sets.train.shuffled_examples(8, seed=seed, augment=[Flip()], drop=drop))
    for key, batch in {"heldout": heldout, "shuffled": shuffled}.items():
        yield f"images/{key}", batch["image"]
        conditions = batch.get("condition")
        yield f"images/{key}-conditions", [] if conditions is None else conditions
    yield from what_a_model_computes(model, heldout, seed)
    # Pictures of the size of images before they are cropped, and of another size.
    margins = model.recipe.data.crop
    one, two = (picture.to_pil() for picture in model.views(heldout["image"][:2])[0])
    ImageOps.expand(one, (margins.left, margins.top, margins.right, margins.bottom)).save("one.png")
    ImageOps.expand(two, (0, 0, 3, 1)).save("two.png")
    condition = heldout["condition"][:1] if "condition" in heldout else None
    keep = None if len(model.factors) > 1 else 3
    auxar.sample(name, given=["one.png"], keep=keep, images=2, seed=seed, condition=condition, out=folder / "given")
    (scored,) = auxar.score(name, ["one.png"], condition=condition, heldout=3).images
    yield "score", [scored.bits_per_dim, scored.other_bits_per_dim, scored.rank]
    if "transformer" in str(model.recipe):
        return  # It has no counterpart in integers.
    yield from ((f"integer/digests/{factor}", value) for factor, value in auxar.integers(name).digests.items())
    auxar.evaluate(name, settings=settings, arithmetic="integer")
    model = auxar.load(name, arithmetic="integer")
    yield from ((f"integer/{key}", value) for key, value in what_a_model_computes(model, heldout, seed))
    is_coded = model.condition is not None and model.condition.kind in ("label", "attributes")
    if model.image.levels == 256 and (is_coded or model.condition is None or model.condition.optional):
        conditions = heldout["condition"][:2] if is_coded and "condition" in heldout else None
        compress(name, ["one.png", "two.png"], "both.auxar", condition=conditions)
        yield "archive/file", Path("both.auxar").read_bytes()
        archive = read_container(Path("both.auxar"))
        yield from ((f"archive/coded/{entry.name}", coded) for entry, coded in archive.records(archive.entries))
        decompress("both.auxar", folder / "decoded", run=name)


def what_a_model_computes(model: auxar.ImageModel, heldout: Any, seed: int) -> Results:
    """Nats, bits of pixels, views, draws and classes, with the conditions of the images and with the null condition."""
    images, conditions = heldout["image"], {}
    if model.condition is not None:
        conditions["given"] = heldout["condition"]
    if model.condition is None or model.condition.optional:
        conditions["null"] = None if model.condition is None else [None]
    mask = torch.arange(model.image.height)[:, None] % 3 > torch.arange(model.image.width) % 2
    views = model.views(images[:2])
    yield from ((f"views/{depth}", view.tensor) for depth, view in enumerate(views))
    for key, condition in conditions.items():
        for factor in model.log_probs(images, condition=condition, batch_size=3):
            yield f"nats/{key}/{factor.factor}", factor.log_prob
        options: dict[str, Any] = {"condition": None if condition is None else condition[:2]}
        yield f"bits/{key}", model.pixel_bits(images[:2], **options)
        drawn = model.sample(3, seed=seed, first=1, batch_size=2, **options)
        yield from ((f"draws/{key}/{depth}", view.tensor) for depth, view in enumerate(drawn.views))
        options |= {"draws": 2, "seed": seed, "batch_size": 3}
        for kept, keep in {"rows": 3, "mask": mask}.items():
            yield f"draws/{key}/{kept}", model.complete(images[:2], keep, **options).tensor
        for depth in range(1, len(views)):
            yield f"draws/{key}/from-{depth}", model.draw_given(views[depth], depth, **options).tensor
    if model.condition is not None and model.condition.kind == "label":
        yield "classes", model.classify(images).log_probabilities
    if model.chain.condition_factor is not None:
        yield "conditions", model.sample_conditions(4, seed=seed).values


def results_in_files(folder: Path, left_out: str = "^$") -> Results:
    """The tensors, pixels and fractional numbers in files below a folder, except for tensors in some names of files."""
    for file in sorted(folder.rglob("*")):
        values: Any = ()
        if file.suffix == ".safetensors" and not re.match(left_out, file.name):
            values = load_file(file).items()
        elif file.suffix == ".npz":
            values = np.load(file).items()
        elif file.suffix == ".jsonl":
            values = floats([json.loads(line) for line in file.read_text("utf-8").splitlines()])
        elif file.suffix == ".json":
            values = floats(json.loads(file.read_text("utf-8")))
        elif file.suffix == ".png":
            values = [("pixels", np.asarray(Image.open(file)))]
        yield from ((f"{file.relative_to(folder)}/{key}", value) for key, value in values)


def floats(record: Any, place: str = "") -> Results:
    """The fractional numbers in a record, with their places. Times are left out."""
    for key, value in record.items() if isinstance(record, dict) else enumerate(record):
        if isinstance(value, dict | list):
            yield from floats(value, f"{place}{key}/")
        elif isinstance(value, float) and key not in ("seconds", "images_per_second"):
            yield f"{place}{key}", value


def digest(value: Any) -> str:
    """The SHA-256 of a value: of the type, the shape and the bytes of a tensor or an array, of bytes, or of JSON."""
    if isinstance(value, Tensor):  # NumPy has no bfloat16.
        kind, shape = str(value.dtype).removeprefix("torch."), tuple(value.shape)
        content = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray):
        kind, shape, content = value.dtype.name, value.shape, value.tobytes()
    elif isinstance(value, bytes):
        kind, shape, content = "bytes", (len(value),), value
    else:
        kind, shape, content = "json", (), json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(f"{kind} {shape}\0".encode() + content).hexdigest()


MACHINE = ("torch", "numpy", "system", "processor", "instructions", "compiler", "threads")
"""Facts on which the rounding of results depends."""


def facts() -> dict[str, Any]:
    """Facts about the machine and the checkout."""

    def output(*command: str) -> str:
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True).stdout.strip()

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    flags, model = ([line for line in lines if line.startswith(key)][:1] for key in ("flags", "model name"))
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": " ".join([*model, digest(flags)[:8]]),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "compiler": output(os.environ.get("CXX", "c++"), "--version").partition("\n")[0],
        "threads": torch.get_num_threads(),
        "commit": output("git", "rev-parse", "HEAD"),
        "changed files": output("git", "status", "--porcelain").splitlines(),
    }


def computed(name: str, images: Path) -> tuple[str, dict[str, str], str]:
    """Computes a case in a folder of its own. Returns its name, its digests, and what went wrong."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.symlink(images, "data")
        try:
            for key, value in cases()[name]():
                found[f"{name}/{key}"] = digest(value)
        except Exception:  # The values so far are still compared.
            return name, found, traceback.format_exc()
    return name, found, ""


def write(path: Path, only: str, processes: int) -> int:
    """Writes the digests of the cases whose names match `only`; returns the exit status."""
    if not Path(auxar.__file__).is_relative_to(PROJECT):
        print(f"auxar is imported from {Path(auxar.__file__).parent}; install the checkout {PROJECT}")
        return 2
    names = sorted(name for name in cases() if re.search(only, name))
    torch.set_num_threads(1)
    # Each case has a process of its own, so that none depends on others. They share the modules that are imported here.
    for module in ("torch._dynamo", "torch.distributed.fsdp"):
        importlib.import_module(module)
    for function in auxar.__all__:
        getattr(auxar, function)
    gc.freeze()
    started, found, failed = time.monotonic(), dict[str, str](), 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
        images = Path(folder, "images")
        with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
            pool.apply(write_images, [images])
            for number, result in enumerate(pool.imap_unordered(partial(computed, images=images), names), 1):
                name, digests, problem = result
                found |= digests
                failed += bool(problem)
                print(f"{number}/{len(names)} {name}: {problem or f'{len(digests)} values'}", flush=True)
    text = json.dumps({"facts": facts(), "digests": found}, indent=1, sort_keys=True)
    path.write_text(f"{text}\n", "utf-8")
    minutes = (time.monotonic() - started) / 60
    print(f"{path}: {len(found):,} values of {len(names)} cases in {minutes:.1f} minutes; {failed} cases failed")
    return int(failed > 0 or not names)


def compare(paths: Sequence[Path], only: str, leave_out: str) -> int:
    """Prints the comparison of an old and a new file. Returns the exit status, 0 if all values are there and equal."""
    files = [json.loads(path.read_text("utf-8")) for path in paths]
    for path, file in zip(paths, files, strict=True):
        print(f"{path}: commit {file['facts']['commit'][:12]} with {len(file['facts']['changed files'])} changed files")
    if different := [key for key in MACHINE if files[0]["facts"][key] != files[1]["facts"][key]]:
        for key in different:
            print(f"{key}: {files[0]['facts'][key]} and {files[1]['facts'][key]}")
        print("results are rounded differently")
        return 2
    old, new = (file["digests"] for file in files)
    found: dict[str, list[str]] = {key: [] for key in ("equal", "different", "only old", "only new")}
    for name in sorted(old.keys() | new.keys()):
        if re.search(only, name) and not (leave_out and re.search(leave_out, name)):
            outcome = "only new" if name not in old else "only old" if name not in new else "different"
            found["equal" if outcome == "different" and old[name] == new[name] else outcome].append(name)
    different = [title for title in ("different", "only old", "only new") if found[title]]
    for title in different:
        kinds: dict[str, list[str]] = {}
        for name in found[title]:
            group, _, _, kind, *_ = name.split("/")
            kinds.setdefault(f"{group} … {kind}", []).append(name)
        for kind, names in kinds.items():
            count = len({"/".join(name.split("/")[:3]) for name in names})
            print(f"{title}: {len(names):,} × {kind} in {count} cases, such as {names[0]}")
    print(", ".join(f"{len(names):,} {outcome}" for outcome, names in found.items()))
    return int(not found["equal"] or bool(different))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status, which is 0 if all compared values are there and equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["write", "compare"])
    parser.add_argument("files", type=Path, nargs="+", help="the file to write, or the old and the new file")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="number of cases at the same time")
    parser.add_argument("--only", default="", metavar="PATTERN", help="regular expression for names")
    parser.add_argument("--leave-out", default="", metavar="PATTERN", help="names that are not compared")
    options = parser.parse_args(arguments)
    if len(options.files) != 1 + (options.command == "compare"):
        parser.error("write takes one file, and compare takes two")
    if options.command == "write":
        return write(options.files[0].absolute(), options.only, options.processes)
    return compare(options.files, options.only, options.leave_out)


if __name__ == "__main__":
    sys.exit(main())
