"""Tests of progress: lines without a terminal, bars on a terminal and in notebooks, and hiding both."""

import io
import logging
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from auxar.progress import ProgressBar, progress_bar, shows_bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that shows `now`, in seconds."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The clock of all progress bars."""
    clock = Clock()
    monkeypatch.setattr("tqdm.std.time", clock)
    monkeypatch.setattr(tqdm, "monitor_interval", 0)  # Otherwise a thread that has another clock updates the bars.
    return clock


@pytest.fixture
def lines(caplog) -> Callable[[], list[str]]:
    """Returns the messages of the logger `auxar` at the level INFO."""
    caplog.set_level(logging.INFO, "auxar")
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]


def work(clock: Clock, steps: int, seconds: float, **options) -> ProgressBar:
    """Does steps of equal length."""
    with progress_bar(total=steps, desc="work", unit="step", **options) as bar:
        for _ in range(steps):
            clock.now += seconds
            bar.update()
    return bar


def test_lines_are_written_at_the_beginning_the_end_and_every_half_minute(clock, lines, capsys):
    work(clock, 1000, 0.125)
    found = lines()
    assert found[0] == "work: step 0 of 1000 (0 %)"
    assert found[1] == "work: step 240 of 1000 (24 %), 8 step/s, 00:30 elapsed, 01:35 left"
    assert found[-1] == "work: step 1000 of 1000 (100 %), 8 step/s, 02:05 elapsed"
    assert len(found) == 6
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("steps", "seconds", "count"), [(200, 0.01, 2), (50, 60, 51), (9, 1000, 10)])
def test_short_work_has_two_lines_and_slow_steps_have_one_each(clock, lines, steps, seconds, count):
    work(clock, steps, seconds)
    assert len(lines()) == count


def test_a_line_has_the_last_figures_and_the_steps_of_this_process(clock, lines):
    with progress_bar(total=20, initial=10, desc="work", unit="step") as bar:
        clock.now += 40
        bar.set_postfix_str("1.5 bits/dim", refresh=False)
        bar.update(2)
    assert lines()[1] == "work: step 12 of 20 (60 %), 1.5 bits/dim, 20 s/step, 00:40 elapsed, 02:40 left"


def test_work_within_other_work_has_lines_only_if_it_is_long(clock, lines):
    for hidden, seconds, count in ((True, 1, 2), (False, 1, 1), (False, 10, 4)):
        before = len(lines())
        with progress_bar(total=2, disable=hidden):
            work(clock, 9, seconds, delay=2)
            assert len(lines()) == before + count


def test_a_length_may_be_unknown(clock, lines):
    for _ in progress_bar(iter("ab"), desc="work", unit="image"):
        clock.now += 1
    assert lines() == ["work: image 0", "work: image 2, 1 image/s, 00:02 elapsed"]


@pytest.mark.parametrize(
    ("seconds", "speed"), [(1 / 99.5, "99.5 step/s"), (1 / 100, "100 step/s"), (250, "250 s/step")]
)
def test_speeds_have_three_digits(clock, lines, seconds, speed):
    work(clock, 10, seconds)
    assert speed in lines()[-1]


def test_a_terminal_has_a_bar(clock, lines, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    work(clock, 10, 1)
    assert terminal.getvalue().count("\r") >= 10
    assert "100%|" in terminal.getvalue()
    assert not lines()


@pytest.mark.parametrize(("kernel", "expected"), [({}, False), ({"kernel": object()}, True)])
def test_a_notebook_has_bars_and_ipython_in_a_pipe_has_none(monkeypatch, kernel, expected):
    shell = SimpleNamespace(**kernel)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert shows_bars() is expected


@pytest.mark.parametrize("on_terminal", [False, True])
def test_progress_appears_after_its_delay(clock, lines, monkeypatch, on_terminal):
    stream = Terminal() if on_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(total=10, desc="work", delay=60) as bar:
        for _ in range(5):
            clock.now += 10
            bar.update()
            bar.set_postfix_str("figures")
        assert (stream.getvalue(), lines()) == ("", [])
        clock.now += 10
        bar.update()
    assert ("60%" in stream.getvalue()) == on_terminal
    assert bool(lines()) == (not on_terminal)


@pytest.mark.parametrize("on_terminal", [False, True])
@pytest.mark.parametrize(("level", "variable"), [(logging.WARNING, None), (logging.INFO, "1"), (logging.INFO, "true")])
def test_progress_can_be_hidden(clock, lines, monkeypatch, on_terminal, level, variable):
    """A program that passes `disable=False` has the same progress."""
    stream = Terminal() if on_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    if variable is not None:
        monkeypatch.setenv("TQDM_DISABLE", variable)
    logging.getLogger("auxar").setLevel(level)
    bar = work(clock, 10, 60, disable=False)
    assert bar.disable
    assert (stream.getvalue(), lines()) == ("", [])
