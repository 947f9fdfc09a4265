"""Tests of the native engine's threads, and of the number of threads that PyTorch uses beside them."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.causal_networks import needs_native
from helpers.engines import program_of, run_program

from auxar.numerics.threads import threads
from auxar_samplers.compiler.program import Clock, Layout, Pointwise, identity
from auxar_samplers.engines.native import engine as native

# The beginning of scripts that run in a process of their own, because they depend on the threads of the process.
DRAWING = """
import contextlib, copy, os, signal, threading, time
import torch
from auxar.numerics.threads import threads
from auxar.model import DrawSource, ImageSpec, SampleRequest
from auxar_pixelcnn import components
from auxar_samplers import WavefrontSampler
from auxar_samplers.engines.native import engine
torch.set_num_threads(1)
torch.manual_seed(0)
config = components.LightConfig(filters=60, blocks=1)
network = components.light(config, ImageSpec(3, height=12, width=12)).double()

def draw(name, threads, network=network):
    # PyTorch itself keeps to one thread, so that it starts none.
    engine.threads = lambda _: contextlib.nullcontext(threads)
    return WavefrontSampler(name).sample(network, None, DrawSource.of(network, SampleRequest((0, 1))))

def count():
    return len(os.listdir("/proc/self/task"))

first = threading.Thread(target=int)  # With the first thread, a sanitizer starts one of its own.
first.start()
first.join()
expected, before = draw("torch", 1), count()
"""
IN_A_FORKED_PROCESS = """
assert torch.equal(draw("native", 3), expected)
assert count() == before + 2
child = os.fork()
if child == 0:
    assert count() == 1
    os._exit(0 if torch.equal(draw("native", 3), expected) and count() == 3 else 3)
assert os.waitpid(child, 0)[1] == 0
assert torch.equal(draw("native", 3), expected)
assert count() == before + 2
torch.set_num_threads(3)
torch.ones(2**20).exp()  # PyTorch starts threads, too, for which the child must not wait.
child = os.fork()
if child == 0:
    signal.alarm(60)
    with threads(3):
        torch.ones(2**20).exp()
    torch.ones(2**20).exp()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
IN_SEVERAL_THREADS = """
found = []

def work(network):
    for _ in range(3):
        found.append(draw("native", 2, network))

workers = [threading.Thread(target=work, args=[copy.deepcopy(network)]) for _ in range(3)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
assert len(found) == 9 and all(torch.equal(each, expected) for each in found)
deadline = time.monotonic() + 60
while count() > before:
    assert time.monotonic() < deadline, "the threads of a team must end with the thread that they worked for"
"""
WITH_FEWER_THREADS = """
import ctypes
system, attributes = ctypes.CDLL(None), ctypes.create_string_buffer(256)
assert system.pthread_attr_init(attributes) == 0
assert system.pthread_attr_setstacksize(attributes, ctypes.c_size_t(2**47)) == 0
assert system.pthread_setattr_default_np(attributes) == 0  # no further thread can be started
assert torch.equal(draw("native", 3), expected)
assert count() == before, "the system started threads in spite of the limit"
"""


# Two scripts run in one process to save time. Only the second draws in the main thread.
@needs_native
@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads of a process in /proc")
@pytest.mark.parametrize(
    "script", [IN_A_FORKED_PROCESS, IN_SEVERAL_THREADS + WITH_FEWER_THREADS], ids=["forked", "several, and fewer"]
)
def test_drawing_with_threads_in_a_process_of_its_own(script):
    done = subprocess.run([sys.executable, "-c", DRAWING + script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@needs_native
@pytest.mark.parametrize(("limit", "expected"), [(60.0, [1, 1, 1]), (-1.0, [1, 3, 3])])
def test_only_long_fills_of_tables_use_all_threads_of_pytorch(monkeypatch, limit, expected):
    monkeypatch.setattr(native, "LONG_FILL", limit)
    layout, found = Layout(1, torch.zeros(1)), []
    clock = Clock(np.ones((1, 1), dtype=bool), torch.zeros(1, 1, dtype=torch.int64), 0)
    copy = Pointwise(layout.scratch(1, 1), identity, (layout.scratch(1, 1),), 0)
    fills = [(step, lambda: found.append(torch.get_num_threads())) for step in range(3)]
    with threads(3):
        run_program("native", program_of(layout, [clock], [[copy]], [(0, 0)] * 3, fills))
        assert torch.get_num_threads() == 3
    assert found == expected
