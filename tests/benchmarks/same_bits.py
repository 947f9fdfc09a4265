"""Runs the golden tests of integers with native libraries for several processors and compilers.

    python tests/benchmarks/same_bits.py
    python tests/benchmarks/same_bits.py --random     # also random networks, all samplers against each other
    python tests/benchmarks/same_bits.py --all        # also the samplers in PyTorch, which takes minutes for each row

Each row is one build of the library: its compiler, its flags, and the number of tests that found the recorded digests.
Builds that this processor cannot run are left out. With `--python`, another Python interpreter runs the tests, such as
one for another processor under emulation: `--python "qemu-aarch64-static -L ROOT ROOT/usr/bin/python3" --compiler
aarch64-linux-gnu-g++ --flags=-mcpu=cortex-a72`.
"""

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from instruction_sets import FLAGS, missing_features
from measuring import options_of

FOLDER = Path(__file__).parents[1] / "plugins" / "auxar_integers"
FILES = Path(__file__).parents[1] / "model" / "test_factor_coder.py"
BUILDS = {
    "-march=x86-64": None,
    **{flags: name for name, flags in FLAGS.items()},
    "-march=native -mprefer-vector-width=512": None,
    "-march=x86-64-v3 -O1 -ffp-contract=off": "avx2",
}
"""Flags for x86-64, and the instruction set that a processor needs to run the result, if all do not have it."""
NATIVE = "not wavefront-torch and not cached-torch and not raster"


def main() -> None:
    """Runs the tests for each build, and prints a row for each. Exits with status 1 if a test failed."""
    options = options_of(
        __doc__,
        python={"default": sys.executable, "help": "command of the Python interpreter"},
        compiler={"action": "append", "help": "C++ compiler (default: g++ and clang++)"},
        flags={"action": "append", "help": "flags of the compiler, in place of those for x86-64"},
        random={"action": "store_true", "help": "also run the tests of random networks"},
        all={"action": "store_true", "help": "also run the samplers in PyTorch"},
    )
    compilers = options.compiler or [name for name in ("g++", "clang++") if shutil.which(name)]
    failed, rows = False, 0
    print(f"{'compiler':<40}{'flags':<45}{'result':<30}seconds", flush=True)
    for compiler in compilers:
        for flags in options.flags or _flags():
            started = time.perf_counter()
            result, succeeded = _run(options, compiler, flags)
            rows, failed = rows + 1, failed or not succeeded
            seconds = time.perf_counter() - started
            print(f"{_version(compiler):<40}{flags:<45}{result:<30}{seconds:.0f}", flush=True)
    if not rows:
        sys.exit("nothing was tested: there is no compiler, or --flags is needed on this machine")
    sys.exit(failed)


def _flags() -> Iterator[str]:
    if platform.machine() in ("x86_64", "AMD64"):
        yield from (flags for flags, name in BUILDS.items() if name is None or not missing_features(name))


def _run(options: argparse.Namespace, compiler: str, flags: str) -> tuple[str, bool]:
    """Runs the tests with a library that is compiled anew.

    Returns the numbers of tests from the last line of pytest, and whether all of them passed with this library.
    """
    tests = [FOLDER / "test_golden.py", FILES, *([FOLDER / "test_same_integers.py"] if options.random else [])]
    chosen = [] if options.all else ["-k", NATIVE]
    command = [*shlex.split(options.python), "-m", "pytest", "-q", "-m", "slow or not slow", *chosen, *map(str, tests)]
    with tempfile.TemporaryDirectory(prefix="auxar-") as cache:
        environment = {**os.environ, "CXX": compiler, "AUXAR_CXXFLAGS": flags, "XDG_CACHE_HOME": cache}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if not list(Path(cache).glob("auxar/*.so")):
            print(done.stdout[-4000:], done.stderr[-2000:], file=sys.stderr)
            return "no library was compiled", False
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-2000:], file=sys.stderr)
    lines = done.stdout.strip().splitlines()
    result = re.sub(r" in .*|, \d+ deselected|=", "", lines[-1]).strip() if lines else f"status {done.returncode}"
    return result, done.returncode == 0


def _version(compiler: str) -> str:
    done = subprocess.run([*shlex.split(compiler), "--version"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0][:38] if done.stdout else compiler


if __name__ == "__main__":
    main()
