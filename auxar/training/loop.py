"""Trains one factor by maximum likelihood (paper, equation 4). Training can resume from a checkpoint."""

import contextlib
import functools
import hashlib
import itertools
import json
import math
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from auxar.data.batches import TrainingExamples
from auxar.data.sets import DataSets
from auxar.errors import UserError, naming
from auxar.files import write_tensors
from auxar.model import Chain, Factor, Values, recomputing
from auxar.model.checks import check_causal
from auxar.model.factor import CONDITION_FACTOR
from auxar.numerics.threads import ThreadChoice, threads
from auxar.recipe import Recipe, read_recipe
from auxar.recipe.building import build_augmentations
from auxar.runs.history import HISTORY, History, OwnData
from auxar.runs.layout import RunFolder
from auxar.runs.limits import limits_entry
from auxar.runs.optimizer_state import stored_state
from auxar.runs.versions import versions_entry
from auxar.runs.weights import recipe_part
from auxar.training.averaging import WeightAverage, averaged
from auxar.training.checkpoints import COMPILED, Checkpoint, newest, save
from auxar.training.compiling import compiled, pays_to_compile
from auxar.training.initialization import load_init
from auxar.training.inputs import inputs_of
from auxar.training.lengths import is_trainable, number_of_images
from auxar.training.limits import limit_factor
from auxar.training.progress import Meter
from auxar.training.schedules import Schedule, learning_rates, make_optimizer, warn_of_warmup
from auxar.training.validation import Validation
from auxar.work.accelerator import mean
from auxar.work.signals import Interrupted, Requests, between_steps


