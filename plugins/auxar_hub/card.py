"""The card of a model on the Hugging Face hub: its README.md, with metadata that the hub reads."""

from __future__ import annotations

import re
import shutil
import tempfile
from itertools import takewhile
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from auxar import MeasuredRun, Recipe, RunFolder, RunSummary, load_recipe, sample

TASK = "unconditional-image-generation"
KINDS = {"exact": "exact", "bound": "an upper bound"}
"""The meaning of bits/dim in words."""
PICTURES = {"samples.png": "Samples", "growth.png": "Samples from coarse to fine"}
"""The sheets of drawn images on a card, and their contents."""
SENTENCE = re.compile(r"(?<!\bal)\.\s+(?=[A-Z(])")
"""The end of a sentence. The period of "et al." ends no sentence."""

TEXT = """
# {title}

{purpose}

A likelihood-based model of images of {image}, made with auxar, a framework after Kolesnikov & Lampert 2017
([PixelCNN Models with Auxiliary Variables](https://proceedings.mlr.press/v70/kolesnikov17a.html)).
{pictures}
## Use

With auxar installed, this command draws images:

```sh
auxar sample {name} -n 16{trust_command}
```

In Python:

```python
import auxar

model = auxar.load("{name}"{trust_python})
images = model.sample(4{condition})
images.save("samples.png")
model.bits_per_dim(images{condition})
```
{about_condition}{plugins}
## Bits/dim

{likelihoods}

## Data

{data}

## License

{license}
"""

MOST_NAMES = 100
"""Maximum number of names of classes or attributes on a card."""
PLUGINS = """
The model needs the plugin files in `plugins/`. They are code, which runs with your rights, so they are loaded only on
request. Read them first, and name the commit that you have read, as in `user/name@commit`.
"""


def card(name: str, run: RunFolder, license: str | None, captions: dict[str, str], *, trust_plugins: bool) -> str:
    """The text of the card of an exported run.

    `name` is the repository, `user/name`. `license` is the identifier of a license as the hub knows it, such as "mit".
    `captions` has a caption for each picture.
    """
    recipe, _ = load_recipe(run.recipe, trust_plugins=trust_plugins)
    summary = MeasuredRun(run.path).summary if run.evaluation.is_file() else None
    title, local = name.rpartition("/")[2], Path(recipe.data.path).is_absolute()
    purpose, terms = _header(run.recipe.read_text(encoding="utf-8"))
    metadata = ModelCardData(
        license=license,
        library_name="auxar",
        pipeline_tag=TASK,
        tags=["auxar", "autoregressive", "image-generation"],
        model_name=title,
        eval_results=_results(summary, "" if local else recipe.data.path),
    )
    text = TEXT.format(
        title=title,
        name=name,
        purpose=purpose or "A model of images.",
        image=recipe.image,
        pictures="".join(f"\n![{caption}]({file})\n\n*{caption}*\n" for file, caption in captions.items()),
        condition=_argument(recipe),
        about_condition=_about_condition(recipe),
        plugins=PLUGINS if recipe.plugins else "",
        trust_command=" --trust-plugins" if recipe.plugins else "",
        trust_python=", trust_plugins=True" if recipe.plugins else "",
        likelihoods=_table(summary),
        data=f"It was trained on {'images of its author' if local else f'`{recipe.data.path}`'}.",
        license=" ".join(filter(None, (license and f"License: {license}.", terms))) or "No license was given.",
    )
    return f"---\n{metadata.to_yaml()}\n---\n{text}"


def draw(run: RunFolder, images: int, *, trust_plugins: bool) -> dict[str, str]:
    """Draws images into the folder of a run, and returns captions by file."""
    recipe, _ = load_recipe(run.recipe, trust_plugins=trust_plugins)
    about = f"rule {recipe.sampling.rule.name}, seed 0, not selected"
    with tempfile.TemporaryDirectory(prefix="auxar-") as temporary:
        drawn = sample(run, images=images, seed=0, out=Path(temporary, "samples"), trust_plugins=trust_plugins)
        found = [file for file in PICTURES if (drawn / file).is_file()]
        for file in found:
            shutil.copyfile(drawn / file, run.path / file)
    return {file: f"{PICTURES[file]} ({about})" for file in found}


def _header(text: str) -> tuple[str, str]:
    """The first sentence of the comment at the beginning of a recipe, and its paragraph about the license."""
    comment = takewhile(lambda line: line.startswith("#"), text.splitlines())
    lines = [line.removeprefix("#").strip() for line in comment if not line.startswith("#:")]
    paragraphs = [" ".join(each.split()) for each in re.split(r"\n\n|\n(?=[A-Z]\w+: )", "\n".join(lines))]
    purpose = SENTENCE.split(paragraphs[0], maxsplit=1)[0].removesuffix(".")
    terms = [each.removeprefix("License: ") for each in paragraphs if each.startswith("License: ")]
    return f"{purpose}." if purpose else "", "".join(terms[:1])


def _results(summary: RunSummary | None, data: str) -> list[EvalResult] | None:
    """The held-out bits/dim for the hub; None if they are unknown."""
    if summary is None or summary.bits_per_dim is None:
        return None
    result = EvalResult(
        task_type=TASK,
        dataset_type=data or "images",
        dataset_name=data or "held-out images",
        metric_type="bits/dim",
        metric_name=f"bits/dim ({KINDS[summary.kind]})",
        metric_value=round(summary.bits_per_dim, 5),
    )
    return [result]


def _table(summary: RunSummary | None) -> str:
    """The bits/dim of the model and of its factors."""
    if summary is None:
        return "The model was not evaluated."
    factors = [(each.factor, f"{each.steps:,}", each) for each in summary.factors]
    measured: list[tuple[str, str, Any]] = [*factors, (f"total, {KINDS[summary.kind]}", "", summary)]
    rows = [
        f"| {name} | {steps} | {each.bits_per_dim:.4f} ± {each.standard_error or 0:.4f} |"
        for name, steps, each in measured
        if each.bits_per_dim is not None
    ]
    lead = f"On {summary.heldout_images:,} held-out images:\n\n| factor | steps | bits/dim |\n|---|---|---|\n"
    return lead + "\n".join(rows)


def _argument(recipe: Recipe) -> str:
    """The argument of the functions of the model that gives its condition, with a comma before it."""
    config = recipe.condition
    if config is None:
        return ""
    names = config.names or config.columns
    values = {"label": repr(names[0]) if names else "0", "attributes": repr(list(names[:1]))}
    return f", condition={values.get(config.kind, repr(f'{config.kind}.png'))}"


def _about_condition(recipe: Recipe) -> str:
    """A paragraph about the condition of the model."""
    config = recipe.condition
    if config is None:
        return ""
    names = config.names or config.columns
    shown = ", ".join(f"`{name}`" for name in names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
    of = {"label": "a label", "attributes": "attributes", "mask": "a mask", "image": "an image"}[config.kind]
    text = f"The model is given {of} with each image" + (f": {shown}." if shown else ".")
    optional = " Without `condition`, it is given none." if config.drop else ""
    return f"\n{text}{optional}\n"
