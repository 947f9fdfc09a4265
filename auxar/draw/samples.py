"""The folder of drawn images, with the protection of other files in it, and the work of drawing the images of a plan.

The work draws single pictures, and facts of the images that the sheets show.
"""

import contextlib
import hashlib
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from auxar.data.pixels import pixels
from auxar.data.sets import ImageSet
from auxar.draw.conditions import LONGEST_NAME, NONE, Conditions
from auxar.draw.plan import Given, Plan, batches
from auxar.draw.sample_sheets import write_sheets
from auxar.draw.sheets import is_whole, save_png
from auxar.errors import UserError
from auxar.files import FILE, FOLDER, check_output, entries, is_file, kind, read_bytes, read_json, remove, write_json
from auxar.leftovers import TEMPORARY, unfinished
from auxar.model import FLOAT, IMAGE, Chain, ImageSpec, Values, variable_at
from auxar.model.checks import checked
from auxar.recipe import Recipe, SamplingConfig
from auxar.runs.layout import RunFolder
from auxar.runs.lock import HOLDER, LOCK, holding
from auxar.runs.opening import run_facts
from auxar.work.chunks import Tensors, Work, user_of_work

PICTURE = re.compile(r"([0-9]{6}|[1-9][0-9]{6,})(-([0-9]{3}|[1-9][0-9]{3,}))?\.png")
"""The names of single pictures: at least six digits and, for a draw of a given image, a hyphen and at least three."""
RECORD, MARK = "samples.json", ".samples.json"
"""Names of the record of finished samples, and of the file that marks a folder while samples are drawn."""
SHEETS = (RECORD, MARK, "samples.png", "heldout.png", "growth.png", "draws.npz")
"""Names of the files that are written beside `images`, the folder of single pictures."""
KEY = "key"
"""Key of the record and of the mark: the key of the work, as `Work.key`, that the samples are of."""
CHUNK = 64
"""Number of images in a chunk, as far as there are no more than `MOST_CHUNKS` chunks."""
MOST_CHUNKS = 256
"""Maximum number of chunks."""
DIGESTS, SECONDS = "digests", "seconds"
"""Names in the result of a chunk: the SHA-256 of each picture, uint8 (images, 32), and the time of drawing, (1,)."""
SHEET_IMAGES = 256
"""Maximum number of images on the sheet. Every image is also saved as a single picture."""
OTHER_FACTS = ("the run", "data.", "evaluation.", "sampling.", "training.")
"""Beginnings of the names of facts about a run that do not decide which images its model draws."""


def begin(folder: Path, mark: Mapping[str, Any], replace: bool) -> None:
    """Marks the folder with facts about the samples that will be drawn, and removes other samples if `replace`.

    Several processes may draw samples with the same key. Raises `UserError`, and changes nothing, as `check_samples`.
    """
    with holding(folder, patience=math.inf):
        if mark[KEY] == key_of(folder):
            return  # Other processes draw, or have drawn, the same images.
        earlier = check_samples(folder, mark[KEY], replace)
        # The mark is written first, so that pictures of a call that was stopped are always recognized.
        write_json(folder / MARK, dict(mark))
        # samples.json is removed next, because it marks the samples as complete.
        for path in sorted(earlier, key=lambda path: path.name != RECORD):
            if path != folder / MARK:
                remove(path)


def check_samples(folder: Path, key: str | None = None, replace: bool = True) -> list[Path]:
    """Returns the files of samples in a folder, of which samples with a key may replace those of another key.

    Files with the names of samples, and temporary files, count as samples only if auxar has drawn samples in this
    folder. Raises `UserError` if the folder holds other files, if it holds samples of another key and `replace` is
    False, or if another process draws such samples.
    """
    images = folder / "images"
    for path, is_own in ((folder, False), (images, True)):
        if (found := kind(path, follow_links=not is_own)) not in (None, FOLDER):
            raise UserError(f"{path} cannot be written: expected a folder, found a {found}")
    for name in SHEETS:
        check_output(folder / name)
    paths = [*entries(folder), *entries(images)]
    own = key_of(folder)  # It is read after the files are listed, because another process may just begin to draw.
    samples = {path: _is_sample(path, folder, own is not None) for path in paths}
    for path, is_sample in samples.items():
        # Other folders are allowed: they hold samples of other rules and seeds. Another process may rename a file.
        if not is_sample and path.name not in (LOCK, HOLDER) and kind(path) not in (None, FOLDER):
            raise UserError(
                f"{path} is not a sample of an earlier call; move it away, or choose an empty folder with --out"
            )
    if own not in (None, key):
        if (user := user_of_work(folder, str(own))) is not None:
            raise UserError(f"{folder} is in use: {user} draws other samples into it; choose another folder with --out")
        if not replace:
            raise UserError(
                f"{folder} holds samples of other options, weights or images; replace them with --replace, or choose "
                "another folder with --out"
            )
    return [path for path, is_sample in samples.items() if is_sample]


