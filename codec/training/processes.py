"""Where a training runs: threads, device and, under torchrun, the group of processes."""

import contextlib
import os
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist


@contextlib.contextmanager
def place(threads: int, alone: str = "") -> Iterator[torch.device]:
    """Sets the threads and joins the group of torchrun, if there is one; gives the device of this process: a CUDA
    card where there is one, else the CPU.

    alone: name of a command that has no use for several processes. Raises SystemExit with one sentence under torchrun
    then, and where there are fewer cards than processes.
    """
    if alone and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SystemExit(f"{alone} runs in one process")
    torch.set_num_threads(threads)
    local, cards = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if 0 < cards <= local:
        raise SystemExit(f"there are {cards} cards, fewer than processes")
    device = torch.device("cuda", local) if cards else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def rank_and_world() -> tuple[int, int]:
    """Number of this process and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def hardware(device: torch.device | str) -> dict[str, object]:
    """What this process runs on, for the record of a run; nothing that names the machine."""
    if torch.device(device).type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = platform.machine()
        with contextlib.suppress(OSError, IndexError):
            name = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")][0]
            name = name.split(":", 1)[1].strip()
    threads, processes = torch.get_num_threads(), rank_and_world()[1]
    return {"device": name, "threads": threads, "processes": processes, "torch": torch.__version__}


class Clock:
    """What a run has cost: processor seconds of all processes or, on cards, seconds of all cards."""

    def __init__(self, device: torch.device | str, spent: float = 0.0) -> None:
        """spent: by the sessions before."""
        self._now = time.perf_counter if torch.device(device).type == "cuda" else time.process_time
        self._spent, self._start = spent, self._now()

    def seconds(self) -> float:
        return self._spent + (self._now() - self._start) * rank_and_world()[1]


@torch.no_grad()
def average(tensors: Iterable[torch.Tensor]) -> None:
    """Replaces tensors by their means over all processes, in place; they lie where the group can reach them."""
    if (world := rank_and_world()[1]) > 1:
        given = list(tensors)
        flat = torch.cat([t.flatten() for t in given])
        dist.all_reduce(flat)
        for t, mean in zip(given, flat.div_(world).split([t.numel() for t in given]), strict=True):
            t.copy_(mean.view_as(t))
