"""Groups of instructions that the library computes for a few rows at a time."""

import itertools
from collections.abc import Iterable, Iterator, Set

from auxar_samplers.compiler.program import Instruction, Keep, Product, Program, Scratch, Storage, Table, Window


def groups_of(instructions: tuple[Instruction, ...]) -> Iterator[list[Instruction]]:
    """Divides a list into groups, whose instructions may be computed for some rows before they begin with other rows.

    An instruction begins a new group if it reads other rows of a ring, or a table, that the group writes, or if it
    writes a ring of which the group reads other rows, or a table that the group reads. A group has one clock.
    """
    group, read = list[Instruction](), set[int]()
    for each in instructions:
        windows = _of_other_rows(each)
        writes = each.output.values.data_ptr() in read
        ends = group and (alone(each) or alone(group[-1]) or each.clock != group[0].clock or writes)
        if ends or _depends(each, windows, group):
            yield group
            group, read = [], set()
        group.append(each)
        read |= tables_of([each]) | {x.ring.values.data_ptr() for x in windows}
    yield group


def alone(instruction: Instruction) -> bool:
    """Whether an instruction has a group of its own, because it writes to rows of other slots or reads whole rows."""
    return isinstance(instruction, Keep) or (
        isinstance(instruction, Product) and (instruction.phase, instruction.stride) != (0, 1)
    )


def _depends(instruction: Instruction, windows: list[Window], group: list[Instruction]) -> bool:
    """Whether an instruction reads other rows of a ring, or a table, that the group before it writes."""
    written = {each.output for each in group}
    # The newest entry of a window was written `delay` modulo `capacity` positions ago, 0 for one of this step.
    newest = any(x.delay % x.ring.capacity < x.length for x in windows if x.ring in written)
    # The memory of a table may be that of storage.
    tables = tables_of([instruction])
    return newest or any(each.values.data_ptr() in tables for each in written if tables)


def _of_other_rows(instruction: Instruction) -> list[Window]:
    """The windows of other slots that an instruction reads."""
    windows = [x for x in getattr(instruction, "operands", ()) if isinstance(x, Window)]
    return [x for x in windows if (x.shift, x.stride) != (0, 1)]


def tables_of(instructions: Iterable[Instruction]) -> set[int]:
    """The addresses of the tables that instructions read. They may be those of storage."""
    read = itertools.chain(*((*getattr(x, "operands", ()), getattr(x, "initial", None)) for x in instructions))
    return {each.values.data_ptr() for each in read if isinstance(each, Table)}


def local_places(program: Program, groups: list[list[Instruction]], shared: Set[int]) -> tuple[dict[Storage, int], int]:
    """Numbers of places for scratches that are used by one group alone, and the number of places.

    Scratches that are not needed at the same time have the same place. `shared` has addresses of memory that tables
    share.
    """
    found, count = dict[Storage, int](), 0
    if len(program.lists) > 1:  # Lists may share scratches.
        return found, count
    used = [[{each.output, *getattr(each, "operands", ())} for each in group] for group in groups]
    for number, group in enumerate(groups):
        others = {program.output, program.pixels}.union(*(x for k, one in enumerate(used) if k != number for x in one))
        free = list[int]()
        for k, each in enumerate(group):
            own, later = each.output, set[Storage]().union(*used[number][k + 1 :])
            earlier = set[Storage]().union(*used[number][:k])
            fits = isinstance(own, Scratch) and own not in others and own.values.data_ptr() not in shared
            if fits and own in later and own not in earlier and not alone(each):
                free = free or [(count := count + 1) - 1]
                found[own] = free.pop()
            free += [found[x] for x in used[number][k] if x in found and x not in later]
    return found, count
