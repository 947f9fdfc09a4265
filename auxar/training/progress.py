"""Reports the progress of a factor's training as JSON lines, as a progress bar and to experiment trackers."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from accelerate import Accelerator

from auxar.errors import UserError
from auxar.files import append_line, is_file, parse_json, read_bytes, to_json, write_text
from auxar.model import Factor
from auxar.progress import ProgressBar
from auxar.recipe import TrainingConfig
from auxar.training.checkpoints import Progress
from auxar.training.watching import TrainingStep, tell

MOST_SKIPPED = 50
"""Maximum number of consecutive skipped steps. If more steps fail, the cause is the weights rather than a batch."""


@attrs.define(eq=False, slots=False)
class Meter:
    """Counts training steps, averages their losses and reports them. `resume` restores the state from a checkpoint."""

    factor: Factor
    config: TrainingConfig
    path: Path
    accelerator: Accelerator
    total: int

    def __attrs_post_init__(self) -> None:
        self.step = self.skipped = self.in_a_row = self.last_step = 0
        self.seconds = 0.0
        self.losses: list[float] = []
        self.last = time.perf_counter()
        """Time of the last line of metrics, whose step is `last_step`, or of the start of training in this process."""
        self.bar: Any = None
        self.shown: dict[str, str] = {}
        """The last figures, which the progress bar shows."""

    @property
    def progress(self) -> Progress:
        """The part of the meter's state that is stored in a checkpoint."""
        seconds = self.seconds + time.perf_counter() - self.last
        return Progress(self.step, self.skipped, seconds, tuple(self.losses), in_a_row=self.in_a_row)

    def resume(self, progress: Progress) -> None:
        """Restores the progress that was stored in a checkpoint."""
        self.step, self.skipped, self.seconds = progress.step, progress.skipped, progress.seconds
        self.losses, self.in_a_row = list(progress.losses), progress.in_a_row

    def begin(self) -> None:
        """Starts the progress bar, and removes metrics of steps after the checkpoint, which will be repeated."""
        if self.accelerator.is_main_process:
            forget_after(self.path, self.step)
        self.bar = ProgressBar(
            total=self.total,
            initial=self.step,
            desc=f"{self.factor.name} {self.factor}",
            unit="step",
            disable=not self.accelerator.is_main_process,
            dynamic_ncols=True,
        )
        self.last, self.last_step = time.perf_counter(), self.step

    def add(self, loss: float, norm: float, rate: float, *, finite: bool) -> None:
        """Records a finished step with its loss in bits/dim, the norm of its gradient and its learning rate.

        With `finite=False`, the loss or gradient was not finite and the step did not change the weights. This raises
        `UserError` unless `training.nonfinite` is "skip" and at most `MOST_SKIPPED` steps in a row were skipped.
        """
        self.step += 1
        self.bar.update()
        if finite:
            self.losses.append(loss)
            self.in_a_row = 0
        else:
            self._skip(loss, rate)
        intervals = (self.config.checkpoint_every, self.config.evaluate_every)
        due = self.step == self.total or any(every and self.step % every == 0 for every in intervals)
        if self.losses and (due or self.step % self.config.log_every == 0):
            self._write(norm, rate)
        if self.accelerator.is_main_process:
            tell(TrainingStep(self.factor.name, self.step, self.total, loss, norm, rate))

    def add_validation(self, bits: float, seconds: float) -> None:
        """Records bits/dim on validation images after the last step, and the time that they took."""
        # Training time includes evaluations, but the speed of training does not.
        self.seconds += seconds
        self.last += seconds
        line = {"validation_bits_per_dim": bits, "seconds": self.progress.seconds}
        self._report(line, validation=f"{bits:.3f} on validation images")

    def close(self) -> None:
        """Closes the progress bar."""
        if self.bar is not None:
            self.bar.close()

    def _skip(self, loss: float, rate: float) -> None:
        what = "gradient of the loss is not finite" if math.isfinite(loss) else f"loss is {loss}"
        self.skipped += 1
        self.in_a_row += 1
        stops = self.config.nonfinite == "stop"
        if stops or self.in_a_row > MOST_SKIPPED:
            after = "" if stops else f", after {MOST_SKIPPED} skipped steps in a row"
            skip = "`--set training.nonfinite=skip` continues this run and skips such steps. " if stops else ""
            raise UserError(
                f"factor {self.factor.name}: the {what} at step {self.step} (learning rate {rate:.6g}){after}; earlier "
                f"checkpoints are intact. {skip}To try a lower training.optimizer.learning_rate or training.clip, "
                "start a new run in another folder (--out)"
            )

    def _write(self, norm: float, rate: float) -> None:
        now = time.perf_counter()
        self.seconds += now - self.last
        mean = math.fsum(self.losses) / len(self.losses)
        line: dict[str, Any] = {
            "bits_per_dim": mean,
            "learning_rate": rate,
            "gradient_norm": norm,
            "images_per_second": (self.step - self.last_step) * self.config.batch_size / max(now - self.last, 1e-9),
            "seconds": self.seconds,
        }
        if self.skipped:
            line["skipped"] = self.skipped
        self._report(line, loss=f"{mean:.3f} bits/dim")
        self.losses = []
        self.last, self.last_step = now, self.step

    def _report(self, line: Mapping[str, float], **shown: str) -> None:
        """Appends a line of metrics, sends it to the trackers, and shows some of its figures in the progress bar."""
        self.shown |= shown
        if self.bar is not None:
            self.bar.set_postfix_str(", ".join(self.shown.values()))
        if self.accelerator.is_main_process:
            entry = {"factor": self.factor.name, "step": self.step, "total_steps": self.total, **line}
            append_line(self.path, to_json(entry))
        self.accelerator.log({f"{self.factor.name}/{key}": value for key, value in line.items()}, step=self.step)


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
