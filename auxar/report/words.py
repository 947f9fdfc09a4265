"""Wording and number formats that the terminal and the pages share."""

from collections.abc import Mapping, Sequence

import attrs

from auxar.errors import one_line
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import Exactness, FactorFacts
from auxar.evaluation.figures import Mean
from auxar.model import FLOAT, ImageSpec
from auxar.report.tables import Annotated, Cell, FactorName, Measured, RunName
from auxar.runs.history import History
from auxar.runs.weights import OWN

DIGITS = 4
"""Decimal places of bits/dim. Two runs often differ only in the third place, so a fourth is shown."""
DIGITS_ON_A_RUNS_PAGE = 3
"""Decimal places of bits/dim on the page of a single run. One place less keeps its table of nine columns narrow."""
DIGITS_OF_NATS = 1
"""Decimal places of likelihoods in nats."""
MISSING = "–"
"""The content of a cell without a value."""
TOTAL = "total"
MOST_PARTS = 20
"""Maximum number of parts of a training that are listed."""
CHARACTERS_OF_CHECKSUM = 12
"""Number of characters of a checksum that are shown."""
OWN_SIZE, SHARE = "own size", "share"
"""Headings of a factor's bits per sub-pixel of its own image, and per sub-pixel of the full image."""
SETS = {"heldout": "held-out", "training": "training"}
"""The names of the sets of images that a run is evaluated on, by their key in records."""


ARITHMETICS = {FLOAT: "floating point", "integer": "integers"}
"""The names of arithmetics in sentences, by the names of their components."""


@attrs.frozen
class Words:
    """Words for the kind of a figure, or of the weights that it was computed with."""

    name: str
    meaning: str
    formula: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.meaning}"


WEIGHTS: Mapping[str, Words] = {
    "ema": Words("EMA", "the exponential moving average of the weights"),
    "last": Words("last", "the weights of the last step"),
    "own": Words("own", "the weights of the user's own training loop"),
    "mixed": Words("mixed", "different kinds of weights for different factors, or no trained factor"),
}


KINDS: Mapping[Exactness, Words] = {
    "bound": Words("an upper bound", "the images' exact bits/dim are lower or equal", "log p(X, X̂) ≤ log p(X)"),
    "exact": Words("exact", "the bits/dim of the images themselves", "log p(X)"),
}


def kind(name: Exactness, condition: str | None) -> Words:
    """Words for the kind of bits/dim, which are given the condition of each image if there is one.

    Examples:
        >>> kind("exact", "label").meaning, kind("bound", "mask").formula
        ('the bits/dim of the images themselves, given their label', 'log p(X, X̂ | mask) ≤ log p(X | mask)')
    """
    found = KINDS[name]
    if condition is None:
        return found
    formula = found.formula.replace(")", f" | {condition})")
    return Words(found.name, f"{found.meaning}, given their {condition}", formula)


def given(conditions: Sequence[str | None]) -> str:
    """A sentence on the conditions that the models in a table are given; empty if all are given none.

    Examples:
        >>> given(["label"]), given([None, None])
        ("Bits/dim are given each image's label", '')
        >>> given([None, "label", None])
        "Bits/dim are given no condition (run 1, run 3) and each image's label (run 2)"
    """
    runs = {kind: ", ".join(f"run {n}" for n, own in enumerate(conditions, 1) if own == kind) for kind in conditions}
    which = " ({})" if len(runs) > 1 else ""
    parts = [(f"each image's {kind}" if kind else "no condition") + which.format(own) for kind, own in runs.items()]
    return f"Bits/dim are given {' and '.join(parts)}" if any(runs) else ""


def weights(evaluation: Evaluation) -> Words:
    """Words for the weights of an evaluation. They name the steps of weights that validation images have chosen."""
    found = WEIGHTS[evaluation.weights]
    best = [f"{factor.factor} at step {factor.steps:,}" for factor in evaluation.factors if factor.kept == "best"]
    chosen = f", the best by validation images: {', '.join(best)}" if best else ""
    return attrs.evolve(found, meaning=found.meaning + chosen)