def key_of(folder: Path, names: Sequence[str] = (MARK, RECORD)) -> str | None:
    """Key of the samples that auxar draws or has drawn in a folder; None if there are none.

    The lock of the folder says nothing about this, because other programs use files of its name, too.
    """
    for name in names:
        with contextlib.suppress(UserError):
            record = read_json(folder / name)
            if isinstance(record, dict) and record.keys() >= {"rule", "seed", "count"}:
                return str(record.get(KEY, ""))
    return None


def _is_sample(path: Path, folder: Path, is_of_samples: bool) -> bool:
    if (temporary := TEMPORARY.fullmatch(path.name)) is not None:
        is_named = is_of_samples or temporary[1] in (MARK, HOLDER)
    else:
        is_named = path.name in SHEETS if path.parent == folder else PICTURE.fullmatch(path.name) is not None
        is_named = is_named and is_of_samples
    return is_named and kind(path) == FILE


def name_of_samples(
    model: Chain, usual: ImageSpec, config: SamplingConfig, given: Given | None, conditions: Conditions | None
) -> str:
    """The name of the default folder of drawn images, in the folder of the run's samples.

    It contains the size of the images if it is not the `usual` one, the rule, the options of the rule that are not its
    defaults, `conditions` unless they are None, and the seed, so that draws with other options do not replace each
    other.
    """
    kind = "" if given is None else "completed-" if given.known is not None else f"given-depth{given.depth}-"
    if model.image != usual:
        kind = f"{model.image.height}x{model.image.width}-{kind}"
    if model.arithmetic != FLOAT:
        kind = f"{model.arithmetic}-{kind}"
    chosen = [_text({"name": config.rule.name, **config.rule.changed})]
    is_vector = model.condition is None or model.condition.is_vector
    if conditions is not None:
        chosen.append("-".join(conditions.names) or NONE)
    plain = [re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:LONGEST_NAME] for text in chosen]
    if plain != chosen or (conditions is not None and not is_vector):
        # Other options or conditions could have the same name, so a part of their digest is added.
        whole = repr((chosen, None if conditions is None else conditions.digest))
        plain.append(hashlib.sha256(whole.encode()).hexdigest()[:8])
    return f"{kind}{'-'.join(plain)}-seed{config.seed}"


def _text(option: Any) -> str:
    """The value of an option in the name of a folder. A component is written with its name and its options."""
    if isinstance(option, Mapping):
        others = (f"-{key}{_text(value)}" for key, value in option.items() if key != "name")
        return str(option["name"]) + "".join(others)
    return str(option)


