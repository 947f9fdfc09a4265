"""auxar: auxiliary-variable autoregressive image models, p(X, X̂) = p(X̂) p(X | X̂).

>>> import auxar
>>> model = auxar.load("runs/quickstart")  # doctest: +SKIP
>>> images = model.sample(4, rule="ancestral", seed=0)  # doctest: +SKIP
>>> model.bits_per_dim(images)  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auxar.runs.folder import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # Plugins import `auxar.interfaces`; what opens runs, and with it the plugins, is only loaded when asked for.
    if name == "load":
        from auxar.runs.folder import load

        return load
    raise AttributeError(f"module 'auxar' has no attribute '{name}'")
