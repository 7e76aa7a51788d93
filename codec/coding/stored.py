"""The file of a base model as plain arrays: what it holds, before any network is made of it. No torch here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from codec.errors import CodecError
from codec.models.config import VQVAEConfig, model_config

INTEGER = "integer."  # prefix of the arrays that decide what bits mean; their hash is in every file
#: beginnings of the names of the weights that make the picture of decoded latents
SYNTHESIS = ("g_s.", "log2_igain", "sd")


@dataclass(frozen=True)
class StoredModel:
    """integers: int32, prior and tables, without their prefix. floats: names of the other arrays, float16 or
    float32."""

    config: VQVAEConfig
    trellis: str
    integers: dict[str, np.ndarray]
    floats: dict[str, np.ndarray]

    @property
    def table_hash(self) -> int:
        return hash_arrays(self.integers)


def hash_arrays(arrays: dict[str, np.ndarray]) -> int:
    """First 32 bits of the SHA-256 over names, shapes and values (as int32) in order of names."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        h.update(f"{name}{arrays[name].shape}".encode())
        h.update(np.ascontiguousarray(arrays[name], "<i4").tobytes())
    return int.from_bytes(h.digest()[:4], "little")


def smallest(values: np.ndarray) -> np.ndarray:
    """Integers as int16 where they fit, else as int32: the types of the file."""
    small = values.min() >= -(2**15) and values.max() < 2**15
    return np.ascontiguousarray(values, np.int16 if small else np.int32)


def read_stored(path: Path, floats: tuple[str, ...] = ("",)) -> StoredModel:
    """floats: beginnings of the names of the other arrays that are wanted; all by default. Raises CodecError for a
    file that is no model."""
    try:
        with safe_open(path, "numpy") as f:
            meta, names = f.metadata(), f.keys()
            integers = {
                k.removeprefix(INTEGER): f.get_tensor(k).astype(np.int32) for k in names if k.startswith(INTEGER)
            }
            others = {k: f.get_tensor(k) for k in names if not k.startswith(INTEGER) and k.startswith(floats)}
        return StoredModel(model_config(json.loads(meta["config"])), meta["trellis"], integers, others)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CodecError(f"the model file {path.name} cannot be read: {error}") from error