def end_of_training(factor: FactorFacts) -> str:
    """A remark beside a factor's number of steps, if its weights are not those after all steps that a recipe plans.

    Examples:
        >>> prior = FactorFacts("prior", ImageSpec(height=8, width=8), None, None, "exact", steps=900)
        >>> end_of_training(attrs.evolve(prior, kept="best", trained_steps=2000))
        'best of 2,000'
        >>> end_of_training(attrs.evolve(prior, trained_steps=900, stopped_early=True))
        'stopped early'
        >>> end_of_training(attrs.evolve(prior, weights="own"))
        'own loop'
    """
    if factor.weights == OWN:
        return "own loop"
    if factor.kept == "best" and factor.trained_steps is not None:
        return f"best of {factor.trained_steps:,}"
    return "stopped early" if factor.stopped_early else ""


def number(value: float | None, digits: int = DIGITS, *, signed: bool = False) -> str:
    """Formats a number, or a dash for None. With `signed`, a number that is positive after rounding gets a plus sign.

    Examples:
        >>> number(2.34567), number(None), number(-0.00001)
        ('2.3457', '–', '0.0000')
        >>> [number(value, 2, signed=True) for value in (0.25, 0.006, 0.0001, -0.0001, -1.5, float("nan"))]
        ['+0.25', '+0.01', '0.00', '0.00', '-1.50', 'nan']
    """
    if value is None:
        return MISSING
    text = f"{value:z.{digits}f}"
    return f"+{text}" if signed and value > 0 and text.strip("0.") else text


def measured(mean: Mean, digits: int = DIGITS, *, signed: bool = False) -> str:
    """Formats a mean and its standard error.

    Examples:
        >>> measured(Mean(2.5, 0.0123)), measured(Mean(2.5, None), 2, signed=True)
        ('2.5000 ± 0.0123', '+2.50')
    """
    return f"{number(mean.value, digits, signed=signed)} {uncertainty(mean.error, digits)}".strip()


def cell_parts(cell: Cell, digits: int = DIGITS) -> tuple[str, str]:
    """The text of a cell, and the remark beside it, such as a standard error. The remark may be empty.

    Examples:
        >>> cell_parts(Measured(2.5, 0.0123, "exact")), cell_parts(RunName(2, "plain"))
        (('2.5000', '± 0.0123 exact'), ('2', 'plain'))
    """
    match cell:
        case Measured():
            own = digits if cell.digits is None else cell.digits
            error = "" if cell.value is None else uncertainty(cell.error, own)
            return number(cell.value, own, signed=cell.signed), " ".join(filter(None, [error, cell.kind]))
        case Annotated():
            return cell.text, cell.remark
        case FactorName():
            return cell.name, ""
        case RunName():
            return str(cell.number), cell.name
    return cell, ""


def uncertainty(error: float | None, digits: int = DIGITS) -> str:
    """Formats a standard error after the sign ±. The text is empty for None: a single image has no standard error.

    Examples:
        >>> uncertainty(0.0123)
        '± 0.0123'
    """
    return "" if error is None else f"± {error:.{digits}f}"


def wasted(value: float, digits: int = DIGITS) -> str:
    """A clause that says how many bits/dim of a bound fall on images with other views.

    Examples:
        >>> wasted(0.25, 3)
        '0.250 bits/dim fall on images with other views'
    """
    return f"{number(value, digits)} bits/dim fall on images with other views"


def in_arithmetic(arithmetic: str, bits: float | None, cost: Mean) -> str:
    """A clause with the held-out bits/dim in an arithmetic other than floating point, and its cost.

    Examples:
        >>> in_arithmetic("integer", 2.08, Mean(-0.0006, 0.0001))
        'in integers: 2.0800 bits/dim, a difference of -0.0006 ± 0.0001 from floating point on the same images'
    """
    name = f"in {ARITHMETICS.get(arithmetic, arithmetic)}"
    if cost.value is None:
        return f"{name}: no held-out images were evaluated"
    return (
        f"{name}: {number(bits)} bits/dim, a difference of {measured(cost, signed=True)} from floating point on the "
        "same images"
    )


def cost_of(evaluation: Evaluation, floats: Evaluation) -> str:
    """The clause of `in_arithmetic` for an evaluation, and another in floating point on the same images."""
    return in_arithmetic(evaluation.arithmetic, evaluation.bits_per_dim().value, evaluation.cost(floats))


def condition(evaluation: Evaluation) -> list[str]:
    """Clauses about the condition that the images were given: how many bits/dim it saves, and its own bits.

    Those that are unknown are left out.
    """
    without, own = evaluation.without_condition(), evaluation.condition_bits()
    parts = [] if without.value is None else [f"held-out images {saving(without, evaluation.saved())}"]
    return parts if own.value is None else [*parts, f"the condition itself takes {measured(own)} bits of an image"]


