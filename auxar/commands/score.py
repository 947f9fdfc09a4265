"""The command `score`: how unusual images are for a model, for instance to find outliers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any

from auxar.commandline import Result, command
from auxar.errors import one_line

if TYPE_CHECKING:
    from auxar.draw.scoring import Scores

UNKNOWN = "–"
"""The text of a value that is unknown."""


def _shown(scores: Scores) -> Result:
    import attrs

    return Result(list(_lines(scores)), attrs.asdict(scores))


def _lines(scores: Scores) -> Iterator[str]:
    kind = "" if scores.kind == "exact" else " (upper bounds)"
    heldout = f"ranks among {scores.heldout_images} held-out images"
    yield f"bits/dim of the model{kind} and of a lossless file or another model, and their difference; {heldout}"
    yield f"{'bits/dim':>9}{'rank':>7}{'other':>8}{'difference':>12}{'rank':>7}  image"
    for image in scores.images:
        cells = (image.bits_per_dim, image.rank, image.other_bits_per_dim, image.difference, image.difference_rank)
        texts = [UNKNOWN if cell is None else f"{cell:.3f}" for cell in cells]
        row = "".join(text.rjust(width) for text, width in zip(texts, (9, 7, 8, 12, 7), strict=True))
        yield f"{row}  {one_line(str(image.file))}"
    if any(image.other_bits_per_dim is None for image in scores.images):
        yield f"{UNKNOWN}: lossless files store only 1 or 3 channels of 256 levels; --against compares with a model"
    if scores.strongest is not None:
        yield f"the strongest colors of the maps stand for {scores.strongest:.1f} bits of a pixel or more"


@command("Measure", show=_shown)
def score(
    run: str | PathLike[str],
    paths: Iterable[str | PathLike[str]],
    *,
    condition: Any = None,
    heldout: int = 200,
    resize: str | None = None,
    against: str | PathLike[str] | None = None,
    maps: str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
    replace: bool = False,
    device: str = "auto",
    trust_plugins: bool = False,
) -> Scores:
    """Scores how unusual images are for a run's model.

    Images are scored by their bits/dim under the model, and by their bits/dim minus those of a lossless file (PNG or
    WebP) or, with `against`, minus those under another model. The difference depends less on how complex an image is.
    The ranks are the shares of held-out images with smaller values: near 1 for images that are more unusual than nearly
    all of them. The held-out images are evenly spaced ones of the run's data (of a stream, the first ones), and are
    given their own conditions. Without these data, a warning says so, and there are no ranks.

    Several processes, on one or more machines with the same folder, share the images of a table if all of them run this
    command with the same options. A command that was stopped continues, and nothing is computed if FILE has the scores.

    Args:
        paths (PATH): image files, or folders of image files
        condition (--condition KIND=VALUE): condition of a model that has one, one for all images or one for each:
            label=NAME, attributes=NAME,NAME…, mask=FILE, image=FILE, or none (default: none, the null condition)
        against: run whose model the images are compared with, in place of lossless files: one of many kinds of images,
            such as `photos`
        maps (--maps FOLDER): also write a picture of each image into this new folder: red where a pixel has more bits
            under the model than under the other model, and blue where it has fewer; without another model, red where
            it has many bits
        heldout: number of held-out images that the ranks compare with; 0 for no ranks
        out (-o, --out FILE): also write the table as CSV
        replace: replace FILE if it exists

    Raises:
        UserError: there are no images in a folder, one of them cannot be read or has another size, or the condition
            does not fit the model; also as `auxar.load`

    Examples:
        >>> import auxar
        >>> drawn = auxar.sample("runs/quickstart", images=2, rule="map", seed=3)
        >>> scores = auxar.score("runs/quickstart", [drawn / "images"], heldout=8)
        >>> [image.file.name for image in scores.images], scores.heldout_images
        (['000000.png', '000001.png'], 8)
    """
    from auxar.arguments import as_integer, as_path, as_paths, check_flag
    from auxar.data.writing import check_new
    from auxar.draw.any_size import each_image
    from auxar.draw.forms import image_files
    from auxar.draw.loading import load
    from auxar.draw.scoring import scored
    from auxar.work.processes import check_alone

    folder = as_path(run, "run")
    files = as_paths(paths, "paths")
    as_integer(heldout, "heldout", least=0)
    check_flag(replace, "replace")
    places = {"out": out, "against": against, "maps": maps}
    table, others, pictures = (None if value is None else as_path(value, name) for name, value in places.items())
    if pictures is not None:
        check_new(pictures)
    found = image_files(files, "paths")
    check_alone("auxar score")
    model = load(folder, device, trust_plugins=trust_plugins)
    images = each_image(model, found) if resize is None else model.prepare(found, resize=resize)
    other = None if others is None else load(others, device, trust_plugins=trust_plugins)
    return scored(model, found, list(images), condition, heldout, table, replace=replace, against=other, maps=pictures)
