"""The card of a model on the Hugging Face hub: its README.md, with metadata that the hub reads."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from auxar import MeasuredRun, RunFolder, RunSummary, load_recipe, sample

TASK = "unconditional-image-generation"
KINDS = {"exact": "exact", "bound": "an upper bound"}
"""The meaning of bits/dim in words."""
PICTURES = {"samples.png": "Samples", "growth.png": "Samples from coarse to fine"}
"""The sheets of drawn images on a card, and their contents."""

MOST_NAMES = 100
"""Maximum number of names of classes or attributes on a card."""
TEMPLATES = Environment(
    loader=PackageLoader(__package__, "."), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
)  # Markdown, not HTML


def card(name: str, run: RunFolder, license: str | None, captions: dict[str, str], *, trust_plugins: bool) -> str:
    """The text of the card of an exported run.

    `name` is the repository, `user/name`. `license` is the identifier of a license as the hub knows it, such as "mit".
    `captions` has a caption for each picture.
    """
    recipe = load_recipe(run.recipe, trust_plugins=trust_plugins)
    condition = recipe.condition
    summary = MeasuredRun(run.path).summary if run.evaluation.is_file() else None
    kind = KINDS[summary.kind] if summary else ""
    kind += "" if condition is None else f", given each image's {condition.kind}"
    title, local = name.rpartition("/")[2], Path(recipe.data.path).is_absolute()
    paths = [recipe.data_of(factor).path for factor in recipe.factor_names]
    sources = dict.fromkeys("images of its author" if Path(path).is_absolute() else f"`{path}`" for path in paths)
    purpose, terms = run.purpose_and_license
    metadata = ModelCardData(
        license=license,
        library_name="auxar",
        pipeline_tag=TASK,
        tags=["auxar", "autoregressive", "image-generation"],
        model_name=title,
        eval_results=_results(summary, "" if local else recipe.data.path, kind),
    )
    return TEMPLATES.get_template("card.md").render(
        metadata=metadata.to_yaml(),
        title=title,
        name=name,
        purpose=purpose or "A model of images.",
        recipe=recipe,
        captions=captions,
        argument="" if condition is None else f", condition={_example(condition)}",
        classes=condition and [*(condition.names or condition.columns)],
        most=MOST_NAMES,
        summary=summary,
        kind=kind,
        sources=" and ".join(sources),
        license=" ".join(filter(None, (license and f"License: {license}.", terms))) or "No license was given.",
    )


def draw(run: RunFolder, images: int, *, trust_plugins: bool) -> dict[str, str]:
    """Draws images into the folder of a run, and returns captions by file."""
    recipe = load_recipe(run.recipe, trust_plugins=trust_plugins)
    about = f"rule {recipe.sampling.rule.name}, seed 0, not selected"
    with tempfile.TemporaryDirectory(prefix="auxar-") as temporary:
        drawn = sample(run, images=images, seed=0, out=Path(temporary, "samples"), trust_plugins=trust_plugins)
        found = [file for file in PICTURES if (drawn / file).is_file()]
        for file in found:
            shutil.copyfile(drawn / file, run.path / file)
    return {file: f"{PICTURES[file]} ({about})" for file in found}


def _results(summary: RunSummary | None, data: str, kind: str) -> list[EvalResult] | None:
    """The held-out bits/dim, whose kind has some words, for the hub; None if they are unknown."""
    if summary is None or summary.bits_per_dim is None:
        return None
    result = EvalResult(
        task_type=TASK,
        dataset_type=data or "images",
        dataset_name=data or "held-out images",
        metric_type="bits/dim",
        metric_name=f"bits/dim ({kind})",
        metric_value=round(summary.bits_per_dim, 5),
    )
    return [result]


def _example(config: Any) -> str:
    """A condition of the model, as Python code."""
    names = config.names or config.columns
    values = {"label": repr(names[0]) if names else "0", "attributes": repr(list(names[:1]))}
    return values.get(config.kind, repr(f"{config.kind}.png"))
