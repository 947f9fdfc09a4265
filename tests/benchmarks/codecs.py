"""Compares files of `auxar compress` with lossless codecs, in size and in time.

    python tests/benchmarks/codecs.py emoji32 RUN… --images 198 --threads 2

The images are the held-out images of a run, which must have integers (`auxar integers RUN`). Each codec writes every
image alone, and all images on one sheet. It needs the programs optipng, cwebp and cjxl (Debian: optipng, webp,
libjxl-tools). Sizes are bits for each sub-pixel. For `auxar compress`, the first size is that of the whole file, and
`streams` is without header, index and names. `likelihood` are the bits/dim of the model in integers. Times are seconds
without loading the model, so that the command's own start is left out. Each codec is one process with one thread, and
`--threads` are those of the model. Likelihoods and samples are computed in batches of the same size as the file's.
"""

import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from measuring import heldout_images, options_of, show, timed
from PIL import Image

import auxar
from auxar_codec import codec
from auxar_codec.archive import DECODED_DIMS
from auxar_codec.container import read_container

CODECS = {
    "PNG (optipng -o7)": "optipng -quiet -o7 -out {out}.png {source}",
    "WebP lossless (-z 9)": "cwebp -quiet -lossless -exact -z 9 {source} -o {out}.webp",
    "JPEG XL (-d 0 -e 9)": "cjxl --quiet -d 0 -e 9 --num_threads=0 {source} {out}.jxl",
}


def coded_by(name: str, folder: Path, files: list[Path], sheet: Path, dims: int) -> dict[str, float]:
    """Bits for each sub-pixel of a codec, for single images and for the sheet, and its seconds for single images."""

    def size(source: Path) -> int:
        command = CODECS[name].format(source=source, out=folder / f"out-{source.stem}")
        subprocess.run(command.split(), check=True, stdout=subprocess.DEVNULL)
        (out,) = folder.glob(f"out-{source.stem}.*")
        found = out.stat().st_size
        out.unlink()
        return found

    duration, alone = timed(lambda: sum(map(size, files)))
    return {"alone": 8 * alone / dims, "sheet": 8 * size(sheet) / dims, "seconds": duration}


def coded_by_model(run: Path, files: list[Path], images: torch.Tensor) -> dict[str, float]:
    """Bits for each sub-pixel and seconds of a model's file. The images are decoded and compared with the originals."""
    own = codec(run)
    model = own.model
    encoding, content = timed(lambda: own.encode(files))
    decoding, found = timed(lambda: own.decode(content))
    assert torch.equal(torch.from_numpy(np.stack(list(found.values()))), rearrange(images, "n c h w -> n h w c"))
    batch = max(1, DECODED_DIMS // model.image.dims)
    likelihood, log_prob = timed(lambda: model.log_prob(images, batch_size=batch))
    drawing, _ = timed(lambda: model.sample(len(images), batch_size=batch, progress=False))
    dims = images.numel()
    return {
        "likelihood": float(-log_prob.sum() / math.log(2)) / dims,
        "streams": 8 * sum(entry.size for entry in read_container(content).entries) / dims,
        "file": 8 * len(content) / dims,
        "encoding": encoding,
        "decoding": decoding,
        "encoding / likelihood pass": encoding / likelihood,
        "decoding / sampling": decoding / drawing,
        "weights": sum(path.stat().st_size for path in folder_of(run).rglob("integer.safetensors")),
    }


def folder_of(run: Path) -> Path:
    """The folder of a run, or of a model that comes trained."""
    return run if run.is_dir() else next(model.path for model in auxar.list_models() if model.name == str(run))


def write_pictures(folder: Path, images: torch.Tensor, spec: auxar.ImageSpec) -> tuple[list[Path], Path]:
    """Writes pictures of the images, and a sheet of all of them; returns their files."""
    files, sheet = [folder / f"{number:03d}.png" for number in range(len(images))], folder / "sheet.png"
    for file, image in zip(files, images, strict=True):
        auxar.Images(image, spec).to_pil().save(file)
    columns = math.isqrt(len(images) - 1) + 1
    cells = images.new_zeros((columns * columns, *images.shape[1:]))
    cells[: len(images)] = images
    whole = rearrange(cells, "(r s) c h w -> (r h) (s w) c", s=columns)
    Image.fromarray(whole[: -(-len(images) // columns) * spec.height].numpy()).save(sheet)
    return files, sheet


def main() -> None:
    runs = {"positional": True, "type": Path, "nargs": "+", "metavar": "RUN"}
    options = options_of(__doc__, runs=runs, images=100, threads=1)
    torch.set_num_threads(options.threads)
    for run in options.runs:
        model = auxar.load(run)
        images = heldout_images(model, options.images)
        with tempfile.TemporaryDirectory() as name:
            files, sheet = write_pictures(Path(name), images, model.image)
            found: dict[str, Any] = {"run": str(run), "images": len(images)}
            found["auxar"] = coded_by_model(run, files, images)
            found |= {codec: coded_by(codec, Path(name), files, sheet, images.numel()) for codec in CODECS}
        show(found, options)


if __name__ == "__main__":
    main()
