"""A call, sealed off from what its caller set in torch: the same bytes whatever was set, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import torch

_PROCESS = os.getpid()  # in which torch's pool of threads lives


@contextlib.contextmanager
def sealed(threads: int | None = None) -> Iterator[None]:
    """torch as a fresh process has it, with so many threads (None: as many as the caller has). Calls may overlap in
    threads. Random numbers are the caller's: what draws any is ``building``.

    A process that was forked has no pool of threads, and waits for it for ever: there one thread does the work.
    """
    if os.getpid() != _PROCESS:
        threads = 1
    cpu = torch.device("cpu")  # entered only where another is the default: it costs something at each operation
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        contextlib.nullcontext() if torch.get_default_device() == cpu else cpu,
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
        _shared.held(threads),
    ):
        yield


@contextlib.contextmanager
def building(threads: int | None = None) -> Iterator[None]:
    """``sealed``, to make networks, which draw random weights before they get those of a file."""
    with sealed(threads), torch.random.fork_rng(devices=[]):
        yield


class _Shared:
    """What torch has once for all threads, its default type and its number of threads: the first call to begin keeps
    what was there, and the last one to end puts it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: list[int] = []  # the thread of each call
        self._kept = torch.float32, 1

    @contextlib.contextmanager
    def held(self, threads: int | None) -> Iterator[None]:
        with self._lock:
            before = torch.get_num_threads()
            if not self._inside:
                self._kept = torch.get_default_dtype(), before
            self._inside.append(threading.get_ident())
            torch.set_default_dtype(torch.float32)
            if threads:
                torch.set_num_threads(threads)
        try:
            yield
        finally:
            with self._lock:
                self._inside.remove(threading.get_ident())
                if not self._inside:
                    dtype, before = self._kept
                    torch.set_default_dtype(dtype)
                torch.set_num_threads(before)

    def forked(self) -> None:
        """The other threads are not in the new process, and neither let go of the lock nor end their calls."""
        self._lock = threading.Lock()
        others = [thread for thread in self._inside if thread != threading.get_ident()]
        self._inside = [thread for thread in self._inside if thread == threading.get_ident()]
        if others and not self._inside:
            torch.set_default_dtype(self._kept[0])


_shared = _Shared()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_shared.forked)
