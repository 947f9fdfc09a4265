"""The command `sample`: draws images from a run's model, optionally from views or parts of given images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from auxar.commands.opening import TrainedRun, open_trained
from auxar.distributed.watchdog import watching
from auxar.errors import UserError
from auxar.files import read_json
from auxar.generation.conditional import draw_given_to_folder
from auxar.generation.inputs import GivenRequest, read_given
from auxar.generation.samples import check_samples, sample_to_folder
from auxar.recipe.building import own_sampler
from auxar.recipe.options import sampling_options, sets
from auxar.runs.lock import holding_for_all

logger = logging.getLogger("auxar")

DRAWS = 4
"""Default number of images drawn for each given image."""


def sample(
    path: str | Path,
    given: GivenRequest | None = None,
    *,
    images: int | None = None,
    rule: str | None = None,
    reduction: float | None = None,
    temperature: float | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    sampler: str | None = None,
    settings: Sequence[str] = (),
    out: str | Path | None = None,
    trust_plugins: bool = False,
) -> Path:
    """Draws images from a run's model, writes them to a folder and returns its path.

    With `given`, images are drawn from the views of given images, or given images are completed. `images` is then the
    number of draws for each given image, 4 by default. `settings` are `key=value` strings that set keys of the recipe's
    [sampling], and with `given` also `data.crop` and `data.resize`. An argument that is not None takes precedence over
    `settings` and over the recipe. If `rule` is given and is not "reduced", the default of `reduction` is 0. `out` is
    the folder; the default is a folder in RUN/samples.
    """
    if given is not None and images is None and not sets(settings, "sampling.images"):
        images = DRAWS  # The recipe's number of images is a total, not a number of draws for each image.
    options = sampling_options(
        {
            "images": images,
            "rule": rule,
            "reduction": reduction,
            "temperature": temperature,
            "batch_size": batch_size,
            "seed": seed,
            "sampler": sampler,
        }
    )
    allowed = () if given is None else ("data.crop", "data.resize")
    run = open_trained(path, settings, *allowed, sampling=options, trust_plugins=trust_plugins)
    if not run.recipe.sampling.images:
        raise UserError("sampling.images (-n) is 0: expected at least 1")
    folder = None if out is None else Path(out)
    return _sample_freely(run, folder) if given is None else _sample_given(run, given, folder)


def _sample_freely(run: TrainedRun, out: Path | None) -> Path:
    config = run.recipe.sampling
    folder = out or run.folder.samples / f"{config.rule}-seed{config.seed}"
    with watching(run.accelerator), holding_for_all(folder, run.accelerator, check_samples):
        sample_to_folder(run.model, config, own_sampler(run.model), folder, run.accelerator)
    return folder


def _sample_given(run: TrainedRun, request: GivenRequest, out: Path | None) -> Path:
    config = run.recipe.sampling
    given = read_given(request, run.recipe, run.model)
    kind = "completed" if request.keep is not None else f"given-depth{request.stage + 1}"
    folder = out or run.folder.samples / f"{kind}-{config.rule}-seed{config.seed}"
    with watching(run.accelerator), holding_for_all(folder, run.accelerator, check_samples):
        draw_given_to_folder(run.model, given, config, own_sampler(run.model), folder, run.accelerator)
        agreement = read_json(folder / "samples.json")["view_agreement"]
    if agreement is not None:
        whose = "the views that they were drawn from" if given.view is None else "the given views"
        logger.info("the views of the drawn images equal %s at %.2f %% of the pixels", whose, 100 * agreement)
    return folder
