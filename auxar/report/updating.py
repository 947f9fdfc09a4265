"""The report of a run that a group of processes works on."""

from __future__ import annotations

import logging

from accelerate import Accelerator

from auxar.report import write_report
from auxar.runs.layout import RunFolder

logger = logging.getLogger("auxar")


def update_report(run: RunFolder, accelerator: Accelerator) -> None:
    """Writes the report anew in the first process; all processes wait for it."""
    if accelerator.is_main_process:
        write_report(run.path)
        logger.info("report: %s", run.report)
    accelerator.wait_for_everyone()
