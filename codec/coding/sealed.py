"""A call, sealed off from what its caller set in torch: the same bytes whatever was set, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

_PROCESS = os.getpid()  # in which torch's pool of threads lives


@contextlib.contextmanager
def sealed(threads: int | None = None) -> Iterator[None]:
    """torch as a fresh process has it, with so many threads (None: as many as the caller has).

    A process that was forked has no pool of threads, and waits for it for ever: there one thread does the work.
    """
    dtype, count = torch.get_default_dtype(), torch.get_num_threads()
    if os.getpid() != _PROCESS:
        threads = 1
    cpu = torch.device("cpu")  # entered only where another is the default: it costs something at each operation
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        contextlib.nullcontext() if torch.get_default_device() == cpu else cpu,
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
        torch.random.fork_rng(devices=[]),
    ):
        try:
            torch.set_default_dtype(torch.float32)
            if threads:
                torch.set_num_threads(threads)
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_num_threads(count)
