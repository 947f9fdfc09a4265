"""Training one factor: maximum likelihood by Adam, resumable at any checkpoint (paper, equation 4)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from auxar.data import ImageSet, training_batches
from auxar.ema import WeightAverage
from auxar.errors import UserError
from auxar.files import read_tensors, write_tensors
from auxar.interfaces import View
from auxar.model import Factor, view_of
from auxar.recipe import Recipe, TrainingConfig
from auxar.runs import RunFolder, put_tensors


def seed_of(*parts: object) -> int:
    """A 63-bit seed that is a function of all parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def adjacent_levels(views: Sequence[View], factor: Factor, image: Tensor) -> tuple[Tensor, Tensor | None]:
    """The two levels that a factor sees, of images (b, c, h, w): its own and the one below, None for the prior."""
    depth = len(views) if factor.view is None else int(factor.name.removeprefix("stage"))
    for view in views[:depth]:
        image = view_of(view, image)
    return image, None if factor.view is None else view_of(views[depth], image)


def train_factor(
    factor: Factor,
    views: Sequence[View],
    images: ImageSet,
    config: TrainingConfig,
    run: RunFolder,
    accelerator: Accelerator,
    *,
    workers: int = 0,
) -> None:
    """Trains a factor to its last step and writes its weights; continues from the last checkpoint if there is one.

    Every random choice is a function of (seed, factor, step, process), so that a run that was stopped ends with the
    weights of one that was not. Raises `UserError` if a file cannot be read or written, or the loss is not finite.
    """
    _Training(factor, views, images, config, run, accelerator, workers).run_to_end()


