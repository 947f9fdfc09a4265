"""A tracer of networks with `torch.fx` that other threads do not disturb."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, fx, nn


class ThreadSafeTracer(fx.Tracer):
    """Traces one network at a time, and leaves modules alone that other threads run meanwhile.

    While it traces, `torch.fx` replaces the call of every module of the process. Calls in other threads are no part of
    the traced network.
    """

    _lock: ClassVar[threading.RLock] = threading.RLock()
    _thread: int

    def trace(self, root: nn.Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """Traces a network. `concrete_args` are the values of arguments that are constants in the graph."""
        with self._lock:
            self._thread = threading.get_ident()
            return super().trace(root, concrete_args)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Records the call of a module, or runs it if another thread calls it."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Tensor | Any:
        """Records the use of a parameter, or returns it if another thread uses it."""
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)
