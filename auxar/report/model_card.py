"""The card of a model on the Hugging Face hub: its README.md, with metadata that the hub reads."""

from __future__ import annotations

from auxar.evaluation.records import Evaluation
from auxar.recipe import Recipe
from auxar.report import words
from auxar.report.text import evaluation_lines

TAGS = ("auxar", "autoregressive", "image-generation")
LIBRARY = "auxar"
TASK = "unconditional-image-generation"

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


def model_card(
    name: str,
    recipe: Recipe,
    evaluation: Evaluation | None,
    *,
    purpose: str,
    license: str | None,
    terms: str,
    pictures: dict[str, str],
) -> str:
    """Returns the text of the card.

    `name` is that of the repository, `user/name`. `recipe` is without absolute paths, as `auxar export` writes it.
    `purpose` describes the model in a sentence. `license` is the identifier of a license as the hub knows it, such as
    "mit", and `terms` more about it. `pictures` has a caption for each file.
    """
    # The import takes a fraction of a second, which other commands do not need.
    from huggingface_hub import EvalResult, ModelCardData

    results = None
    if evaluation is not None and (found := evaluation.bits_per_dim.get("heldout")) is not None:
        results = [
            EvalResult(
                task_type=TASK,
                dataset_type="images" if _is_local(recipe) else recipe.data.path,
                dataset_name="held-out images" if _is_local(recipe) else recipe.data.path,
                metric_type="bits/dim",
                metric_name=f"bits/dim ({words.KINDS[evaluation.kind].name})",
                metric_value=round(found, 5),
            )
        ]
    title = name.rpartition("/")[2]
    metadata = ModelCardData(
        license=license,
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=list(TAGS),
        model_name=title,
        eval_results=results,
    )
    shown = "".join(f"\n![{caption}]({file})\n\n*{caption}*\n" for file, caption in pictures.items())
    text = TEXT.format(
        title=title,
        name=name,
        purpose=purpose or "A model of images.",
        image=recipe.image,
        pictures=shown,
        condition=_argument(recipe),
        about_condition=_about_condition(recipe),
        plugins=PLUGINS if recipe.plugins else "",
        trust_command=" --trust-plugins" if recipe.plugins else "",
        trust_python=", trust_plugins=True" if recipe.plugins else "",
        likelihoods=_likelihoods(evaluation),
        data="It was trained on images of its author."
        if _is_local(recipe)
        else f"It was trained on `{recipe.data.path}`.",
        license=_license(license, terms),
    )
    return f"---\n{metadata.to_yaml()}\n---\n{text}"


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


def _is_local(recipe: Recipe) -> bool:
    """Whether the images are files of the author's machine, whose path means nothing to others."""
    return recipe.data.path.startswith(("./", "/", "~"))


def _license(license: str | None, terms: str) -> str:
    if not license and not terms:
        return "No license was given."
    return " ".join(([f"License: {license}."] if license else []) + ([terms] if terms else []))


def _likelihoods(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "The model was not evaluated."
    return "```text\n" + "\n".join(evaluation_lines(evaluation)) + "\n```"
