"""A recording of tensor operations on the CPU that behaves like a CUDA graph."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ATEN = torch.ops.aten
READS = {
    ATEN._local_scalar_dense.default,
    ATEN.is_nonzero.default,
    ATEN.equal.default,
    ATEN.nonzero.default,
    ATEN.masked_select.default,
}
"""Operations that wait for a GPU, because the host needs values or the number of values."""
INDEXED = {ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default}
"""Operations that do so if an index is a mask."""


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Tape(TorchDispatchMode):
    """Records operations and the tensors that they read and write.

    Like a GPU that records a CUDA graph, it leaves the tensors as they were, raises `RuntimeError` if the host reads a
    value, and repeats the operations without the Python code that called them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.replays = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        masks = func in INDEXED and any(index is not None and index.dtype == torch.bool for index in args[1])
        if func in READS or masks:
            raise RuntimeError(f"{func} needs values on the host")
        for schema, value in zip(func._schema.arguments, args, strict=False):
            if schema.alias_info is not None and schema.alias_info.is_write:
                self._keep(value)
        if isinstance(kwargs.get("out"), Tensor):
            self._keep(kwargs["out"])
        made = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, made))
        return made

    def _keep(self, tensor: Tensor) -> None:
        if _storage(tensor) not in self.before:
            whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
            self.before[_storage(tensor)] = whole, whole.clone()

    def restore(self) -> None:
        for whole, before in self.before.values():
            whole.copy_(before)

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, made in self.operations:
            for old, new in zip(tree_leaves(made), tree_leaves(func(*args, **kwargs)), strict=True):
                # Views and results of operations in place share the memory of the recorded results.
                if isinstance(old, Tensor) and _storage(old) != _storage(new):
                    old.copy_(new)


class TapeRecorder:
    """Records functions on tapes, in place of `record_on_gpu`."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        tape = Tape()
        try:
            with tape:
                function()
        finally:
            tape.restore()
        self.tapes.append(tape)
        return tape.replay
