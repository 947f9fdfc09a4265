"""Autoregressive image models with auxiliary variables: p(X, X̂) = p(X̂) p(X | X̂) for a view X̂ = ψ(X) of an image X.

>>> import auxar
>>> model = auxar.load("runs/quickstart")
>>> images = model.sample(4, rule="ancestral", seed=0)
>>> images.shape, model.bits_per_dim(images).shape
((4, 3, 32, 32), torch.Size([4]))

`load` loads a trained model as an `ImageModel`; `run` trains the model of a recipe, evaluates it and draws samples.
Most other commands are functions, too: `sample`, `evaluate`, `compare`. Plugins implement `View`,
`CausalNetwork`, `Head` and other interfaces, and register them as a `Component`. The site's section
on Python describes every name.
"""

import importlib
import re
from pathlib import Path

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_MODULES = {name: module for module, name in re.findall(r"^from (\S+) import (\w+) as", _STUB, re.MULTILINE)}
__all__ = [name for name, module in _MODULES.items() if module != "auxar"]  # `testing` needs hypothesis.


def __getattr__(name: str) -> object:
    # Names are imported on first use, so `import auxar` is fast and a plugin imports only the modules that it uses.
    if name not in _MODULES:
        return _command(name)
    if name not in __all__:
        return importlib.import_module(f"auxar.{name}")
    globals()[name] = value = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def _command(name: str) -> object:
    # A function or a command of a plugin is also a function of this package.
    from auxar.commandline import FUNCTIONS, commands

    entries = {} if name.startswith("_") else commands(FUNCTIONS) | commands()
    found = {each.replace("-", "_"): entry for each, entry in entries.items() if not entry.value.startswith("auxar.")}
    if name not in found:
        raise AttributeError(f"module 'auxar' has no attribute '{name}'")
    return found[name].load()


def __dir__() -> list[str]:
    # Without the names that this file imports for itself. Modules of the package that were imported are shown.
    return sorted({*globals(), *_MODULES} - {"Path", "importlib", "re"})
