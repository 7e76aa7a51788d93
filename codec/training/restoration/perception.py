"""Frozen feature networks: LPIPS (Zhang et al. 2018) on VGG16, for losses, and on AlexNet, for the validation of a
run. Their weights are the user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
from safetensors import SafetensorError
from safetensors.torch import load_file


@dataclass(frozen=True)
class Trunk:
    """name: of the heads; layers: (channels, kernel, stride) of a convolution with its rectifier, or (0, kernel, 2)
    of a pooling; seen: numbers of the modules whose output is compared; channels, strides: of these."""

    name: str
    layers: tuple[tuple[int, int, int], ...]
    seen: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]


def _vgg() -> tuple[tuple[int, int, int], ...]:
    return tuple(
        part
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
        for part in (*((width, 3, 1),) * count, (0, 2, 2))
    )[:-1]


VGG16 = Trunk("vgg", _vgg(), (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), (1, 2, 4, 8, 16))
ALEXNET = Trunk(
    "alex",
    ((64, 11, 4), (0, 3, 2), (192, 5, 1), (0, 3, 2), (384, 3, 1), (256, 3, 1), (256, 3, 1)),
    (1, 4, 7, 9, 11),
    (64, 192, 384, 256, 256),
    (4, 8, 16, 16, 16),
)


class Perception(nn.Module):
    """weights: safetensors file with the names of torchvision's ``features``, with or without that prefix; heads: one
    with ``vgg.lin0.weight`` .. ``alex.lin4.weight``. Raises SystemExit with one sentence for files that are not
    these."""

    def __init__(self, trunk: Trunk, weights: Path, heads: Path) -> None:
        super().__init__()
        self.trunk, layers, last = trunk, [], 3
        for width, kernel, stride in trunk.layers:
            if width:
                layers += [nn.Conv2d(last, width, kernel, stride, 2 if kernel == 11 else kernel // 2), nn.ReLU()]
                last = width
            else:
                layers.append(nn.MaxPool2d(kernel, stride))
        self.layers = nn.Sequential(*layers)
        try:
            given = {k.removeprefix("features."): v.float() for k, v in load_file(weights).items()}
            self.layers.load_state_dict({k: given[k] for k in self.layers.state_dict()})
            lin = load_file(heads)
            for k in range(len(trunk.seen)):
                self.register_buffer(f"lin{k}", lin[f"{trunk.name}.lin{k}.weight"].float().reshape(1, -1, 1, 1))
        except (OSError, SafetensorError, RuntimeError, KeyError) as error:
            raise SystemExit(
                f"{weights} and {heads} do not hold the {trunk.name} network and its heads of LPIPS ({str(error).splitlines()[0]})"
            ) from None
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """x (B, 3, H, W) in 0..1 -> one tensor (B, C, h, w) for each of ``channels``, unit length over channels."""
        h, found = ((x * 2 - 1 - self.shift) / self.deviation).contiguous(memory_format=torch.channels_last), []
        for k, layer in enumerate(self.layers):
            h = layer(h)
            if k in self.trunk.seen:
                norm = h.float().square().sum(1, keepdim=True).add(1e-10).rsqrt()
                found.append(h * norm.to(h.dtype))
        return found

    def distance(self, a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
        """Features of two pictures -> LPIPS (B,)."""
        parts = []
        for k, (u, v) in enumerate(zip(a, b, strict=True)):
            parts.append(((u - v).square() * getattr(self, f"lin{k}").to(u.dtype)).float().sum(1).mean((1, 2)))
        return torch.stack(parts).sum(0)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Two pictures (B, 3, H, W) in 0..1 -> LPIPS (B,)."""
        return self.distance(self.features(a), self.features(b))
