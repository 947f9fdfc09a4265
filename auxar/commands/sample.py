"""The command `sample`: draws images from a run's model, optionally from views or parts of given images."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import Any

from auxar.arguments import as_path, described
from auxar.commands.opening import TrainedRun, open_trained
from auxar.distributed.joining import working_together
from auxar.distributed.shards import Division
from auxar.errors import UserError
from auxar.files import read_json
from auxar.generation.conditional import Given, draw_given_to_folder
from auxar.generation.conditions import (
    DRAWN,
    LONGEST_NAME,
    NONE,
    Conditions,
    ConditionTexts,
    as_conditions,
    drawn_conditions,
    reader_of,
    usual_conditions,
)
from auxar.generation.inputs import GivenRequest, read_given
from auxar.generation.sample_folder import check_samples
from auxar.generation.sample_shards import (
    NAME,
    check_shards,
    draw_shard,
    merge_shards,
    sample_files,
    shards_folder,
)
from auxar.generation.samples import sample_to_folder
from auxar.model import FLOAT
from auxar.model.rule_effects import check_rule
from auxar.recipe.building import own_sampler
from auxar.recipe.options import sampling_options, sets
from auxar.runs.lock import holding_for_all
from auxar.runs.shards import holding_shard, work_of

logger = logging.getLogger("auxar")

DRAWS = 4
"""Default number of images drawn for each given image."""


def sample(
    path: str | PathLike[str],
    given: GivenRequest | None = None,
    *,
    images: int | None = None,
    rule: str | Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    sampler: str | None = None,
    settings: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    condition: Any = None,
    arithmetic: str | None = None,
    shard: str | None = None,
    merge: int | None = None,
    trust_plugins: bool = False,
) -> Path:
    """Draws images from a run's model, writes them to a folder and returns its path.

    `path` is the run's folder, or the name of a model that comes trained. With `given`, images are drawn from the views
    of given images, or given images are completed. `images` is then the number of draws for each given image, 4 by
    default. `settings` are `key=value` strings that set keys of the recipe's [sampling], and with `given` also
    `data.crop` and `data.resize`, or name further plugin files with `plugins`. An argument that is not None takes
    precedence over `settings` and over the recipe. `rule` is the name of a rule, `"NAME:option=value"`, or a table with
    its name and options. `out` is the folder; the default is a folder in RUN/samples or, for a model that comes
    trained, in ./NAME/samples.

    `condition` is the condition of a model that has one, as for `ImageModel.sample`. Several conditions are used in
    turn: for one image each or, with `given`, for one given image each. By default, images have all classes of a label
    in turn. With `given`, and for other kinds of conditions, the default is the null condition.

    With `arithmetic="integer"`, images are drawn with the integers that `auxar.integers` made; the default is the
    recipe's arithmetic.

    With `shard="2/7"`, only the second of seven parts of the images is drawn, into the same folder. Several shards may
    be drawn at the same time, also on different machines that share the folder. A shard that is done is not drawn
    again. When all are done, `merge=7` writes the sheets and `samples.json`. Shards do not replace earlier samples, and
    cannot be combined with `given`.

    Raises `UserError` if shards are missing, or if they were drawn with other weights or options. Also raises
    `UserError` if the rule changes nothing for any head of the drawn factors.

    Examples:
        >>> import auxar
        >>> folder = auxar.sample("runs/quickstart", images=2, rule="map", seed=7)
        >>> folder.as_posix(), (folder / "samples.png").is_file()
        ('runs/quickstart/samples/map-seed7', True)
    """
    with working_together() as processes:
        with processes.agreeing() as facts:
            division = Division.of(shard, merge, processes.count)
            if given is not None and not isinstance(given, GivenRequest):
                example = "auxar.GivenRequest(['photo.png'])"
                raise UserError(f"given: expected a GivenRequest, such as {example}, got {described(given)}")
            if given is not None and division != Division():
                raise UserError("shards of images cannot be drawn from given images; leave out --shard and --merge")
            if given is not None and images is None and not sets(settings, "sampling.images"):
                images = DRAWS  # The recipe's number of images is a total, not a number of draws for each image.
            options = sampling_options(
                {
                    "images": images,
                    "rule": rule,
                    "batch_size": batch_size,
                    "seed": seed,
                    "sampler": sampler,
                }
            )
            allowed = ("plugins", *(() if given is None else ("data.crop", "data.resize")))
            with _naming_options(options):
                run = open_trained(
                    path, settings, *allowed, sampling=options, arithmetic=arithmetic, trust_plugins=trust_plugins
                )
            if not run.recipe.sampling.images:
                raise UserError("sampling.images (-n) is 0: expected at least 1")
            content = None if given is None else read_given(given, run.recipe, run.model)
            conditions = _conditions(condition, run, content)
            depth = None if content is None or content.known is not None else content.depth
            key = "sampling.rule" if rule is None else "--rule"
            check_rule(run.model, run.recipe.sampling.draw_rule(), run.model.arithmetic, from_depth=depth, key=key)
            named = None if condition is None else conditions
            folder = run.folder.output.samples / _name(given, run, named) if out is None else as_path(out, "out")
            facts |= {"command": "sample", "--out": os.path.abspath(folder), **run.facts}
            facts["the given images"] = None if content is None else content.digest
            facts["the conditions"] = conditions.digest
            facts["--shard"] = str(division.shard)
            work = work_of({**run.facts, "the conditions": conditions.digest, "arithmetic": run.model.arithmetic})
            work["the number of shards"] = division.merge or (division.shard and division.shard.count)
            files = sample_files(folder, f"auxar sample {run.folder.name}", work)
        config, own = run.recipe.sampling, own_sampler(run.model)
        held: AbstractContextManager[None]
        if division.shard is not None:
            own_folder = shards_folder(folder)
            held = holding_shard(own_folder, NAME, division.shard, processes, lambda _: check_shards(folder, files))
            with held:
                draw_shard(
                    run.model, config, own, folder, run.accelerator, conditions, division.shard, files, processes
                )
            return folder
        if division.merge is not None:
            with holding_for_all(folder, processes, lambda _: None):
                merge_shards(run.model, config, folder, conditions, division.merge, files)
            return folder
        with holding_for_all(folder, processes, check_samples):
            if content is None:
                sample_to_folder(run.model, config, own, folder, run.accelerator, conditions=conditions)
            else:
                draw_given_to_folder(run.model, content, config, own, folder, run.accelerator, conditions)
                _log_agreement(folder, content)
    return folder


@contextlib.contextmanager
def _naming_options(options: Mapping[str, Any]) -> Iterator[None]:
    """Replaces keys of [sampling] that options set by the options in errors."""
    try:
        yield
    except UserError as error:
        found = re.search(r"sampling\.(\w+)(.*)", str(error), re.DOTALL)
        if found is None or found[1] not in options:
            raise
        raise UserError(f"--{found[1].replace('_', '-')}{found[2]}") from None


def _conditions(value: Any, run: TrainedRun, given: Given | None) -> Conditions:
    """The conditions of the drawn images or, with `given`, of the given images, from the argument `condition`."""
    condition, sampling = run.model.condition, run.recipe.sampling
    if isinstance(value, ConditionTexts) and value.texts == (DRAWN,):
        count = sampling.images if given is None else len(given.names)
        return drawn_conditions(run.model, own_sampler(run.model), count, sampling.seed)
    if value is None and given is None:
        return usual_conditions(condition)
    return as_conditions(value, condition, reader_of(condition, run.recipe))


def _name(request: GivenRequest | None, run: TrainedRun, conditions: Conditions | None) -> str:
    """The name of the default folder of the drawn images, in the folder of the run's samples.

    It contains the rule, the options of the rule that are not its defaults, and the seed, so that draws with other
    options do not replace these.
    """
    kind = "" if request is None else "completed-" if request.keep is not None else f"given-depth{request.stage + 1}-"
    sampling = run.recipe.sampling
    if run.model.arithmetic != FLOAT:
        kind = f"{run.model.arithmetic}-{kind}"
    chosen = sampling.rule.name + "".join(f"-{key}{_named(value)}" for key, value in sampling.rule.changed.items())
    # Other options could have the same name without some characters, so a part of their digest is added.
    digest = "" if _plain(chosen) == chosen else f"-{hashlib.sha256(chosen.encode()).hexdigest()[:8]}"
    options = [_plain(chosen) + digest]
    if conditions is not None:
        named = "-".join(conditions.names) or NONE
        plain = _plain(named)
        is_vector = run.model.condition is not None and run.model.condition.is_vector
        # Other conditions could have the same name, so a part of their digest is added.
        options.append(f"-{plain}" if plain == named and is_vector else f"-{plain}-{(conditions.digest or '')[:8]}")
    return f"{kind}{''.join(options)}-seed{sampling.seed}"


def _named(option: Any) -> str:
    """The value of an option in the name of a folder. A component is written with its name and its options."""
    if isinstance(option, Mapping):
        return "-".join(str(value) if key == "name" else f"{key}{_named(value)}" for key, value in option.items())
    return str(option)


def _plain(text: str) -> str:
    """The text without characters that the name of a folder cannot have everywhere."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:LONGEST_NAME]


def _log_agreement(folder: Path, given: Given) -> None:
    agreement = read_json(folder / "samples.json")["view_agreement"]
    if agreement is not None:
        whose = "the views that they were drawn from" if given.view is None else "the given views"
        logger.info("the views of the drawn images equal %s at %.2f %% of the pixels", whose, 100 * agreement)
