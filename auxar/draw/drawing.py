"""The loop that draws images by a plan, in batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor

from auxar.draw.images import Images
from auxar.draw.plan import Plan
from auxar.model import Chain, device_of, evaluating
from auxar.progress import BAR_DELAY, progress_bar


@attrs.frozen(eq=False)
class Drawn:
    """A batch of drawn images."""

    numbers: tuple[int, ...]
    views: list[Tensor]
    """The images and the views that they were drawn from, by depth: int64, (b, *spec.shape), on the model's device. If
    a view was given, it is the last."""
    condition: Tensor | None
    """The condition of each image; None for the null condition."""


def batches(
    model: Chain, plan: Plan, numbers: Sequence[int] | None = None, *, progress: bool = True, delay: float = BAR_DELAY
) -> Iterator[Drawn]:
    """Draws the images of a plan, or those of them with some numbers, `plan.batch_size` at a time.

    With `progress`, a progress bar is shown if drawing takes longer than `delay` seconds.
    """
    numbers = plan.numbers if numbers is None else numbers
    started, done = time.perf_counter(), 0
    with progress_bar(
        total=len(numbers), desc="sampling", unit="image", disable=not progress, delay=delay, leave=not delay
    ) as bar:
        for start in range(0, len(numbers), plan.batch_size):
            drawn = _draw(model, plan, numbers[start : start + plan.batch_size])
            yield drawn
            done += len(drawn.numbers)
            speed = done * model.image.height * model.image.width / (time.perf_counter() - started)
            bar.set_postfix_str(f"{speed:,.0f} pixel/s", refresh=False)
            bar.update(len(drawn.numbers))


def drawn(model: Chain, plan: Plan, *, progress: bool = False) -> list[Tensor]:
    """Draws all images of a plan: they and the views that they were drawn from, by depth, int64 on the CPU."""
    found = [[view.cpu() for view in batch.views] for batch in batches(model, plan, progress=progress)]
    if not found:
        specs = model.specs if plan.from_depth is None else model.specs[: plan.from_depth + 1]
        return [torch.empty((0, *spec.shape), dtype=torch.int64) for spec in specs]
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


@torch.no_grad()
def _draw(model: Chain, plan: Plan, numbers: Sequence[int]) -> Drawn:
    device = device_of(model)
    request = plan.request(numbers, device)
    with evaluating(model):
        if plan.view is None or plan.from_depth is None:
            views = model.draw_views(request, plan.sampler)
        else:
            view = plan.view[plan.rows(numbers)].to(device)
            views = model.draw_from(view, request, plan.sampler, from_depth=plan.from_depth)
    return Drawn(request.numbers, views, request.condition)


def linked(model: Chain, views: Sequence[Tensor]) -> Images:
    """Converts images and their views, which are given by depth, to `Images` that hold their views."""
    found: Images | None = None
    for tensor, spec in reversed(list(zip(views, model.specs, strict=False))):
        found = Images(tensor, spec, found, values=model.picture_values)
    assert found is not None
    return found
