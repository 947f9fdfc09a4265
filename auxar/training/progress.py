"""Reports the progress of a factor's training as JSON lines, as a progress bar and to experiment trackers."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from auxar.distributed.group import Team
from auxar.errors import UserError
from auxar.files import append_line, is_file, parse_json, read_bytes, to_json, write_text
from auxar.interfaces import Factor
from auxar.recipe import TrainingConfig
from auxar.training.checkpoints import Progress
from auxar.training.remaining import StepBar

MOST_SKIPPED = 50
"""Maximum number of consecutive skipped steps. If more steps fail, the cause is the weights rather than a batch."""


class Meter:
    """Counts training steps, averages their losses and reports them. `resume` restores the state from a checkpoint."""

    def __init__(self, factor: Factor, config: TrainingConfig, path: Path, team: Team, total: int) -> None:
        self.factor = factor
        self.config = config
        self.path = path
        self.team = team
        self.total = total
        self.step = 0
        self.skipped = 0
        self.in_a_row = 0
        self.seconds = 0.0
        self.losses: list[float] = []
        self.last, self.last_step = time.perf_counter(), 0
        """Time and step of the last line of metrics, or of the start of training in this process."""
        self.bar: Any = None

    @property
    def progress(self) -> Progress:
        """The part of the meter's state that is stored in a checkpoint."""
        return Progress(self.step, self.skipped, self.seconds + time.perf_counter() - self.last, tuple(self.losses))

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.config.learning_rate * self.config.decay**self.step

    def resume(self, progress: Progress) -> None:
        """Restores the progress that was stored in a checkpoint."""
        self.step, self.skipped, self.seconds = progress.step, progress.skipped, progress.seconds
        self.losses = list(progress.losses)

    def begin(self) -> None:
        """Starts the progress bar, and removes metrics of steps after the checkpoint, which will be repeated."""
        if self.team.rank == 0:
            forget_after(self.path, self.step)
        self.bar = StepBar(
            total=self.total,
            initial=self.step,
            desc=f"{self.factor.name} {self.factor}",
            unit="step",
            position=self.team.accelerator.process_index,
            disable=self.team.rank != 0,
            dynamic_ncols=True,
        )
        self.last, self.last_step = time.perf_counter(), self.step

    def add(self, loss: float, norm: float, *, finite: bool) -> None:
        """Records a finished step with its loss in bits/dim and the norm of its gradient.

        With `finite=False`, the loss or gradient was not finite and the step did not change the weights. This raises
        `UserError` unless `training.nonfinite` is "skip" and at most `MOST_SKIPPED` steps in a row were skipped.
        """
        rate = self.learning_rate
        self.step += 1
        self.bar.update()
        if finite:
            self.losses.append(loss)
            self.in_a_row = 0
        else:
            self._skip(loss, rate)
        due = self.step % self.config.checkpoint_every == 0 or self.step == self.total
        if self.losses and (due or self.step % self.config.log_every == 0):
            self._write(norm, rate)

    def close(self) -> None:
        """Closes the progress bar."""
        if self.bar is not None:
            self.bar.close()

    def _skip(self, loss: float, rate: float) -> None:
        what = "gradient of the loss is not finite" if math.isfinite(loss) else f"loss is {loss}"
        self.skipped += 1
        self.in_a_row += 1
        where = f"factor {self.factor.name}: the {what} at step {self.step} (learning rate {rate:.6g})"
        kept = "earlier checkpoints are intact"
        if self.config.nonfinite == "stop":
            raise UserError(
                f"{where}; {kept}. `--set training.nonfinite=skip` continues this run and skips such steps. To try a "
                "lower training.learning_rate or training.clip, start a new run in another folder (--out)"
            )
        if self.in_a_row > MOST_SKIPPED:
            raise UserError(
                f"{where}, after {MOST_SKIPPED} skipped steps in a row; {kept}. To try a lower training.learning_rate "
                "or training.clip, start a new run in another folder (--out)"
            )

    def _write(self, norm: float, rate: float) -> None:
        now = time.perf_counter()
        self.seconds += now - self.last
        mean = math.fsum(self.losses) / len(self.losses)
        line: dict[str, Any] = {
            "factor": self.factor.name,
            "step": self.step,
            "bits_per_dim": mean,
            "learning_rate": rate,
            "gradient_norm": norm,
            "images_per_second": (self.step - self.last_step) * self.config.batch_size / max(now - self.last, 1e-9),
            "seconds": self.seconds,
        }
        if self.skipped:
            line["skipped"] = self.skipped
        self.bar.set_postfix_str(f"{mean:.3f} bits/dim")
        if self.team.rank == 0:
            append_line(self.path, to_json(line))
        scalars = {f"{self.factor.name}/{key}": value for key, value in line.items() if key not in ("factor", "step")}
        self.team.log(scalars, self.step)
        self.losses = []
        self.last, self.last_step = now, self.step


def forget_after(path: Path, step: int) -> None:
    """Removes lines of steps after `step`, and incomplete lines, from a file of metrics.

    A killed process may have left both.
    """
    if not is_file(path):
        return
    text = read_bytes(path).decode("utf-8", "replace")
    whole = "".join(f"{line}\n" for line in text.splitlines() if _is_up_to(line, step))
    if whole != text:
        write_text(path, whole)


def _is_up_to(line: str, step: int) -> bool:
    try:
        entry = parse_json(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and isinstance(entry.get("step"), int) and entry["step"] <= step
