"""The command `sample`: draws images from a run's model, optionally from views or parts of given images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxar.arguments import as_path, as_paths, check_flag, image_size
from auxar.commandline import Result, command
from auxar.errors import UserError, logger

if TYPE_CHECKING:
    from auxar.draw.image_model import ImageModel
    from auxar.draw.loading import OpenedRun

DRAWS = 4
"""Default number of images drawn for each given image."""


def _shown(folder: Path) -> Result:
    from auxar.files import read_json

    return Result([str(folder)], {"folder": str(folder), **read_json(folder / "samples.json")})


@command("Draw", show=_shown)
def sample(
    run: str | PathLike[str],
    *,
    images: int | None = None,
    size: str | None = None,
    given: Iterable[str | PathLike[str]] | None = None,
    stage: int | None = None,
    as_view: bool = False,
    keep: int | str | PathLike[str] | None = None,
    condition: Any = None,
    rule: str | Mapping[str, Any] | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    sampler: str | None = None,
    arithmetic: str | None = None,
    out: str | PathLike[str] | None = None,
    settings: Sequence[str] = (),
    replace: bool = False,
    trust_plugins: bool = False,
) -> Path:
    """Draws images from a run's model.

    Each image is written as a PNG file, and a sheet shows many of them. For models with views, a second sheet shows
    images with their views, from coarse to fine. Options that are left out have the values of [sampling] in the run's
    recipe, unless --set sets them.

    With given images, others are drawn from their views (colorization, super-resolution), or a part of each is kept and
    the rest is drawn. One sheet shows the given images beside those that are drawn.

    Several processes, on one or more machines with the same folder, share the images if all of them run this command
    with the same options. A command that was stopped continues, and nothing is drawn if the folder has the images.

    Args:
        images (-n, --images N): number of images, or of draws for each given image (default with --given: 4)
        size (--size HEIGHTxWIDTH): height and width of the images, such as 96x64, for models whose networks work at any
            size (default: the model's own size or, with --given, the size of the given images)
        given (--given PATH): image files, or folders of images, to draw from
        stage (--stage K): draw the image at depth K given the view at depth K + 1, then all finer images (default: 0)
        as_view: the given files show the view at depth K + 1 (see --stage), not the image
        keep (--keep ROWS|MASK): keep the upper ROWS rows, or the pixels that are white in the picture MASK; draw the
            rest
        condition (--condition KIND=VALUE): condition of a model that has one: label=NAME,NAME… (or label=all),
            attributes=NAME,NAME…, mask=FILE, image=FILE, none for the null condition, or drawn for conditions from
            p(y); several are used in turn, for one image each or one given image each (default: all classes of a label
            in turn; with --given, and for other kinds, the null condition)
        rule (--rule RULE): rule by which values are drawn, NAME or NAME:OPTION=VALUE,…: ancestral (exact samples),
            reduced (lower variance), map (centers of drawn mixture components), tempered (a temperature for softmax
            heads), guided (shows a condition more clearly) or by_depth (a rule for fine images and another for coarse
            views), such as reduced:reduction=0.6; `auxar plugins rule` lists the options and further rules
        batch_size (--batch-size B): number of images drawn at once
        sampler: name of a sampler (see `auxar plugins sampler`)
        arithmetic: float, or integer: draw with the integers that `auxar integers` made, which give the same images on
            every machine (default: the recipe's arithmetic)
        out (--out DIR): output folder (default: a folder in RUN/samples or, for a model that comes trained, in
            ./NAME/samples)
        settings: set keys of [sampling], such as sampling.images=64, further plugin files with plugins, and with
            --given data.crop and data.resize
        replace: replace images in the folder that were drawn with other options, weights or given images

    Returns:
        The folder of the images.

    Raises:
        UserError: an argument is invalid or does not fit the others, the rule changes nothing for any head of the drawn
            factors, or the folder has other images and `replace` is False

    Examples:
        >>> import auxar
        >>> folder = auxar.sample("runs/quickstart", images=2, rule="map", seed=7)
        >>> folder.as_posix(), (folder / "samples.png").is_file()
        ('runs/quickstart/samples/map-seed7', True)
        >>> half = auxar.sample("runs/quickstart", given=[folder / "images"], keep=16, images=2, seed=1)
        >>> half.as_posix()
        'runs/quickstart/samples/completed-ancestral-seed1'
    """
    from auxar.draw.conditions import drawn_if_asked
    from auxar.draw.forms import image_files
    from auxar.draw.given import check_given, read_given
    from auxar.draw.plan import plan_of_recipe
    from auxar.draw.samples import Samples, check_samples, facts_of_model, name_of_samples
    from auxar.runs.layout import check_no_pictures
    from auxar.work.processes import working_together

    with working_together() as processes:
        with processes.agreeing() as facts:
            check_flag(replace, "replace")
            paths = None if given is None else as_paths(given, "given")
            check_given(paths, stage, as_view, keep)
            pictures = None if paths is None else image_files(paths, "given")
            options = {"images": images, "rule": rule, "batch_size": batch_size, "seed": seed, "sampler": sampler}
            how = {"arithmetic": arithmetic, "trust_plugins": trust_plugins}
            source = _opened(as_path(run, "run"), settings, options, is_given=bool(pictures), **how)
            resized = _at_size(source.model, size, pictures, (stage or 0) + 1 if as_view else 0)
            accelerator, model, config = source.accelerator(), resized.chain, source.recipe.sampling
            content = None
            if pictures:
                usual = resized.preparation
                content = read_given(model, pictures, usual, stage=stage or 0, as_view=as_view, keep=keep)
            count = config.images if content is None else len(content)
            condition = drawn_if_asked(condition, model, source.recipe, count)
            plan = plan_of_recipe(model, source.recipe, config.images, condition, content)
            plan.check(model, "sampling.rule" if rule is None else "rule")
            chosen = None if condition is None else plan.conditions
            name = name_of_samples(model, source.recipe.image, config, content, chosen)
            if out is None and source.folder.model is not None:
                check_no_pictures(source.folder.output.path)
            folder = source.folder.output.samples / name if out is None else as_path(out, "out")
            common = facts_of_model(source.folder, source.recipe, model)
            samples = Samples(model, plan, config, folder, common, replace=replace)
            facts |= {"command": "sample", "--out": os.path.abspath(folder), "the images": samples.key}
            check_samples(folder, samples.key, replace)
        samples.do("sampling" if accelerator.is_main_process else None)
    return folder


def _at_size(model: ImageModel, size: str | None, pictures: Sequence[Path] | None, depth: int) -> ImageModel:
    """The model at a size or, without one, at the size of the pictures, which show images at a depth."""
    from auxar.draw.any_size import at_size_of

    if size is not None:
        return model.at(*image_size(size, "size"))
    if not pictures or depth >= len(model.chain.specs):
        return model
    found: ImageModel = at_size_of(model, pictures, depth, "given")
    usual, *views = ((spec.height, spec.width) for spec in model.chain.specs)
    own = found.image.height, found.image.width
    if depth == 0 and own != usual and own in views:
        told = (
            "given: these pictures of %d×%d pixels are taken as images; with --as-view, larger ones are drawn from them"
        )
        logger.warning(told, *own)
    return found


def _opened(path: Path, settings: Sequence[str], options: dict[str, Any], *, is_given: bool, **how: Any) -> OpenedRun:
    """Opens a run with the options of [sampling] that are set; `is_given` says whether images are given."""
    from auxar.draw.loading import opened
    from auxar.recipe.options import check_settings, naming_options, sets

    if is_given and options["images"] is None and not sets(settings, "sampling.images"):
        options["images"] = DRAWS  # The recipe's number of images is a total, not a number of draws for each image.
    check_settings(settings, "sampling.", "plugins", *(("data.crop", "data.resize") if is_given else ()))
    given = {name: value for name, value in options.items() if value is not None}
    with naming_options(given):
        found = opened(path, settings, sampling=given, **how)
    if not found.recipe.sampling.images:
        raise UserError("sampling.images (-n) is 0: expected at least 1")
    return found
