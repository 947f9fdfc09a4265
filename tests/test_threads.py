"""Tests of the choice of the number of threads, with durations that the tests set."""

import contextlib
import functools
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.tiny_runs import metrics, run, same, tiny, weights, with_dropout
from safetensors.torch import load_file

from auxar.numerics import threads as module
from auxar.numerics.threads import ThreadChoice, one_if_busy, threads
from auxar.training import loop

CPU = torch.device("cpu")


class Machine:
    """A machine on which a call takes a given number of seconds for each number of threads."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        self.seconds = {}

    def work(self, choice, calls):
        """Makes calls. Returns the seconds that they took, divided by the seconds of the better number of threads."""
        before = self.now
        for _ in range(calls):
            with choice.measured(2):
                self.now += 2 * self.seconds[torch.get_num_threads()]
        return (self.now - before) / (2 * calls * min(self.seconds.values()))


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


@pytest.mark.parametrize(("seconds", "count"), [({2: 0.6, 1: 1.0}, 2), ({2: 9.0, 1: 1.0}, 1)])
def test_one_thread_is_used_where_several_are_slower(machine, monkeypatch, seconds, count):
    def add_(values, _):
        machine.now += seconds[torch.get_num_threads()]

    monkeypatch.setattr(torch.Tensor, "add_", add_)
    with threads(2), one_if_busy():
        assert torch.get_num_threads() == count


def agreed():
    choice = ThreadChoice(CPU)
    choice.agree(lambda: torch.zeros(3))
    return choice


@pytest.mark.parametrize("seconds", [{2: 0.6, 1: 1.0}, {2: 20.0, 1: 1.0}, {2: 1.0, 1: 1.0}])
def test_the_faster_number_is_used(machine, seconds):
    machine.seconds = seconds
    with threads(2):
        choice = agreed()
        machine.work(choice, 2)
        assert machine.work(choice, 2000) < 1 + module.PROBED + 0.02


def test_the_choice_follows_the_load_of_the_machine(machine):
    idle, busy = {2: 0.6, 1: 1.0}, {2: 20.0, 1: 1.2}
    with threads(2):
        choice = agreed()
        for _ in range(3):
            machine.seconds = idle
            machine.work(choice, 1200)
            assert machine.work(choice, 200) < 1.1
            machine.seconds = busy
            machine.work(choice, 5)
            assert machine.work(choice, 2000) < 1.1


def used(choice, calls=10):
    found = set()
    for _ in range(calls):
        with choice.measured():
            found.add(torch.get_num_threads())
    return found


def test_all_threads_are_used_unless_results_agree():
    with threads(2):
        choice = ThreadChoice(CPU)
        assert used(choice) == {2}
        assert choice.undecided
        result = choice.agree(lambda: torch.tensor([0.1 * torch.get_num_threads()]))
        assert result.item() == pytest.approx(0.2)
        assert used(choice) == {2}
        assert not choice.undecided
        choice = ThreadChoice(CPU)
        choice.agree(lambda: torch.tensor([float("nan"), 1.0]))
        assert used(choice) == {1, 2}


@pytest.mark.parametrize(("count", "device"), [(1, CPU), (2, None), (2, torch.device("cuda"))])
def test_nothing_is_chosen_with_one_thread_or_on_another_device(count, device):
    with threads(count):
        choice = ThreadChoice(device)
        assert not choice.undecided
        assert used(choice) == {count}


def test_the_number_is_restored_after_an_exception():
    with threads(2):
        choice = agreed()
        with pytest.raises(ValueError, match="a message"), choice.measured():
            raise ValueError("a message")
        assert torch.get_num_threads() == 2


def test_the_number_is_restored_if_threads_of_python_overlap(request):
    """Two of them use one thread of PyTorch, and the one that began first ends first."""
    request.addfinalizer(functools.partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(3)
    entered, leave = threading.Event(), threading.Event()

    def second():
        with threads(1) as before:
            numbers = [before, torch.get_num_threads()]
            entered.set()
            leave.wait(60)
        return [*numbers, torch.get_num_threads()]

    with ThreadPoolExecutor(1) as pool:
        with threads(1) as before:
            other = pool.submit(second)
            entered.wait(60)
        assert (before, torch.get_num_threads()) == (3, 3)
        leave.set()
        assert other.result(60) == [3, 1, 3]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result(60) == 3


@pytest.mark.slow
def test_results_of_a_run_do_not_depend_on_the_numbers_of_threads(pictures, tmp_path, monkeypatch):
    """One thread is used, then numbers that change from call to call, as if other programs came and went."""
    changes = {"training__steps": 2, "training__clip": 0.5, "evaluation__batch_size": 2, "sampling__images": 0}
    table = with_dropout(tiny(pictures, **changes))
    with threads(1):
        first = run(tmp_path / "first", table)
    numbers, chosen = itertools.cycle([2, 1, 1]), set()

    @contextlib.contextmanager
    def measured(choice, units=1):
        assert not choice.undecided
        with threads(min(next(numbers), max(choice._numbers))):
            chosen.add(torch.get_num_threads())
            yield

    monkeypatch.setattr(ThreadChoice, "measured", measured)
    with threads(2):
        second = run(tmp_path / "second", table)
    assert chosen == {1, 2}
    assert same(weights(first), weights(second))
    assert metrics(first) == metrics(second)
    nats = [load_file(folder / "evaluation.safetensors") for folder in (first, second)]
    assert same(*nats)


def test_the_comparison_of_gradients_leaves_a_training_as_it_was(pictures, tmp_path, monkeypatch):
    """Networks may count their calls in a buffer, as batch normalization does."""
    initialize = loop.FactorLoop._initialize

    def count_call(factor, *_):
        factor.calls += factor.training

    def counting(training):
        initialize(training)
        training.factor.register_buffer("calls", torch.zeros(()))
        training.factor.register_forward_hook(count_call)

    monkeypatch.setattr(loop.FactorLoop, "_initialize", counting)
    found = []
    for count in (1, 2):
        with threads(count):
            table = tiny(pictures, training__steps=3)
            found.append(weights(run(tmp_path / str(count), table, train_only=True)))
    assert found[0]["prior/calls"] == 3
    assert same(*found)