def seed_of(*parts: object) -> int:
    """A 63-bit seed derived from all `parts` by a hash."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@attrs.define(eq=False, slots=False)
class FactorLoop:
    """The training of a factor of `model`: steps, checkpoints, and at the end the file of trained weights.

    Training continues from the newest undamaged checkpoint if there is one; it may be the last checkpoint of a shorter
    training. Otherwise training starts with the weights of the run `training.init`, or with initialized weights. Random
    choices depend only on the seed, the factor, the step and the process, so a resumed training gives the same weights
    as an uninterrupted one.
    """

    model: Chain
    factor: Factor
    data: DataSets
    recipe: Recipe
    run: RunFolder
    accelerator: Accelerator
    preview: Callable[[int, Accelerator], None] | None = None
    """A function that is called every `training.sample_every` steps. It has no effect on the weights."""
    show: Callable[[], None] | None = None
    """A function that the main process calls after every checkpoint."""

    def __attrs_post_init__(self) -> None:
        factor, accelerator = self.factor, self.accelerator
        factor.to(accelerator.device)
        self.images = self.data.of(factor.name).train
        self.config = config = self.recipe.training_of(factor.name)
        self.folder = self.run.factor(factor.name)
        # A stream has no known length; `check_training` made sure that its recipe sets `steps`.
        self.total = total = config.total_steps(number_of_images(self.images))
        self.meter = Meter(factor, config, self.run.metrics(factor.name), accelerator, total)
        images, batch_size = self.data.validation, self.recipe.evaluation.batch_size
        self.validation = Validation(self.model, factor, images, batch_size, config, self.folder, accelerator, total)
        self.bits = math.log(2) * factor.image.dims
        self.own = config.data
        """The factor's own data set; None if it is trained on [data]."""
        count = number_of_images(self.images) or None
        self.history = History(data=None if self.own is None else OwnData(self.own.path, count))
        self.compiled = False
        self.threads = ThreadChoice(accelerator.device)
        self.rates: Iterator[tuple[float, ...]] = iter(())
        """Learning rates of the next steps, for each parameter group of the optimizer."""

    @property
    def step(self) -> int:
        """The number of steps done, including those before training was resumed."""
        return self.meter.step

    def run_to_end(self) -> None:
        """Trains the factor to the last step and writes its weights.

        Raises `UserError` if a file cannot be read or written, or if the checkpoint was trained on other images. It is
        also raised if a loss or gradient is not finite. With `training.nonfinite = "skip"`, such steps are skipped, and
        only more than `MOST_SKIPPED` of them in a row are an error. Raises `Interrupted` if a process was asked to end,
        after a checkpoint of the current step was saved.
        """
        if not is_trainable(self.factor):
            # A factor without trainable parameters, such as a fixed prior, needs no training.
            self.history = self.history.continued(0, self.config)
            self._finish(self._new_average())
            return
        saved = newest(self.folder, self.factor, self.validation.check)
        self._begin(saved)
        own, average = make_optimizer(self.factor, self.config.optimizer, self.total), self._new_average()
        if saved is not None:
            average.restore(saved.part("average"), saved.progress.step - saved.progress.skipped)
            self.meter.resume(saved.progress)
            self.validation.progress = saved.progress.validation
        self._plan_rates([float(group["lr"]) for group in own.param_groups])
        self.history = self.history.continued(self.step, self.config)
        self.compiled = self._compiles(saved)
        model, optimizer = self.accelerator.prepare(self.factor.train(), own)
        if saved is not None:
            # Accelerate loads the state of the optimizer again, and would convert it to the type of the weights.
            saved.optimizer.restore(own, self.config.optimizer.name, self.factor)
        with between_steps() as requests, contextlib.closing(self.meter):
            if self.step < self.total:
                self._loop(model, optimizer, average, requests)
            self.validation.update(self.meter, average, self._facts)
            self.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
            self.factor.eval()
            self._save(optimizer, average)
            self.meter.close()  # Messages about the end of training begin on a new line.
            self._finish(average)
        self.accelerator.free_memory()

    def _begin(self, saved: Checkpoint | None) -> None:
        """Gives the factor the weights that training goes on from."""
        if saved is not None:
            if saved.images != self.images.fingerprint:
                raise UserError(
                    f"{saved.path} was trained on other images: expected fingerprint {saved.images:.64}, found "
                    f"{self.images.fingerprint}. Images that it was trained on may now be held out. Restore the "
                    "original images or choose another folder with --out"
                )
            self.factor.load_state_dict(saved.part("factor"))
            self.history = saved.history
        elif self.config.init is not None:
            self.history = attrs.evolve(self.history, init=load_init(self.run, self.factor, self.config.init))
        else:
            self._initialize()

    def _plan_rates(self, rates: Sequence[float]) -> None:
        if self.accelerator.is_main_process:
            warn_of_warmup(self.factor.name, self.config.warmup, rates[0], self.total)
        schedule = self.config.schedule.build_as(Schedule)  # type: ignore[type-abstract]
        planned = learning_rates(schedule, self.config.warmup, rates, self.total)
        self.rates = itertools.islice(planned, self.step, None)

    def _new_average(self) -> WeightAverage:
        return WeightAverage(self.factor, self.config.ema, warmup=self.config.ema_warmup)

    def _batches(self, steps: range, **options: Any) -> Generator[Values, None, None]:
        """The share of this process in the batches of some steps. `options` replace the size and the processes."""
        condition = self.recipe.condition
        found = TrainingExamples(
            self.images,
            self.config.batch_size,
            steps.stop,
            seed_of(self.config.seed, "data", self.factor.name),
            steps.start,
            augment=build_augmentations(self.config),
            labels_of=None if condition is None else condition.augmentation,
            drop=0.0 if condition is None or self.factor.name == CONDITION_FACTOR else condition.drop,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        workers = (self.own or self.recipe.data).workers if len(steps) > 1 else 0
        with naming("" if self.own is None else self.recipe.training_key(self.factor.name)):
            yield from attrs.evolve(found, **options).read(workers)

    def _initialize(self) -> None:
        # Every process initializes on the same images, so all start with the same weights.
        torch.manual_seed(seed_of(self.config.seed, "initialization", self.factor.name))
        batch = next(self._batches(range(1), batch_size=self.config.initialization_images, processes=1, rank=0))
        self.factor.train()
        with torch.no_grad():
            self.factor.initialize(self._inputs(batch))
        check_causal(self.factor)

    def _inputs(self, batch: Values) -> Values:
        """The values of the factor's variables for a batch."""
        return inputs_of(self.model, self.factor, batch.to(self.accelerator.device), self.config.depth)

    def _loop(self, model: nn.Module, optimizer: Any, average: WeightAverage, requests: Requests) -> None:
        self.meter.begin()
        # A request to end may have left out the evaluation after the last step before the checkpoint.
        self.validation.update(self.meter, average, self._facts)
        batches = self._batches(range(self.step, self.total))
        with (
            contextlib.closing(batches),
            recomputing(self.factor) if self.config.recompute else contextlib.nullcontext(),
            self._compiling(model) as self.compiled,
        ):
            for batch in () if self.validation.stops else batches:
                if self.threads.undecided:
                    self.threads.agree(functools.partial(self._gradient, model, batch))
                with self.threads.measured():
                    asked = self._step(model, batch, optimizer, average, requests)
                if self.step == 1:
                    # A state that checkpoints cannot store is refused before more work is lost.
                    stored_state(optimizer, self.config.optimizer.table, self.factor)
                if not asked:
                    self._draw(average)
                    self.validation.update(self.meter, average, self._facts)
                    if self.validation.stops:
                        return
                if self.step < self.total and (asked or self.step % self.config.checkpoint_every == 0):
                    self._save(optimizer, average)
                    self._show()
                if asked:
                    # If any process was asked to end, all processes end after the same step.
                    requests.add(Interrupted.by_signal(signal.SIGTERM))
                    if requests.pending is not None and self.step < self.total:
                        raise requests.pending

    def _step(
        self, model: nn.Module, batch: Values, optimizer: Any, average: WeightAverage, requests: Requests
    ) -> bool:
        """Makes one step, and returns whether a process was asked to end."""
        rates = next(self.rates)
        self._seed()
        loss = self._accumulate(model, batch).item()
        # Several threads would add the squares of a gradient in an order that depends on their number.
        with threads(1):
            norm = nn.utils.clip_grad_norm_(model.parameters(), self.config.clip or math.inf).item()
        # Gradients are already averaged over the processes. Losses and requests to end still differ.
        loss, asked = mean(self.accelerator, [loss, float(requests.pending is not None)])
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            optimizer.step()
            average.update()
        optimizer.zero_grad(set_to_none=True)
        self.meter.add(loss, norm, rates[0], finite=finite)
        return bool(asked)

    def _seed(self) -> None:
        torch.manual_seed(seed_of(self.config.seed, self.factor.name, self.step, self.accelerator.process_index))

    def _gradient(self, model: nn.Module, batch: Values) -> Tensor:
        """The gradient of a batch in this process, flattened. The factor is the same afterwards."""
        buffers = [buffer.clone() for buffer in self.factor.buffers()]
        self._seed()
        with self.accelerator.no_sync(model):
            self._accumulate(model, batch)
        gradients = [parameter.grad for parameter in self.factor.parameters() if parameter.grad is not None]
        found = torch.cat([gradient.flatten() for gradient in gradients])
        self.factor.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in zip(self.factor.buffers(), buffers, strict=True):
                buffer.copy_(before)
        return found

    def _compiles(self, saved: Checkpoint | None) -> bool:
        """Whether the networks are to be compiled. By default, a resumed training continues as it was."""
        if self.config.compile is not None:
            return self.config.compile
        if saved is not None:
            return saved.compiled and not self.config.recompute and self.accelerator.device.type == "cpu"
        return pays_to_compile(self.factor, self.config, self.total, self.accelerator.device.type)

    def _compiling(self, model: nn.Module) -> contextlib.AbstractContextManager[bool]:
        if not self.compiled or self.validation.stops:
            return contextlib.nullcontext(self.compiled)
        batch = next(self._batches(range(self.step, self.step + 1)))

        def try_step() -> None:
            # Compiling may fail in one process only, so processes must not wait for each other's gradients.
            with self.accelerator.no_sync(model):
                self._accumulate(model, batch)

        return compiled(self.factor, try_step, required=self.config.compile is True)

    def _accumulate(self, model: nn.Module, batch: Values) -> Tensor:
        """Computes the loss of this process's share of a batch in bits/dim, and adds its gradient to `grad`."""
        parts = batch.chunk(self.config.accumulate)
        total = torch.zeros((), device=self.accelerator.device)
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            # To save communication, processes average their gradients only once, with the last part.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss = -model(self._inputs(part)).sum() / (self.bits * len(batch))
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def _draw(self, average: WeightAverage) -> None:
        """Draws pictures if they are due before the end of training, with the weights that evaluation would use.

        The time that this takes counts neither as training time nor for the speed of training.
        """
        every = self.config.sample_every
        if self.preview is None or every is None or self.step % every or self.step == self.total:
            return
        started = time.perf_counter()
        with averaged(self.factor, average):
            self.preview(self.step, self.accelerator)
        self.meter.last += time.perf_counter() - started

    def _save(self, optimizer: Any, average: WeightAverage) -> None:
        if self.accelerator.is_main_process:
            progress = attrs.evolve(self.meter.progress, validation=self.validation.progress)
            save(self.folder, self.factor, optimizer, self.config, average, progress, self._facts())
        self.accelerator.wait_for_everyone()

    def _show(self) -> None:
        started = time.perf_counter()
        if self.show is not None and self.accelerator.is_main_process:
            self.show()
        self.meter.last += time.perf_counter() - started

    def _facts(self) -> dict[str, str]:
        facts = {"factor": self.factor.name, "images": self.images.fingerprint, COMPILED: json.dumps(self.compiled)}
        return {**facts, HISTORY: self.history.until(self.step).text(), **versions_entry(self.factor)}

    def _finish(self, average: WeightAverage) -> None:
        chosen = self.validation.choose(self.step, average)
        if self.config.limits and self.accelerator.is_main_process:  # Only it draws and writes.
            size, device = self.recipe.evaluation.batch_size, self.accelerator.device
            limit_factor(self.model, self.factor, self.images, self.config, size, device)
        if self.preview is not None and self.config.sample_every is not None:
            self.preview(self.step, self.accelerator)
        if self.accelerator.is_main_process:
            kind = "ema" if average.decay else "last"
            recipe = json.dumps([*recipe_part(read_recipe(self.run.recipe), self.factor.name).values()])
            metadata = {**chosen, "weights": kind, "recipe": recipe, **self._facts()}
            # Training that stopped early is complete, too.
            metadata |= {"trained_steps": str(self.step), "complete_at": str(self.total)}
            metadata |= limits_entry(self.factor)
            write_tensors(self.run.weights(self.factor.name), self.factor.state_dict(), metadata)
        self.accelerator.wait_for_everyone()
