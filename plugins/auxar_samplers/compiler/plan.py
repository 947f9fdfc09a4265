"""Which values a cached sampler computes for a whole row at once and which pixel by pixel, and when.

A value at stride s has one place for each s × s pixels and is computed where both row and column divide by s. What
depends on rows above alone is computed for a row at once; the rest as its column is reached, or, with lead -1, one
column later, when the pixel itself is known.
"""

from __future__ import annotations

import math

import attrs

from auxar import CausalNetwork
from auxar_samplers.compiler.trace import NoScheduleError, Term, Trace, Value, trace


@attrs.frozen
class Plan:
    """A network's values with their places."""

    trace: Trace
    height: int
    width: int
    strides: dict[Value, int]
    leads: dict[Value, int]
    """Leads of the values that are computed pixel by pixel: 0 or -1."""

    def by_pixel(self, value: object) -> bool:
        """Whether a value is computed pixel by pixel."""
        return value in self.leads

    def size(self, stride: int) -> tuple[int, int]:
        """(height, width) at a stride."""
        return -(-self.height // stride), -(-self.width // stride)

    @property
    def period(self) -> int:
        """The least common multiple of the strides: rows and columns that are as far apart are treated alike."""
        return math.lcm(*self.strides.values())

    def rows_at_once(self, term: Term) -> list[int]:
        """The rows that a term reads which are complete before the row of its result is begun."""
        return [up for up, _ in term.rows if up or not self.by_pixel(term.source)]


def make_plan(network: CausalNetwork) -> Plan:
    """The plan of a network. Raises `NoScheduleError` for one that cannot be drawn pixel by pixel from caches."""
    traced = trace(network)
    plan = Plan(traced, *network.image.shape[1:], {traced.image: 1}, {traced.image: -1})
    for value in traced.values[1:]:
        plan.strides[value] = _stride(plan, value)
        lead = _lead(plan, value)
        if lead is not None:
            if lead < -1 or (lead and plan.strides[value] > 1):
                raise NoScheduleError(f"{value.name} depends on the pixel itself or on one to its right")
            plan.leads[value] = lead
    if plan.strides[traced.output] != 1:
        raise NoScheduleError("the prediction is coarser than the image")
    if plan.leads.get(traced.output, 0) < 0:
        raise NoScheduleError("a prediction depends on the pixel itself or on one to its right")
    return plan


def _stride(plan: Plan, value: Value) -> int:
    if value.kind == "growth":
        stride, rest = divmod(plan.strides[value.sources[0]], value.factor)
        if not rest and value.arguments[1:] != plan.size(stride):
            raise NoScheduleError(f"the layer {value.name} grows to {value.arguments[1:]}, not to {plan.size(stride)}")
        if rest or (value.overlaps and plan.by_pixel(value.sources[0])):
            raise NoScheduleError(f"the layer {value.name} grows what has not shrunk, or mixes columns to the right")
        return stride
    found = {plan.strides[source] for source in value.arguments if isinstance(source, Value)}
    found.update(plan.strides[term.source] * term.stride for term in value.terms if isinstance(term.source, Value))
    if len(found) > 1:
        raise NoScheduleError(f"{value.name} takes values of several resolutions")
    return found.pop()


def _lead(plan: Plan, value: Value) -> int | None:
    """The lead of a value, or None if rows above alone decide it."""
    found = [plan.leads[source] for source in value.arguments if isinstance(source, Value) and plan.by_pixel(source)]
    for term in value.terms:
        if isinstance(term.source, Value) and len(plan.rows_at_once(term)) < len(term.rows):
            last = term.columns[0] + term.weight.shape[3] - 1
            found.append(min(0, plan.leads[term.source] - last))
    return min(found) if found else None
