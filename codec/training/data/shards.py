"""Shards of training data that are computed once: arrays of N crops in a safetensors file, and what the stream of a
crop leaves of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from codec.coding.model import Base
from codec.models.vqvae import VQVAE
from codec.whole import written

CROP = 384
VALIDATION = "validation.safetensors"


class Shard:
    """Base of dataclasses whose fields are arrays with N first. A file of them says which model made them."""

    def save(self, path: Path, model: str) -> None:
        """model: a hash of what the arrays depend on, such as ``networks``."""
        with written(path) as part:
            save_file(
                {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}, part, {"model": model}
            )

    @classmethod
    def load(cls, path: Path, model: str) -> Self:
        """Raises SystemExit for a file of another model, see ``check``."""
        check([path], model)
        return cls(**load_file(path))

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})


def check(paths: Iterable[Path], model: str, made: str = "what was computed") -> None:
    """Raises SystemExit for a file that another model made, or that does not say which. made: what is in them."""
    for path in paths:
        try:
            with safe_open(path, "numpy") as f:
                said = (f.metadata() or {}).get("model")
        except (OSError, SafetensorError):
            raise SystemExit(f"{path} is no file of {made}") from None
        if said != model:
            whose = "does not say which model made it" if said is None else f"is of another model ({said})"
            raise SystemExit(f"{path}, a file of {made}, {whose}; this one is {model}: name a new folder")


def networks(model: VQVAE) -> str:
    """First 8 hexadecimal digits of the SHA-256 of a model's networks but for the filter, which is trained behind the
    others."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if not name.startswith("g_s.filter."):
            found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:8]


@dataclass(frozen=True)
class Streamed:
    """Of one crop: position (1,) of its level among the anchors, tokens (1, h/2, w/2), ideal bits of the latents,
    y_hat (1, C, h, w)."""

    position: torch.Tensor
    tokens: torch.Tensor
    bits: float
    y_hat: torch.Tensor


def to_float(pixels: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in 0..1."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255


@torch.no_grad()
def stream(model: Base, pixels: np.ndarray, level: int) -> Streamed:
    """Pixels (H, W, 3) uint8, integer level -> what the stream of effort 1 says."""
    asked = model.to_steps(to_float(pixels), level)
    sent = model.coder.measure(asked.v[0].numpy(), asked.tokens[0].numpy(), level, asked.weight)
    return Streamed(asked.position, asked.tokens, sent.bits, model.from_steps(sent.v_hat, level))
