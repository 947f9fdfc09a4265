"""Builds of the native library for smaller instruction sets than those of this processor."""

import contextlib
import os
import platform
import shlex
import subprocess
from collections.abc import Iterator

import pytest
from benchmarks.instruction_sets import FLAGS, missing_features

from auxar_samplers.engines.native.library import attempt, library

NATIVE = "native"
SETS = [NATIVE, *FLAGS]
"""The build that users have, and one for each instruction set."""


@contextlib.contextmanager
def built_for(name: str) -> Iterator[None]:
    """Lets the native engine use a library for an instruction set. Skips the test if this machine cannot run it.

    Models and steps that have been run before keep addresses of the other library, so tests make new ones.
    """
    with pytest.MonkeyPatch.context() as patch:
        if name != NATIVE:
            if platform.machine() not in ("x86_64", "AMD64") or (missing := missing_features(name)):
                pytest.skip(f"this processor does not have the instruction set {name} ({', '.join(sorted(missing))})")
            # Without optimizations, compiling takes a quarter of the time, and intrinsic functions stay what they are.
            flags = f"{FLAGS[name]} -O0"
            command = [*shlex.split(os.environ.get("CXX", "c++")), *flags.split(), "-E", "-x", "c++", os.devnull]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip(f"the C++ compiler does not know the instruction set {name}")
            patch.setenv("AUXAR_CXXFLAGS", flags)
        attempt.cache_clear()
        library()
        yield
    attempt.cache_clear()
