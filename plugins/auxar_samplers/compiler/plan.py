"""The plan of the cached sampler: which values are computed for a whole row and which pixel by pixel, and when.

A value at stride s has one place for each s × s pixels, and is computed at rows and columns that are multiples of s.
Values that depend only on rows above are computed for a whole row at once, and all others pixel by pixel. A value with
lead 0 is computed when its column is reached. A value that depends on its own pixel has lead -1 and is computed one
column later.
"""

from __future__ import annotations

import math

import attrs

from auxar import CausalNetwork
from auxar_samplers.compiler.trace import NOT_CAUSAL, NoScheduleError, Term, Trace, Value, trace


@attrs.frozen
class Plan:
    """The traced values of a network, with their strides and leads."""

    trace: Trace
    height: int
    width: int
    strides: dict[Value, int]
    """The stride of each value, in pixels. It is 1 at the resolution of the image."""
    leads: dict[Value, int]
    """The lead of each value that is computed pixel by pixel: 0, or -1 if it is computed one column later."""

    def by_pixel(self, value: object) -> bool:
        """Whether a value is computed pixel by pixel."""
        return value in self.leads

    def size(self, stride: int) -> tuple[int, int]:
        """The size (height, width) of values at a stride."""
        return -(-self.height // stride), -(-self.width // stride)

    @property
    def period(self) -> int:
        """The least common multiple of the strides. Instructions repeat with this period along rows and columns."""
        return math.lcm(*self.strides.values())

    def rows_at_once(self, term: Term) -> list[int]:
        """The kernel rows of a term, as numbers of rows above, that are complete before the current row begins."""
        return [up for up, _ in term.rows if up or not self.by_pixel(term.source)]


def make_plan(network: CausalNetwork) -> Plan:
    """Makes the plan of a network. Raises `NoScheduleError` if the cached sampler does not support the network."""
    traced = trace(network)
    plan = Plan(traced, *network.image.shape[1:], {traced.image: 1}, {traced.image: -1})
    for value in traced.values[1:]:
        plan.strides[value] = _stride(plan, value)
        lead = _lead(plan, value)
        if lead is not None:
            if lead < -1 or (lead and plan.strides[value] > 1):
                raise NoScheduleError(
                    f"{value.name} depends on a pixel to its right or, at a lower resolution, on its own pixel"
                )
            plan.leads[value] = lead
    if plan.strides[traced.output] != 1:
        raise NoScheduleError("the network's prediction has a lower resolution than the image")
    if plan.leads.get(traced.output, 0) < 0:
        raise NoScheduleError(NOT_CAUSAL)
    return plan


def _stride(plan: Plan, value: Value) -> int:
    if value.kind == "growth":
        stride, rest = divmod(plan.strides[value.sources[0]], value.factor)
        if not rest and value.arguments[1:] != plan.size(stride):
            raise NoScheduleError(
                f"the layer {value.name} upsamples to the size {value.arguments[1:]}, expected {plan.size(stride)}"
            )
        if rest or (any(value.layer.overlap) and plan.by_pixel(value.sources[0])):
            raise NoScheduleError(
                f"the factor of the layer {value.name} must divide the stride of its input, "
                "and its overlap must be (0, 0) unless its input depends only on rows above"
            )
        return stride
    found = {plan.strides[source] for source in value.arguments if isinstance(source, Value)}
    found.update(plan.strides[term.source] * term.stride for term in value.terms if isinstance(term.source, Value))
    if len(found) > 1:
        raise NoScheduleError(f"{value.name} combines values of different resolutions (strides {sorted(found)})")
    return found.pop()


def _lead(plan: Plan, value: Value) -> int | None:
    """The lead of a value, or None if the value depends only on rows above."""
    found = [plan.leads[source] for source in value.arguments if isinstance(source, Value) and plan.by_pixel(source)]
    for term in value.terms:
        if isinstance(term.source, Value) and len(plan.rows_at_once(term)) < len(term.rows):
            last = term.columns[0] + term.weight.shape[3] - 1
            found.append(min(0, plan.leads[term.source] - last))
    return min(found) if found else None
