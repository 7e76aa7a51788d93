"""Whether a graph in onnxruntime makes what PyTorch makes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime

from codec.bitstream.container import MAX_LEVEL
from codec.bitstream.tables import UNIT
from codec.coding.model import Base
from codec.errors import CodecError

TOLERANCE = 1  # grey levels


def session(graph: bytes) -> onnxruntime.InferenceSession:
    onnxruntime.set_default_logger_severity(3)  # what it has to say comes as an exception
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def check_synthesis(graph: bytes, model: Base) -> tuple[int, float]:
    """-> largest difference in grey levels, and share of the values that differ, over some sizes and levels.

    Raises CodecError for more than TOLERANCE.
    """
    run, worst, unequal, count = session(graph), 0, 0, 0
    for v_hat, level in _samples(model):
        ours = run.run(["rgb"], {"v_hat": v_hat[None], "level": np.array([level], np.int32)})[0]
        apart = np.abs(ours.astype(np.int16) - model.decoded(v_hat, level))
        worst, unequal, count = max(worst, int(apart.max())), unequal + np.count_nonzero(apart), count + apart.size
    if worst > TOLERANCE:
        raise CodecError(f"the exported graph is off by up to {worst} grey levels")
    return worst, unequal / count


def _samples(model: Base) -> Iterator[tuple[np.ndarray, int]]:
    """Latents as the prior expects them, at several sizes and levels."""
    rng = np.random.default_rng(0)
    for (h, w), level in (((2, 2), 0), ((8, 6), 1234), ((4, 18), 3200), ((10, 10), MAX_LEVEL)):
        sd = np.exp2(model.coder.prior.spread(level) / 1024)
        noise = rng.standard_normal((model.config.channels, h, w)) * (sd * UNIT)[:, None, None]
        yield np.clip(noise, -(2**24), 2**24).astype(np.int32), level
