"""One process of benchmarks/speed/measure.py or table.py: one codec, one direction. Started by it as `python -m
benchmarks.speed.worker JOB`.

JOB is the JSON of a `Job`. Lines on standard input are commands, lines of JSON on standard output the answers:
"run" -> seconds and processor seconds of one run; "peak" -> peak memory so far, bytes; "end" -> the same and
multiply-accumulates. The first line is written when the worker is ready, after a first run. `python FILE JOB` with
another checkout of the project in PYTHONPATH measures that one.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

START = time.perf_counter()


@dataclass(frozen=True)
class Job:
    """codec: ours, ours-onnx (the decoder without torch), one of NEURAL or CLASSIC; direction: encode or decode;
    pixels: an .npy file of uint8 H W 3; file: what encode writes and decode reads; quality and effort: where the
    codec has them (NEURAL: 1..8); decoder: which of ours, when it decodes; precision: of ours; brief: the first run
    is that of a corner of the picture, encoded and decoded at effort 1, for what takes long."""

    codec: str
    direction: str
    threads: int
    quality: float
    effort: int
    pixels: str
    file: str
    decoder: str = ""
    precision: str = "float32"
    brief: bool = False


#: Models of CompressAI that are measured with random weights -> their name there.
NEURAL = {
    "hyperprior": "bmshj2018_hyperprior",
    "mbt2018-mean": "mbt2018_mean",
    "cheng2020-anchor": "cheng2020_anchor",
}
CLASSIC = ("jpeg", "webp", "avif", "jxl")
CORNER = 256  # pixels a side of what a brief job begins with


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

    asked = {} if job.precision == "float32" else {"precision": job.precision}  # earlier versions have no other
    one = codec.load(threads=job.threads, **asked)
    return lambda pixels: one.encode(pixels, quality=job.quality, effort=job.effort), lambda data: one.decode_array(
        data, decoder=job.decoder
    )


def make_light(job: Job) -> tuple[Callable, Callable]:
    """It has no encoder; its threads are those of OMP_NUM_THREADS."""
    import numpy as np

    from codec import light

    one = light.load()
    return one.decode, lambda data: np.asarray(one.decode(data))


def make_neural(job: Job) -> tuple[Callable, Callable]:
    """A model of CompressAI with random weights: bytes out of proportion, time as with trained ones but for the
    escapes of its coder. Sides are padded to multiples of 64."""
    from codec._compat import import_torchvision

    import_torchvision()
    import compressai.zoo
    import torch

    torch.manual_seed(0)
    make = getattr(compressai.zoo, NEURAL[job.codec])
    net = make(quality=int(job.quality), metric="mse", pretrained=False).eval().requires_grad_(False)
    net.update(force=True)

    @torch.no_grad()
    def encode(pixels: Any) -> bytes:
        h, w, _ = pixels.shape
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        out = net.compress(torch.nn.functional.pad(x, (0, -w % 64, 0, -h % 64), mode="replicate"))
        (y,), (z,) = out["strings"]
        return struct.pack("<5I", h, w, *out["shape"], len(y)) + y + z

    @torch.no_grad()
    def decode(data: bytes) -> Any:
        h, w, *shape, size = struct.unpack_from("<5I", data)
        x = net.decompress([[data[20 : 20 + size]], [data[20 + size :]]], shape)["x_hat"]
        return (x[0, :, :h, :w] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()

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


def make_jxl(job: Job) -> tuple[Callable, Callable]:
    import imagecodecs

    return (
        lambda pixels: imagecodecs.jpegxl_encode(pixels, distance=job.quality, effort=7, numthreads=job.threads),
        lambda data: imagecodecs.jpegxl_decode(data, numthreads=job.threads),
    )


def maker(job: Job) -> Callable[[Job], tuple[Callable, Callable]]:
    """job -> what makes its encoder and decoder."""
    makers = {"ours": make_ours, "ours-onnx": make_light, "jxl": make_jxl, **dict.fromkeys(NEURAL, make_neural)}
    return makers.get(job.codec, make_pillow)


def count_macs(run: Callable[[], object]) -> float:
    """Multiply-accumulates of the torch operators that `run` calls: convolutions, matrix products, and the fused
    multiply-adds of which the integer prior makes its depthwise convolutions. Where it multiplies digits, six products
    are one of its integers (codec.models.exact_bytes). Other elementwise work is not counted."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    aten = torch.ops.aten

    def addcmul(x: Any, a: Any, b: Any, *, value: float = 1, out_shape: Any = None, **_: Any) -> int:
        return 2 * math.prod(x if isinstance(x, (tuple, list, torch.Size)) else x.shape)

    def of_bytes(a: Any, b: Any, *, out_shape: Any = None, **_: Any) -> int:
        return 2 * a[0] * a[1] * b[1] // 6

    ops = {aten.addcmul: addcmul, aten.addcmul_: addcmul, aten._int_mm: of_bytes}
    with FlopCounterMode(display=False, custom_mapping=ops) as counter:
        run()
    return counter.get_total_flops() / 2


def answer(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def main(job: Job) -> None:
    neural = job.codec == "ours" or job.codec in NEURAL
    if neural:
        import torch

        torch.set_num_threads(job.threads)
    import numpy as np

    encode, decode = maker(job)(job)
    startup, loaded = time.perf_counter() - START, memory("VmRSS")
    subject = np.load(job.pixels) if job.direction == "encode" else Path(job.file).read_bytes()

    def run() -> Any:
        return (encode if job.direction == "encode" else decode)(subject)

    def keep(out: Any) -> int:
        if job.direction == "encode":
            Path(job.file).write_bytes(out)
        return len(out if job.direction == "encode" else subject)

    start = time.perf_counter()
    if job.brief:
        first, other = maker(job)(replace(job, effort=1, decoder=job.decoder or "vq"))
        other(first(np.ascontiguousarray(np.load(job.pixels, mmap_mode="r")[:CORNER, :CORNER])))
        size = 0
    else:
        size = keep(run())  # warms up: allocators, kernels of oneDNN, entropy coding tables
    answer(startup_s=startup, loaded_mb=loaded, first_s=time.perf_counter() - start)
    for line in sys.stdin:
        peak = memory("VmHWM")
        if line.strip() == "peak":
            answer(peak_mb=peak, bytes=size)
            continue
        if line.strip() == "end":
            counted = neural and job.effort <= 1  # torch's counter does not take the gradients of a search
            answer(peak_mb=peak, bytes=size, macs=count_macs(run) if counted else None)
            return
        start, busy = time.perf_counter(), time.process_time()
        out = run()
        answer(seconds=time.perf_counter() - start, processor_s=time.process_time() - busy)
        size = size or keep(out)


if __name__ == "__main__":
    main(Job(**json.loads(sys.argv[1])))
