"""Whether a process that trains for long grows: memory and open files, while the quickstart is run again and again.

    python tests/benchmarks/soak.py --minutes 30 --out docs/generate/soak.json

Runs recipes/quickstart.toml to its report in this one process, into a new folder each time, until the minutes are over;
the run in progress then is asked to end, as by a signal, and saves. Prints, for each run, its highest and its mean
resident memory and the open files at its end, and how both changed from the second run to the last: in the first,
libraries take what they keep. `--out` keeps the course of both, from which docs/ draws its picture.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path

import psutil

from auxar.distributed.signals import Interrupted, heeding_signals
from auxar.pipeline import run as run_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.toml"
EVERY = 1.0
"""Seconds between two looks."""
ROWS = 360
"""Rows that are kept of the course."""
Row = tuple[float, int, int, int]


def watch(rows: list[Row], runs: list[Path], over: threading.Event) -> None:
    """Adds rows of (seconds, number of the run, bytes resident, open files) until it is over."""
    process, started = psutil.Process(), time.monotonic()
    while not over.wait(EVERY):
        rows.append((time.monotonic() - started, len(runs), process.memory_info().rss, process.num_fds()))


def soak(minutes: float, settings: list[str]) -> list[Row]:
    """The course of memory and open files."""
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
    """One entry for each run."""
    found = []
    for run in sorted({row[1] for row in rows} - {0}):
        own = [row for row in rows if row[1] == run]
        found.append(
            {
                "run": run,
                "minutes": (own[-1][0] - own[0][0]) / 60,
                "highest_mb": max(row[2] for row in own) / 1e6,
                "mean_mb": statistics.fmean(row[2] for row in own) / 1e6,
                "open_files": own[-1][3],
            }
        )
    return found


def main() -> None:
    """Prints the table, and keeps the course if it is to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys of the recipe")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the course as JSON")
    options = parser.parse_args()
    rows = soak(options.minutes, options.set)
    runs = summary(rows)
    print("run  minutes  highest MB  mean MB  open files")
    for entry in runs:
        print(
            f"{entry['run']:>3}  {entry['minutes']:>7.1f}  {entry['highest_mb']:>10.1f}  {entry['mean_mb']:>7.1f}  "
            f"{entry['open_files']:>10}"
        )
    whole = runs[1:-1]  # The last one was cut off.
    if len(whole) > 1:
        for key in ("highest_mb", "mean_mb", "open_files"):
            print(f"{key}: {whole[-1][key] - whole[0][key]:+.1f} from run {whole[0]['run']} to run {whole[-1]['run']}")
    if options.out is not None:
        step = max(1, -(-len(rows) // ROWS))
        course = [
            [round(seconds, 1), run, round(resident / 1e6, 1), files] for seconds, run, resident, files in rows[::step]
        ]
        facts = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "columns": ["s", "run", "MB", "files"]}
        options.out.write_text(json.dumps({**facts, "rows": course}, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with heeding_signals():
        main()
