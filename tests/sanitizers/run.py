"""Runs tests of the native engine with a library that checks its own memory accesses and threads.

    python tests/sanitizers/run.py
    python tests/sanitizers/run.py --sanitizer thread -k several

The library is compiled with GCC's address and undefined-behavior sanitizers, and then with its thread sanitizer, which
needs Linux. Python and PyTorch are compiled without them, so only reports that name the library count. The
exit status is 1 if there is one, or if a test fails. Other options are those of pytest.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1] / "plugins" / "auxar_samplers"
CODING = Path(__file__).parents[1] / "model" / "test_factor_coder.py"
PLUGINS = Path(__file__).parents[2] / "plugins"
CHOSEN = "(native or thread or integer_products or test_samplers or forced) and not (forked or compiled_anew)"
"""The thread sanitizer starts threads of its own in forked processes, and compilers fail under it."""
SANITIZERS = {"address": ("-fsanitize=address,undefined", "libasan.so"), "thread": ("-fsanitize=thread", "libtsan.so")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sanitizer", choices=[*SANITIZERS], action="append", help="default: both, one after another")
    options, others = parser.parse_known_args()
    if shutil.which("g++") is None or sys.platform != "linux":
        sys.exit("the sanitizers need Linux and g++")
    results = [_run(name, others or ["-k", CHOSEN]) for name in options.sanitizer or SANITIZERS]
    sys.exit(not all(results))


def _run(name: str, options: list[str]) -> bool:
    """Runs the tests with one sanitizer. Returns whether they passed without a report about the library."""
    flags, library = SANITIZERS[name]
    found = subprocess.run(["g++", f"-print-file-name={library}"], capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory(prefix="auxar-") as folder:
        settings = f"log_path={folder}/report:detect_leaks=0"
        environment = os.environ | {
            "CXX": "g++",
            "AUXAR_CXXFLAGS": f"-march=native -g -fno-omit-frame-pointer {flags}",
            "XDG_CACHE_HOME": folder,
            "LD_PRELOAD": found.stdout.strip(),
            "ASAN_OPTIONS": settings,
            "TSAN_OPTIONS": f"{settings}:exitcode=0",  # PyTorch has reports, too
            "UBSAN_OPTIONS": f"{settings}:print_stacktrace=1",
        }
        # The thread sanitizer needs the addresses that programs have without randomization.
        command = ["setarch", "-R", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run([*command, str(TESTS), str(CODING), *options], env=environment, check=False)
        compiled = list(Path(folder).glob("auxar/*.so"))
        reports = [path.read_text() for path in Path(folder).glob("report.*")]
    ours = [each for report in reports for each in _reports(report)]
    for each in ours:
        print(each)
    print(f"{name}: {len(ours)} reports about the library, {len(compiled)} libraries, pytest: status {done.returncode}")
    return done.returncode == 0 and bool(compiled) and not ours


def _reports(log: str) -> list[str]:
    """The reports that name the library or one of its files."""
    names = ["/sampler-", *(f"{path.name}:" for path in PLUGINS.rglob("*") if path.suffix in (".cpp", ".h"))]
    parts = re.split(r"(?m)^={10,}\n|^(?=.*runtime error)", log)
    return [part for part in parts if any(name in part for name in names)]


if __name__ == "__main__":
    main()
