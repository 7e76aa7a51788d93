"""Calls that overlap in threads: each has torch as it should be, and what the caller set is there in the end."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import codec
from codec.coding.sealed import building, sealed

ROOT = Path(codec.__file__).parent.parent


class Call(threading.Thread):
    """Is inside from ``start`` to ``end``."""

    def __init__(self, threads: int | None = None):
        super().__init__(daemon=True)
        self.threads, self.inside, self.over, self.seen = threads, threading.Event(), threading.Event(), None

    def run(self):
        with sealed(self.threads):
            self.inside.set()
            self.over.wait(60)
            self.seen = torch.get_default_dtype()

    def start(self):
        super().start()
        assert self.inside.wait(60)

    def end(self):
        self.over.set()
        self.join(60)


@pytest.fixture
def caller():
    before = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    yield
    torch.set_default_dtype(before[0])
    torch.set_num_threads(before[1])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_calls_that_overlap(order, caller):
    calls = Call(1), Call(3)
    for call in calls:
        call.start()
    for number in order:
        calls[number].end()
    assert [call.seen for call in calls] == [torch.float32] * 2
    assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float64, 2)
    fresh = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert fresh == [2]  # that of a thread that begins


def test_a_call_within_a_call(caller):
    with sealed(1):
        with sealed(1):
            pass
        assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float32, 1)
        with contextlib.suppress(ValueError), sealed(3):
            raise ValueError
        assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float32, 1)
    assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float64, 2)


def test_random_numbers_of_the_caller_are_not_drawn_twice():
    torch.manual_seed(0)
    call = Call()
    call.start()
    first = torch.rand(3)
    call.end()
    assert not torch.equal(first, torch.rand(3))
    before = torch.get_rng_state()
    with building():
        torch.nn.Linear(3, 3)
    assert torch.equal(before, torch.get_rng_state())


FORKED = """
import os, threading, torch
from codec.coding import sealed

torch.set_default_dtype(torch.float64)
inside, end = threading.Event(), threading.Event()

def call():
    with sealed.sealed():
        inside.set()
        end.wait()

thread = threading.Thread(target=call, daemon=True)
thread.start()
inside.wait()
with sealed._shared._lock:  # another thread is about to begin
    child = os.fork()
if child == 0:
    found = [torch.get_default_dtype()]
    with sealed.sealed():
        found.append(torch.get_default_dtype())
    found.append(torch.get_default_dtype())
    os._exit(found != [torch.float64, torch.float32, torch.float64])
code = os.waitpid(child, 0)[1]
end.set()
thread.join()
assert code == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_forked_during_a_call():
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], env=env, check=True, timeout=100)
