"""One process of benchmarks/speed/measure.py: one codec, one direction. Started by it as `python -m
benchmarks.speed.worker JOB`.

JOB is the JSON of a `Job`. Lines on standard input are commands, lines of JSON on standard output the answers:
"run" -> seconds of one run; "peak" -> peak memory so far, bytes; "end" -> the same and multiply-accumulates. The
first line is written when the worker is ready, after a first run.
"""

from __future__ import annotations

import io
import json
import math
import resource
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START = time.perf_counter()


@dataclass(frozen=True)
class Job:
    """codec: ours, ours-onnx (the decoder without torch), hyperprior, webp or avif; direction: encode or decode;
    pixels: an .npy file of uint8 H W 3; file: what encode writes and decode reads; quality and effort: where the
    codec has them (hyperprior: 1..8); decoder: which of ours, when it decodes."""

    codec: str
    direction: str
    threads: int
    quality: float
    effort: int
    pixels: str
    file: str
    decoder: str = ""


def memory(name: str) -> float:
    """VmRSS or VmHWM of this process in MB (10**6 bytes). getrusage may tell the peak of the parent, so it is only
    the fallback."""
    status = Path("/proc/self/status")
    if status.is_file():
        return (
            next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name)) * 1024 / 1e6
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def make_ours(job: Job) -> tuple[Callable, Callable]:
    import codec

    one = codec.load(threads=job.threads)
    return lambda pixels: one.encode(pixels, quality=job.quality, effort=job.effort), lambda data: one.decode_array(
        data, decoder=job.decoder
    )


def make_light(job: Job) -> tuple[Callable, Callable]:
    """It has no encoder; its threads are those of OMP_NUM_THREADS."""
    import numpy as np

    from codec import light

    one = light.load()
    return one.decode, lambda data: np.asarray(one.decode(data))


def make_hyperprior(job: Job) -> tuple[Callable, Callable]:
    """bmshj2018-hyperprior with random weights: bytes out of proportion, time as with trained ones but for the
    escapes of its coder."""
    from codec._compat import import_torchvision

    import_torchvision()
    import torch
    from compressai.zoo import bmshj2018_hyperprior

    torch.manual_seed(0)
    net = bmshj2018_hyperprior(quality=int(job.quality), metric="mse", pretrained=False).eval().requires_grad_(False)
    net.update(force=True)

    @torch.no_grad()
    def encode(pixels: Any) -> bytes:
        out = net.compress(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
        (y,), (z,) = out["strings"]
        return struct.pack("<3I", *out["shape"], len(y)) + y + z

    @torch.no_grad()
    def decode(data: bytes) -> Any:
        *shape, size = struct.unpack_from("<3I", data)
        x = net.decompress([[data[12 : 12 + size]], [data[12 + size :]]], shape)["x_hat"]
        return (x[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()

    return encode, decode


def make_pillow(job: Job) -> tuple[Callable, Callable]:
    import numpy as np
    from PIL import Image

    options = {"quality": int(job.quality), **({"max_threads": job.threads} if job.codec == "avif" else {})}

    def encode(pixels: Any) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, job.codec.upper(), **options)
        return out.getvalue()

    return encode, lambda data: np.asarray(Image.open(io.BytesIO(data)))


def count_macs(run: Callable[[], object]) -> float:
    """Multiply-accumulates of the torch operators that `run` calls: convolutions, matrix products, and the fused
    multiply-adds of which the integer prior makes its depthwise convolutions. Other elementwise work is not
    counted."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def addcmul(x: Any, a: Any, b: Any, *, value: float = 1, out_shape: Any = None, **_: Any) -> int:
        return 2 * math.prod(x if isinstance(x, (tuple, list, torch.Size)) else x.shape)

    ops = {torch.ops.aten.addcmul: addcmul, torch.ops.aten.addcmul_: addcmul}
    with FlopCounterMode(display=False, custom_mapping=ops) as counter:
        run()
    return counter.get_total_flops() / 2


def answer(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def main(job: Job) -> None:
    neural = job.codec in ("ours", "hyperprior")
    if neural:
        import torch

        torch.set_num_threads(job.threads)
    import numpy as np

    encode, decode = {"ours": make_ours, "ours-onnx": make_light, "hyperprior": make_hyperprior}.get(
        job.codec, make_pillow
    )(job)
    startup, loaded = time.perf_counter() - START, memory("VmRSS")
    subject = np.load(job.pixels) if job.direction == "encode" else Path(job.file).read_bytes()

    def run() -> Any:
        return (encode if job.direction == "encode" else decode)(subject)

    out = run()  # warms up: allocators, kernels of oneDNN, entropy coding tables
    if job.direction == "encode":
        Path(job.file).write_bytes(out)
    size = len(out if job.direction == "encode" else subject)
    answer(startup_s=startup, loaded_mb=loaded)
    for line in sys.stdin:
        peak = memory("VmHWM")
        if line.strip() == "peak":
            answer(peak_mb=peak, bytes=size)
            continue
        if line.strip() == "end":
            counted = neural and job.effort <= 1  # torch's counter does not take the gradients of a search
            answer(peak_mb=peak, bytes=size, macs=count_macs(run) if counted else None)
            return
        start = time.perf_counter()
        run()
        answer(seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main(Job(**json.loads(sys.argv[1])))
