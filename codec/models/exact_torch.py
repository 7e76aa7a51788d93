"""codec.models.exact.Arithmetic in PyTorch: the same integers, on many threads or on a card."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


class Torch:
    """Arithmetic in PyTorch on a device."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)

    def load(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)

    def store(self, x: torch.Tensor) -> np.ndarray:
        return x.cpu().numpy()

    def layer(self, weight: np.ndarray, bias: np.ndarray) -> tuple[Any, Any]:
        return self.load(weight), self.load(bias)

    def dense(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.addmm(bias, x.reshape(-1, x.shape[-1]), weight).floor_().view(*x.shape[:-1], -1)

    def depthwise(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return self._filtered(x, weight, bias).floor_()

    def _filtered(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        h, w, _ = x.shape
        p = torch.nn.functional.pad(x, (0, 0, 1, 1, 1, 1))
        out = torch.addcmul(bias, p[:h, :w], weight[0, 0])
        for i in range(3):
            for j in range(3):
                if i or j:
                    out.addcmul_(p[i : i + h, j : j + w], weight[i, j])
        return out

    def leaky(self, x: torch.Tensor, clip: int, half: float) -> torch.Tensor:
        return torch.maximum(x, (x * 0.125).add_(half).floor_(), out=x).clamp_(-clip, clip)

    def add(self, x: torch.Tensor, y: torch.Tensor, clip: int) -> torch.Tensor:
        return x.add_(y).clamp_(-clip, clip)

    def at(self, x: torch.Tensor, places: np.ndarray) -> torch.Tensor:
        return x.flatten(0, 1)[torch.from_numpy(places).to(self._device)]