def saving(without: Mean, saved: Mean) -> str:
    """A clause with the bits/dim given the null condition, and those that the condition saves.

    Examples:
        >>> saving(Mean(3.25, 0.02), Mean(0.015, 0.001))
        'given the null condition 3.2500 bits/dim, so the condition saves 0.0150 ± 0.0010'
    """
    return f"given the null condition {number(without.value)} bits/dim, so the condition saves {measured(saved)}"


def mixed_levels(images: Sequence[ImageSpec]) -> bool:
    """Whether images and views differ in their number of levels."""
    return len({image.levels for image in images}) > 1


def levels_where_mixed(image: ImageSpec, images: Sequence[ImageSpec]) -> str:
    """The image's number of levels in parentheses; empty if all of the images have the same number."""
    return f"({image.levels} levels)" if mixed_levels(images) else ""


def resolution_names(images: Sequence[ImageSpec]) -> list[str]:
    """Names of images such as `8×8`. Those of one resolution get their channels and, if these are mixed, levels.

    Examples:
        >>> gray, color = (ImageSpec(channels, height=8, width=8) for channels in (1, 3))
        >>> resolution_names([gray, color, ImageSpec(height=4, width=4)])
        ['8×8×1', '8×8×3', '4×4']
    """
    names = [f"{image.height}×{image.width}" for image in images]
    whole = [f"{image.size} {levels_where_mixed(image, images)}".strip() for image in images]
    return [name if names.count(name) == 1 else full for name, full in zip(names, whole, strict=True)]


def channel_names(count: int) -> list[str]:
    """Column headings for `count` channels."""
    return [f"channel {number}" for number in range(count)]


def count(value: int) -> str:
    """Formats a number of parameters or steps. Zero, such as the steps of an untrained factor, becomes a dash."""
    return f"{value:,}" if value else MISSING


def plural(count: int, noun: str) -> str:
    """Formats a count and its noun, in the plural unless the count is 1.

    Examples:
        >>> plural(1, "value"), plural(2000, "value")
        ('1 value', '2,000 values')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def history(history: History | None) -> str:
    """A clause on a training in several parts, from other weights or on other images; empty for any other training.

    A part is described by its steps and by the settings in which the parts differ.
    """
    if history is None or (len(history.parts) < 2 and history.init is None and history.data is None):
        return ""
    text = "trained" if history.data is None else f"trained on {history.data}"
    if init := history.init:
        text += f" from the weights of {init.run}, checksum {init.checksum[:CHARACTERS_OF_CHECKSUM]}"
    if len(history.parts) < 2:
        return one_line(text)
    keys = dict.fromkeys(key for part in history.parts for key in part.settings)
    differing = [key for key in keys if len({repr(part.settings.get(key)) for part in history.parts}) > 1]
    parts = []
    for part in history.parts[:MOST_PARTS]:
        settings = ", ".join(f"{key} = {part.settings[key]}" for key in differing if key in part.settings)
        parts.append(f"{part.first_step:,}–{part.last_step:,}" + f" ({settings})" * bool(settings))
    more = ["…"] if len(history.parts) > MOST_PARTS else []
    return one_line(f"{text} in {len(history.parts):,} parts: {', '.join([*parts, *more])}")


def short_count(count: int) -> str:
    """Formats a large count with one decimal place and the suffix k, M or G.

    Examples:
        >>> [short_count(count) for count in (0, 999, 1000, 123456, 1234567, 2 * 10**9)]
        ['0', '999', '1.0 k', '123.5 k', '1.2 M', '2.0 G']
    """
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= unit:
            return f"{count / unit:.1f}{name}"
    return str(count)


def duration(seconds: float) -> str:
    """Formats a time in the largest unit (days, h or min) in which it is at least 2, or else in seconds.

    Examples:
        >>> [duration(seconds) for seconds in (0, 119.9, 120, 7200, 172800)]
        ['0.0 s', '119.9 s', '2.0 min', '2.0 h', '2.0 days']
    """
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"


def sentence(caption: str) -> str:
    """Turns a caption into a sentence with an initial capital and a period.

    Examples:
        >>> sentence("held-out bits/dim")
        'Held-out bits/dim.'
    """
    return f"{caption[0].upper()}{caption[1:]}."
