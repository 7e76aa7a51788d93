"""Weights files of the semantic stage: matrices in 8 bits with a scale for each row, the rest in half precision."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from codec.errors import CodecError
from codec.models.latent_denoiser import LatentDenoiserConfig
from codec.models.painter import PainterConfig
from codec.models.restorer import Restorer

LEVELS = 127
_ROWS = ".rows"  # suffix of the scales of a matrix
_FLOAT32 = ("scale", "residual")


def quantised(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n, ...) -> int8 of the same shape and float32 (n,): w is about the product, row by row; the error is at most half a step."""
    rows = np.abs(w.reshape(len(w), -1)).max(1) / LEVELS
    rows = np.where(rows > 0, rows, 1).astype(np.float32)
    return np.rint(w / rows.reshape(-1, *[1] * (w.ndim - 1))).astype(np.int8), rows


def write_restorer(path: Path, net: Restorer) -> None:
    """Stores a network of the semantic stage."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in net.state_dict().items():
        w = value.detach().cpu().float().contiguous().numpy()
        if w.ndim >= 2 and w[0].size >= 16:
            arrays[name], arrays[name + _ROWS] = quantised(w)
        else:
            arrays[name] = w if name in _FLOAT32 else w.astype(np.float16)
    meta = {"painter": asdict(net.painter.config), "denoiser": asdict(net.denoiser.config), "anchors": net.anchors, "codeword": net.hyper.project.in_features}
    save_file(arrays, path, {"restorer": json.dumps(meta)})


def read_restorer(path: Path, device: torch.device | str = "cpu") -> Restorer:
    """Inverse of ``write_restorer``. Raises CodecError for a file that is no such network."""
    try:
        with safe_open(path, "numpy") as f:
            meta, arrays = json.loads(f.metadata()["restorer"]), {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 (the file is no mapping)
        net = Restorer(PainterConfig(**meta["painter"]), LatentDenoiserConfig(**meta["denoiser"]), meta["anchors"], meta["codeword"])
        state = {}
        for name, a in arrays.items():
            if not name.endswith(_ROWS):
                w = a.astype(np.float32)
                state[name] = torch.from_numpy(w * arrays[name + _ROWS].reshape(-1, *[1] * (w.ndim - 1)) if a.dtype == np.int8 else w)
        net.load_state_dict(state)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise CodecError(f"the weights {path.name} cannot be read: {error}") from error
    return net.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)
