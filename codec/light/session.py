"""The graph of a model's synthesis in onnxruntime. The graph has no weights: they come from the model's file, by
name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from codec.errors import CodecError


def threads_here() -> int:
    """Processor cores that this process may use, at most OMP_NUM_THREADS, as other libraries have it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wished = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(wished)) if wished.isdigit() and int(wished) else cores


def synthesis(graph: Path, weights: dict[str, np.ndarray]) -> Callable[[np.ndarray, int], np.ndarray]:
    """-> function of v_hat (1, C, h, w) int32 and level: uint8 (16 h, 16 w, 3). Raises CodecError for a graph of
    another model."""
    onnxruntime.set_default_logger_severity(3)  # what it has to say comes as an exception
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads_here()
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
    options.add_external_initializers(list(weights), values)
    try:
        session = onnxruntime.InferenceSession(graph.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many, without a common base
        raise CodecError(f"the graph {graph.name} does not fit the weights of its model: {error}") from error

    def run(v_hat: np.ndarray, level: int) -> np.ndarray:
        fed = {"v_hat": np.ascontiguousarray(v_hat, np.int32), "level": np.array([level], np.int32)}
        return np.asarray(session.run(["rgb"], fed)[0])

    return run
