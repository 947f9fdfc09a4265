"""Compares files of `auxar compress` with lossless codecs, in size and in time.

    python tests/benchmarks/codecs.py emoji32 RUN… --images 198 --threads 2

The images are the held-out images of a run, which must have integers (`auxar integers RUN`). Each codec writes every
image alone, and all images on one sheet. It needs the programs optipng, cwebp and cjxl (Debian: optipng, webp,
libjxl-tools). Sizes are bits for each sub-pixel. For `auxar compress`, the first size is that of the whole file, and
`streams` is without header, index and names. `likelihood` are the bits/dim of the model in integers. Times are seconds
without loading the model, so that the command's own start is left out. Each codec is one process with one thread, and
`--threads` are those of the model. Likelihoods and samples are computed in batches of the same size as the file's.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import auxar
from auxar.data import load_images
from auxar_codec.archive import DECODED_DIMS, Archiver
from auxar_codec.compression import Compression
from auxar_codec.container import read_container

CODECS: dict[str, tuple[Callable[[str, str], list[str]], str]] = {
    "PNG (optipng -o7)": (lambda source, out: ["optipng", "-quiet", "-o7", "-out", out, source], ".png"),
    "WebP lossless (-z 9)": (
        lambda source, out: ["cwebp", "-quiet", "-lossless", "-exact", "-z", "9", source, "-o", out],
        ".webp",
    ),
    "JPEG XL (-d 0 -e 9)": (
        lambda source, out: ["cjxl", "--quiet", "-d", "0", "-e", "9", "--num_threads=0", source, out],
        ".jxl",
    ),
}


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Returns the duration of a call in seconds and its result."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def coded_by(name: str, folder: Path, files: list[Path], sheet: Path, dims: int) -> dict[str, float]:
    """Bits for each sub-pixel of a codec, for single images and for the sheet, and its seconds for single images."""
    command, suffix = CODECS[name]
    sizes = []

    def each() -> None:
        for file in files:
            out = folder / f"out-{file.stem}{suffix}"
            out.unlink(missing_ok=True)
            subprocess.run(command(str(file), str(out)), check=True, stdout=subprocess.DEVNULL)
            sizes.append(out.stat().st_size)

    duration, _ = seconds(each)
    out = folder / f"out-sheet{suffix}"
    subprocess.run(command(str(sheet), str(out)), check=True, stdout=subprocess.DEVNULL)
    return {"alone": 8 * sum(sizes) / dims, "sheet": 8 * out.stat().st_size / dims, "seconds": duration}


def coded_by_model(run: Path, folder: Path, files: list[Path], images: torch.Tensor) -> dict[str, float]:
    """Bits for each sub-pixel and seconds of a model's file. The images are decoded and compared with the originals."""
    model, path = auxar.load(run, "cpu", arithmetic="integer"), folder / "a.auxar"
    encoding, _ = seconds(lambda: Compression(model, files, path, None, replace=True).do())
    container = read_container(path)
    archiver = Archiver(model, container.header)
    decoding, found = seconds(lambda: list(archiver.decode(container, container.entries)))
    pixels = [picture.pixels for _, picture in found if picture is not None]
    assert np.array_equal(np.stack(pixels), images.numpy())
    batch = max(1, DECODED_DIMS // model.image.dims)
    likelihood, log_prob = seconds(lambda: model.log_prob(images, batch_size=batch))
    assert model.run is not None
    drawing, _ = seconds(lambda: model.sample(len(images), batch_size=batch, progress=False))
    dims = images.numel()
    return {
        "likelihood": float(-log_prob.sum() / math.log(2)) / dims,
        "streams": 8 * sum(entry.size for entry in container.entries) / dims,
        "file": 8 * path.stat().st_size / dims,
        "encoding": encoding,
        "decoding": decoding,
        "encoding / likelihood pass": encoding / likelihood,
        "decoding / sampling": decoding / drawing,
        "weights": sum(
            (model.run.output.factor(factor.name) / "integer.safetensors").stat().st_size for factor in model.factors
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--images", type=int, default=100, metavar="N", help="number of images (default: 100)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the model (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for run in options.runs:
        model = auxar.load(run)
        assert model.recipe is not None
        assert model.registry is not None
        heldout = load_images(model.recipe.data, model.recipe.image, model.registry).heldout
        images = torch.stack([image for _, image in heldout.every(1, 0, options.images)])
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = [folder / f"{number:03d}.png" for number in range(len(images))]
            for file, image in zip(files, images, strict=True):
                auxar.Images(image, model.image).to_pil().save(file)
            sheet = folder / "sheet.png"
            rows = math.isqrt(len(images) - 1) + 1
            whole = np.zeros(
                (rows * model.image.height, rows * model.image.width, model.image.channels), dtype=np.uint8
            )
            for number, image in enumerate(images):
                top, left = number // rows * model.image.height, number % rows * model.image.width
                whole[top : top + model.image.height, left : left + model.image.width] = image.permute(1, 2, 0)
            Image.fromarray(whole).save(sheet)
            found: dict[str, Any] = {"run": str(run), "images": len(images), "auxar": None}
            found["auxar"] = coded_by_model(run, folder, files, images)
            found |= {codec: coded_by(codec, folder, files, sheet, images.numel()) for codec in CODECS}
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
