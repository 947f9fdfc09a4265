"""Updates the report of a run in a group of processes."""

from __future__ import annotations

import logging

from accelerate import Accelerator

from auxar.report import write_report
from auxar.runs.layout import RunFolder

logger = logging.getLogger("auxar")


def update_report(run: RunFolder, accelerator: Accelerator) -> None:
    """Rewrites the run's report in the main process. All processes wait until it is written."""
    if accelerator.is_main_process:
        write_report(run.path)
        logger.info("report: %s", run.report)
    accelerator.wait_for_everyone()
