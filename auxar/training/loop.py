"""Training one factor: maximum likelihood by Adam, resumable at any checkpoint (paper, equation 4)."""

from __future__ import annotations

import contextlib
import hashlib
import math
import signal
from collections.abc import Generator, Sequence, Sized
from typing import Any

import torch
from torch import Tensor, nn

from auxar.data import ImageSet, training_batches
from auxar.distributed.group import Team
from auxar.distributed.signals import Interrupted, Requests, between_steps
from auxar.errors import UserError
from auxar.files import write_tensors
from auxar.interfaces import Factor, Prior
from auxar.recipe import Recipe, TrainingConfig
from auxar.runs.layout import RunFolder
from auxar.training.averaging import WeightAverage
from auxar.training.checkpoints import Checkpoint, newest, save
from auxar.training.progress import Meter


def seed_of(*parts: object) -> int:
    """A 63-bit seed that is a function of all parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def train_factor(
    model: Prior,
    factor: Factor,
    images: ImageSet,
    config: TrainingConfig,
    run: RunFolder,
    team: Team,
    *,
    workers: int = 0,
) -> None:
    """Trains a factor of `model` to its last step and writes its weights; goes on from the last checkpoint, if any.

    Every random choice is a function of (seed, factor, step, process), so that a run that was stopped ends with the
    weights of one that was not. Asked to end, it saves after the present step and raises `Interrupted`. Raises
    `UserError` if a file cannot be read or written, and for a loss or gradient that is not finite unless such steps are
    to be skipped.
    """
    _Training(model, factor, images, config, run, team, workers).run_to_end()


class _Training:
    def __init__(
        self,
        model: Prior,
        factor: Factor,
        images: ImageSet,
        config: TrainingConfig,
        run: RunFolder,
        team: Team,
        workers: int,
    ) -> None:
        self.model = model
        self.factor = factor.to(team.device)
        self.images = images
        self.config = config
        self.run = run
        self.folder = run.factor(factor.name)
        self.team = team
        self.workers = workers
        # A stream has no length, and then the recipe has steps.
        self.total = config.total_steps(len(images) if isinstance(images, Sized) else 0)
        self.meter = Meter(factor, config, run.metrics(factor.name), team, self.total)
        self.bits = math.log(2) * factor.image.dims

    @property
    def step(self) -> int:
        """Steps done."""
        return self.meter.step

    def run_to_end(self) -> None:
        if not any(parameter.requires_grad for parameter in self.factor.parameters()):
            # A fixed distribution has nothing to learn.
            self._finish(WeightAverage(self.factor, self.config.ema))
            return
        saved = newest(self.folder, self.factor, self.config.ema > 0, self.total)
        if saved is None:
            self._initialize()
        else:
            _check_images(saved, self.images.fingerprint)
            self.factor.load_state_dict(saved.part("factor"))
        fused = self.team.device.type in ("cpu", "cuda")
        optimizer = torch.optim.Adam(
            self.factor.parameters(), lr=self.config.learning_rate, betas=self.config.betas, fused=fused
        )
        average = WeightAverage(self.factor, self.config.ema)
        if saved is not None:
            saved.restore(optimizer, average)
            self.meter.resume(saved.progress)
        model, optimizer = self.team.prepare(self.factor.train(), optimizer)
        with between_steps() as requests, contextlib.closing(self.meter):
            if self.step < self.total:
                self._loop(model, optimizer, average, requests)
            self.team.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
            self.factor.eval()
            self._save(optimizer, average)
            self._finish(average)
        self.team.accelerator.free_memory()

    def _batches(
        self, start: int, steps: int, batch_size: int, processes: int, rank: int
    ) -> Generator[Tensor, None, None]:
        yield from training_batches(
            self.images,
            batch_size=batch_size,
            steps=steps,
            start=start,
            seed=seed_of(self.config.seed, "data", self.factor.name),
            flip=self.config.flip,
            rank=rank,
            processes=processes,
            workers=self.workers if steps - start > 1 else 0,
        )

    def _initialize(self) -> None:
        # Every process initializes on the same images, and so alike.
        torch.manual_seed(seed_of(self.config.seed, "initialization", self.factor.name))
        batch = next(self._batches(0, 1, self.config.initialization_images, 1, 0))
        self.factor.train()
        with torch.no_grad():
            self.factor.initialize(*self._inputs(batch))

    def _inputs(self, batch: Tensor) -> list[Tensor]:
        """From images of the data, those that the factor sees: the one at its own depth and its view, if it has one."""
        depth = self.factor.depth
        return self.model.views(batch.to(self.team.device, non_blocking=True), depth + 1)[depth:]

    def _loop(self, model: nn.Module, optimizer: Any, average: WeightAverage, requests: Requests) -> None:
        self.meter.begin()
        batches = self._batches(self.step, self.total, self.config.batch_size, self.team.processes, self.team.rank)
        with contextlib.closing(batches):
            for batch in batches:
                torch.manual_seed(seed_of(self.config.seed, self.factor.name, self.step, self.team.rank))
                loss = self._accumulate(model, batch).item()
                norm = nn.utils.clip_grad_norm_(model.parameters(), self.config.clip or math.inf).item()
                # Gradients are the same in every process by now. Losses are not, nor is who was asked to end.
                loss, asked = self.team.mean([loss, float(requests.pending is not None)])
                finite = math.isfinite(loss) and math.isfinite(norm)
                if finite:
                    for group in optimizer.param_groups:
                        group["lr"] = self.meter.learning_rate
                    optimizer.step()
                    average.update()
                optimizer.zero_grad(set_to_none=True)
                self.meter.add(loss, norm, finite=finite)
                if self.step < self.total and (asked or self.step % self.config.checkpoint_every == 0):
                    self._save(optimizer, average)
                if asked:
                    # Whoever was asked, all end.
                    requests.add(Interrupted.by_signal(signal.SIGTERM))
                    if requests.pending is not None and self.step < self.total:
                        raise requests.pending

    def _accumulate(self, model: nn.Module, batch: Tensor) -> Tensor:
        """The loss of this process's share of the batch, in bits/dim, its gradient left in the parameters."""
        parts = batch.chunk(self.config.accumulate)
        total = torch.zeros((), device=self.team.device)
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            # Gradients are exchanged between processes once, with the last part.
            with contextlib.nullcontext() if last else self.team.accelerator.no_sync(model):
                loss = -model(*self._inputs(part)).sum() / (self.bits * len(batch))
                self.team.accelerator.backward(loss)
            total += loss.detach()
        return total

    def _save(self, optimizer: Any, average: WeightAverage) -> None:
        if self.team.rank == 0:
            keep = self.config.keep_checkpoints
            save(self.folder, self.factor, optimizer, average, self.meter.progress, self._facts(), keep=keep)
        self.team.wait()

    def _facts(self) -> dict[str, str]:
        return {"factor": self.factor.name, "images": self.images.fingerprint}

    def _finish(self, average: WeightAverage) -> None:
        average.apply()
        if self.team.rank == 0:
            metadata = {"step": str(self.step), "weights": "ema" if average.decay else "last", **self._facts()}
            write_tensors(self.run.weights(self.factor.name), self.factor.state_dict(), metadata)
        self.team.wait()


def _check_images(saved: Checkpoint, fingerprint: str) -> None:
    if saved.images is not None and saved.images != fingerprint:
        raise UserError(
            f"{saved.path} was made from other images (fingerprint {saved.images:.64}, now {fingerprint}): training "
            "would go on with another division into training and held-out images; put the images back or choose "
            "another --out"
        )


def check_training(recipe: Recipe, chosen: Sequence[str], processes: int) -> None:
    """Raises `UserError` for what would only come up when a factor's turn has come."""
    for name in chosen:
        config = recipe.training_of(name)
        key = f"training.factor.{name}" if name in recipe.factor_training else "training"
        if recipe.training.parallel == "batch" and config.batch_size % processes:
            below = config.batch_size // processes * processes
            raise UserError(
                f"{key}.batch_size: {config.batch_size} images cannot be shared evenly by {processes} processes; "
                f"use {max(processes, below)} or {below + processes}"
            )
        if recipe.data.streaming and config.steps is None:
            raise UserError(f"{key}.epochs: the number of images in a stream is not known; give {key}.steps")