class _Training:
    def __init__(
        self,
        factor: Factor,
        views: Sequence[View],
        images: ImageSet,
        config: TrainingConfig,
        run: RunFolder,
        accelerator: Accelerator,
        workers: int,
    ) -> None:
        self.factor = factor.to(accelerator.device)
        self.views = views
        self.images = images
        self.config = config
        self.run = run
        self.accelerator = accelerator
        self.workers = workers
        # A stream has no length, and then the recipe has steps.
        self.total = config.total_steps(len(images) if isinstance(images, Sized) else 0)
        self.step = 0
        self.seconds = 0.0
        self.bits = math.log(2) * factor.image.dims

    def run_to_end(self) -> None:
        if not any(parameter.requires_grad for parameter in self.factor.parameters()):
            # A fixed distribution has nothing to learn.
            self._finish(WeightAverage(self.factor, self.config.ema))
            return
        state = self.run.training_state(self.factor.name)
        saved = read_tensors(state) if state.is_file() else None
        if saved is None:
            self._initialize()
        else:
            _check_images(saved[1], images_of=state, fingerprint=self.images.fingerprint)
            put_tensors(self.factor, _part(saved[0], "factor"), state)
        fused = self.accelerator.device.type in ("cpu", "cuda")
        optimizer = torch.optim.Adam(
            self.factor.parameters(), lr=self.config.learning_rate, betas=self.config.betas, fused=fused
        )
        average = WeightAverage(self.factor, self.config.ema)
        if saved is not None:
            self.step = _restore(saved, optimizer, average, state)
            self.seconds = float(saved[1].get("seconds", 0.0))
        model, optimizer = self.accelerator.prepare(self.factor.train(), optimizer)
        if self.step < self.total:
            self._loop(model, optimizer, average)
        self.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        self.factor.eval()
        self._save(optimizer, average)
        self._finish(average)
        self.accelerator.free_memory()

    def _batches(self, start: int, steps: int, batch_size: int, processes: int, rank: int) -> Iterator[Tensor]:
        return training_batches(
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
        # Every process initialises on the same images, and so alike.
        torch.manual_seed(seed_of(self.config.seed, "initialization", self.factor.name))
        batch = next(self._batches(0, 1, self.config.initialization_images, 1, 0))
        self.factor.train()
        with torch.no_grad():
            self.factor.initialize(*self._levels(batch))

    def _levels(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        batch = batch.to(self.accelerator.device, non_blocking=True)
        return adjacent_levels(self.views, self.factor, batch)

    def _loop(self, model: nn.Module, optimizer: Any, average: WeightAverage) -> None:
        accelerator = self.accelerator
        batches = self._batches(
            self.step, self.total, self.config.batch_size, accelerator.num_processes, accelerator.process_index
        )
        progress = tqdm(
            total=self.total,
            initial=self.step,
            desc=f"{self.factor.name} {self.factor}",
            unit="step",
            disable=not accelerator.is_main_process,
            dynamic_ncols=True,
        )
        meter = _Meter(self, progress)
        with progress, contextlib.closing(meter):
            for batch in batches:
                torch.manual_seed(seed_of(self.config.seed, self.factor.name, self.step, accelerator.process_index))
                loss = self._accumulate(model, batch)
                norm = self._clip(model)
                for group in optimizer.param_groups:
                    group["lr"] = self.config.learning_rate * self.config.decay**self.step
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                average.update()
                self.step += 1
                due = self.step % self.config.checkpoint_every == 0 or self.step == self.total
                meter.add(loss, norm, write=due or self.step % self.config.log_every == 0)
                if due and self.step < self.total:
                    self._save(optimizer, average)

    def _accumulate(self, model: nn.Module, batch: Tensor) -> Tensor:
        """The loss of this process's share of the batch, in bits/dim, its gradient left in the parameters."""
        parts = batch.chunk(self.config.accumulate)
        total = torch.zeros((), device=self.accelerator.device)
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            # Gradients are exchanged between processes once, with the last part.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss = -model(*self._levels(part)).sum() / (self.bits * len(batch))
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def _clip(self, model: nn.Module) -> Tensor | None:
        """The gradient's norm, before clipping, where it is clipped or logged."""
        logged = (self.step + 1) % self.config.log_every == 0
        if self.config.clip is None and not logged:
            return None
        limit = math.inf if self.config.clip is None else self.config.clip
        return nn.utils.clip_grad_norm_(model.parameters(), limit)

    def _save(self, optimizer: Any, average: WeightAverage) -> None:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            tensors = {f"factor.{name}": tensor for name, tensor in self.factor.state_dict().items()}
            tensors |= {f"average.{name}": tensor for name, tensor in average.tensors().items()}
            moments = optimizer.state_dict()["state"]
            for index, entry in moments.items():
                tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in entry.items()}
            # A buffer may be infinite by design, such as a mask that is added to logits.
            buffers = {f"factor.{name}" for name, _ in self.factor.named_buffers()}
            learned = [tensor for name, tensor in tensors.items() if name not in buffers]
            if not all(bool(tensor.isfinite().all()) for tensor in learned):
                raise _not_finite(f"weights of factor {self.factor.name} are not finite", self.step)
            metadata = {**self._metadata(), "moments": str(len(moments)), "seconds": str(self.seconds)}
            write_tensors(self.run.training_state(self.factor.name), tensors, metadata)

    def _metadata(self) -> dict[str, str]:
        return {"step": str(self.step), "factor": self.factor.name, "images": self.images.fingerprint}

    def _finish(self, average: WeightAverage) -> None:
        self.accelerator.wait_for_everyone()
        average.apply()
        if self.accelerator.is_main_process:
            metadata = {**self._metadata(), "weights": "ema" if average.decay else "last"}
            write_tensors(self.run.weights(self.factor.name), self.factor.state_dict(), metadata)
        self.accelerator.wait_for_everyone()


class _Meter:
    """The loss since the last line of metrics: on the progress bar, in metrics.jsonl and in the trackers."""

    def __init__(self, training: _Training, progress: Any) -> None:
        self.training = training
        self.progress = progress
        self.losses: list[Tensor] = []
        self.last = time.perf_counter()
        main = training.accelerator.is_main_process
        self.file = training.run.metrics.open("a", encoding="utf-8") if main else None

    def add(self, loss: Tensor, norm: Tensor | None, *, write: bool) -> None:
        training = self.training
        self.losses.append(loss)
        self.progress.update()
        if not write:
            return
        mean = training.accelerator.reduce(torch.stack(self.losses).mean(), reduction="mean").item()
        if not math.isfinite(mean):
            raise _not_finite(f"the loss of factor {training.factor.name} is {mean}", training.step)
        now = time.perf_counter()
        training.seconds += now - self.last
        line = {
            "factor": training.factor.name,
            "step": training.step,
            "bits_per_dim": mean,
            "learning_rate": training.config.learning_rate * training.config.decay ** (training.step - 1),
            "images_per_second": len(self.losses) * training.config.batch_size / (now - self.last),
            "seconds": training.seconds,
        }
        if norm is not None:
            line["gradient_norm"] = norm.item()
        self.progress.set_postfix_str(f"{mean:.3f} bits/dim")
        if self.file is not None:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        scalars = {
            f"{training.factor.name}/{key}": value for key, value in line.items() if key not in ("factor", "step")
        }
        training.accelerator.log(scalars, step=training.step)
        self.losses = []
        self.last = now

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def _not_finite(what: str, step: int) -> UserError:
    return UserError(
        f"{what} near step {step}; what was saved before is intact. "
        "A lower training.learning_rate or training.clip may help, in another folder (--out)"
    )


def _check_images(metadata: dict[str, str], *, images_of: Path, fingerprint: str) -> None:
    found = metadata.get("images", fingerprint)
    if found != fingerprint:
        raise UserError(
            f"{images_of} was made from other images (fingerprint {found}, now {fingerprint}): training would go on "
            "with another division into training and held-out images; put the images back or choose another --out"
        )


def check_training(recipe: Recipe, chosen: Sequence[str], processes: int) -> None:
    """Raises `UserError` for what would only come up when a factor's turn has come."""
    for name in chosen:
        config = recipe.training_of(name)
        key = f"training.factor.{name}" if name in recipe.factor_training else "training"
        if config.batch_size % processes:
            below = config.batch_size // processes * processes
            raise UserError(
                f"{key}.batch_size: {config.batch_size} images cannot be shared evenly by {processes} processes; "
                f"use {max(processes, below)} or {below + processes}"
            )
        if recipe.data.streaming and config.steps is None:
            raise UserError(f"{key}.epochs: the number of images in a stream is not known; give {key}.steps")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def _restore(
    saved: tuple[dict[str, Tensor], dict[str, str]], optimizer: torch.optim.Adam, average: WeightAverage, path: Path
) -> int:
    """Puts optimizer and average back as they were; returns the step."""
    tensors, metadata = saved
    moments: dict[int, dict[str, Tensor]] = {}
    try:
        for name, tensor in _part(tensors, "optimizer").items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = tensor
        step = int(metadata["step"])
        if len(moments) != int(metadata["moments"]):
            raise ValueError(f"it has moments of {len(moments)} parameters, expected {metadata['moments']}")
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        average.restore(_part(tensors, "average"), step)
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is damaged: {error}; delete it to train this factor anew") from None
    return step
