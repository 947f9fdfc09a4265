"""Checks whether a process that runs the quickstart again and again leaks memory or open files.

    python tests/benchmarks/soak.py --minutes 30

Runs recipes/quickstart.toml to its report, each time into a new folder, until `--minutes` have passed. The process then
sends itself SIGTERM, so that the run in progress saves and ends. Prints the highest and the mean resident memory of
each run and its open files at the end, and how these changed from the second run to the last complete one. The first
run is left out because libraries allocate memory in it that they keep.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path

import psutil
from measuring import options_of

from auxar.commands.run import run as run_recipe
from auxar.work.signals import Interrupted, heeding_signals

RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.toml"
EVERY = 1.0
"""Seconds between two measurements."""
Row = tuple[float, int, int, int]


def watch(rows: list[Row], runs: list[Path], over: threading.Event) -> None:
    """Appends rows of (seconds, number of the run, resident bytes, open files) until `over` is set."""
    process, started = psutil.Process(), time.monotonic()
    while not over.wait(EVERY):
        rows.append((time.monotonic() - started, len(runs), process.memory_info().rss, process.num_fds()))


def soak(minutes: float, settings: list[str]) -> list[Row]:
    """Runs the quickstart until the minutes have passed; returns the rows that `watch` recorded."""
    rows: list[Row] = []
    runs: list[Path] = []
    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(rows, runs, over), daemon=True)
    end = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
    end.daemon = True
    watcher.start()
    end.start()
    with tempfile.TemporaryDirectory() as folder:
        try:
            while True:
                runs.append(Path(folder, f"run{len(runs)}"))
                run_recipe(RECIPE, out=runs[-1], settings=settings)
        except Interrupted:
            pass
        finally:
            over.set()
            watcher.join()
    return rows


def summary(rows: list[Row]) -> list[dict[str, float]]:
    """Returns one entry with the figures of each run."""
    found = []
    for run in sorted({row[1] for row in rows} - {0}):
        own = [row for row in rows if row[1] == run]
        memory = [row[2] / 1e6 for row in own]
        found.append(
            {
                "run": run,
                "minutes": (own[-1][0] - own[0][0]) / 60,
                "highest_mb": max(memory),
                "mean_mb": statistics.fmean(memory),
                "open_files": own[-1][3],
            }
        )
    return found


def main() -> None:
    """Prints the table."""
    settings = {"nargs": "+", "default": [], "metavar": "KEY=VALUE", "help": "change keys of the recipe"}
    options = options_of(__doc__, minutes=30.0, set=settings)
    rows = soak(options.minutes, options.set)
    runs = summary(rows)
    print("run  minutes  highest MB  mean MB  open files")
    for entry in runs:
        print(
            f"{entry['run']:>3}  {entry['minutes']:>7.1f}  {entry['highest_mb']:>10.1f}  {entry['mean_mb']:>7.1f}  "
            f"{entry['open_files']:>10}"
        )
    whole = runs[1:-1]  # The last run was cut off.
    if len(whole) > 1:
        for key in ("highest_mb", "mean_mb", "open_files"):
            print(f"{key}: {whole[-1][key] - whole[0][key]:+.1f} from run {whole[0]['run']} to run {whole[-1]['run']}")


if __name__ == "__main__":
    with heeding_signals():
        main()