class Samples(Work):
    """The work of drawing the images of a plan: single pictures, sheets and `samples.json` in a folder.

    With `heldout`, a second sheet of the same layout shows as many held-out images, or all if there are fewer. A model
    with a condition draws images with the plan's conditions in turn; a column of the sheet shows those with the same
    condition. If conditions are masks or images, a row shows one of them beside its draws. Draws from given images are
    also written as arrays, to `draws.npz`, and a sheet has a row for each given image.

    `facts` are further values by name that decide which images are drawn, and `config` names the rule in the record.
    Pictures are saved after each batch, so that an early stop keeps those of finished batches; sheets and
    `samples.json` are written at the end. When the first batch is drawn, other samples in the folder are removed if
    `replace`; otherwise, `UserError` is raised as by `check_samples`.
    """

    def __init__(
        self,
        model: Chain,
        plan: Plan,
        config: SamplingConfig,
        folder: Path,
        facts: Mapping[str, Any],
        *,
        heldout: ImageSet | None = None,
        replace: bool = False,
    ) -> None:
        self.parts = chunks_of(len(plan.numbers))
        self.options = {"rule": config.rule.table, "seed": plan.seed, "count": len(plan.numbers)}
        given = {"conditions": plan.conditions.digest, "given": None if plan.given is None else plan.given.digest}
        super().__init__(folder, {**facts, **self.options, "draws": plan.draws, **given}, len(self.parts))
        self.model, self.plan, self.config, self.heldout, self.replace = model, plan, config, heldout, replace
        self.begun = False

    def is_concluded(self) -> bool:
        """Whether the folder has the record of these images, and whole pictures."""
        is_recorded = key_of(self.output, (RECORD,)) == self.key
        return is_recorded and are_whole(self.output, map(self.picture, self.plan.numbers))

    @torch.no_grad()
    def compute(self, number: int) -> Tensors:
        """Draws the images of a chunk, and saves each as a picture.

        Returns the digests of the pictures, the seconds, and the facts of the images that the sheets show.
        """
        started, found = time.perf_counter(), list[Tensors]()
        for numbers, values in batches(self.model, self.plan, self.parts[number], progress=self.count == 1, delay=0):
            if not self.begun:  # Earlier samples are kept if the sampler cannot draw.
                begin(self.output, {**self.options, KEY: self.key}, self.replace)
                self.begun = True
            pictures = pixels(values[IMAGE], self.model.image, self.model.picture_values)
            for image, picture in zip(numbers, pictures, strict=True):
                save_png(Image.fromarray(picture), self.picture(image))
            if facts := _facts(self.model, self.plan, numbers, values):
                found.append(facts)
        result = {key: torch.cat([own[key] for own in found]) for key in (*found[:1], {})[0]}
        result[DIGESTS] = torch.tensor([digest_of(self.picture(own)) for own in self.parts[number]]).to(torch.uint8)
        return {**result, SECONDS: torch.tensor([time.perf_counter() - started], dtype=torch.float64)}

    def check(self, number: int, found: Tensors) -> None:
        """Raises `UserError` unless the pictures of a chunk are there as they were drawn."""
        for own, digest in zip(self.parts[number], found[DIGESTS].tolist(), strict=True):
            path = self.picture(own)
            if not is_file(path) or digest_of(path) != digest:
                raise UserError(f"{path} is missing, damaged, or another picture than the one that was drawn")

    def conclude(self, found: list[Tensors]) -> None:
        """Writes sheets, arrays and the record."""
        shown = [own for own in found if "numbers" in own]
        facts = {name: torch.cat([own[name] for own in shown]) for name in shown[0].keys() - {DIGESTS, SECONDS}}
        if self.count > 1:  # No process writes pictures any more, so the files are of processes that were killed.
            for left in (*unfinished(self.output), *unfinished(self.output / "images")):
                remove(left)
        record = {
            **self.options,
            "meaning": self.plan.rule.meaning,
            "sampler": self.config.sampler.name,
            "arithmetic": self.model.arithmetic,
            "seconds": float(torch.cat([own[SECONDS] for own in found]).sum()),
            KEY: self.key,
        }
        record |= write_sheets(self.model, self.plan, self.output, facts, self.heldout)
        write_json(self.output / RECORD, record)  # It marks the samples as complete.
        remove(self.output / MARK)

    def picture(self, number: int) -> Path:
        """The file of the picture of an image. `000002-001.png` is draw 1 of given image 2, both counted from 0."""
        row, draw = divmod(number, self.plan.draws)
        return self.output / "images" / (f"{row:06d}.png" if self.plan.given is None else f"{row:06d}-{draw:03d}.png")


def are_whole(folder: Path, pictures: Iterable[Path]) -> bool:
    """Whether the sheets in a folder of samples, and its single `pictures`, are there and not cut off."""
    return all(map(is_whole, (folder / "samples.png", *entries(folder, "*.png"), *pictures)))


def facts_of_model(run: RunFolder, recipe: Recipe, model: Chain) -> dict[str, Any]:
    """The facts about a run's model that decide which images it draws: weights, networks, plugins, integers, size."""
    own = {"arithmetic": model.arithmetic, "digests": model.digests, "image": str(model.image)}
    facts = {**run_facts(run, recipe), **own}
    return {name: value for name, value in facts.items() if not name.startswith(OTHER_FACTS)}


def chunks_of(count: int) -> list[range]:
    """The numbers of the images of each chunk of `count` images."""
    size = CHUNK * math.ceil(count / (CHUNK * MOST_CHUNKS))
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def digest_of(path: Path) -> list[int]:
    """The SHA-256 of a file, as 32 numbers 0 … 255."""
    return list(hashlib.sha256(read_bytes(path)).digest())


def _facts(model: Chain, plan: Plan, numbers: Sequence[int], values: Values) -> Tensors:
    """The facts of those images of a batch that the sheets show, which are all if images are given.

    They have a first dimension of images: their `numbers`, the `images` and the views `view1` … that they were drawn
    from, the log-likelihoods `nats_FACTOR` of the drawn factors, and for conditional draws `view_agreement`, the
    fraction of the view's pixels in which the view of a drawn image equals the view that it was drawn from.
    """
    count = len(numbers) if plan.given else sum(number < SHEET_IMAGES for number in numbers)
    if not count:
        return {}
    values = values.rows(slice(count))
    facts = {}
    for factor in model.factors[: plan.from_depth]:
        facts[factor.variable if factor.depth else "images"] = values[factor.variable]
        facts[f"nats_{factor.name}"] = checked(factor(values), factor.name).double()
    if plan.given is not None and (given := variable_at(plan.given.depth)) in values:
        view = model.with_views(Values({IMAGE: values[IMAGE]}), plan.given.depth)[given]
        facts["view_agreement"] = (view == values[given]).all(1).double().flatten(1).mean(1)
    facts["numbers"] = torch.tensor(numbers[:count])
    return {key: value.cpu() for key, value in facts.items()}
