"""Batches for the semantic stage: windows of crops that lie on the device, as decoded streams or as enlargements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from codec.models.context import Context
from codec.models.restorer import UPSCALES, Condition, Restorer, thumbnail

FAR = 1e5  # positions: no head of the cross-attention sees so far
GRID = 32  # pixels: windows begin at multiples of it, as hyper tokens do


def enlarge(x: torch.Tensor, factor: int) -> torch.Tensor:
    """x (B, 3, H, W) in 0..1, made smaller and enlarged again, both bicubic and in 8 bits, as ``codec upscale`` gets
    it."""

    def rounded(t: torch.Tensor) -> torch.Tensor:
        return t.clamp(0, 1).mul(255).round().div(255)

    small = rounded(F.interpolate(x, scale_factor=1 / factor, mode="bicubic", antialias=True))
    return rounded(F.interpolate(small, scale_factor=factor, mode="bicubic", antialias=True))


@dataclass(frozen=True)
class Batch:
    """x (B, 3, n, n) in 0..1 and what is known of it, without its context; tokens (B, n/32, n/32) int64 of the
    streams; enlarged (B,) bool."""

    x: torch.Tensor
    x_c: torch.Tensor
    task: torch.Tensor
    tokens: torch.Tensor
    enlarged: torch.Tensor

    def condition(self, net: Restorer, centroids: torch.Tensor, kept: torch.Tensor | None = None) -> Condition:
        """centroids (K, D): codewords of the hyper tokens; kept (B,) float: 0 for crops whose tokens are moved out of
        sight."""
        stream = net.hyper(centroids[self.tokens].permute(0, 3, 1, 2))
        picture = net.picture(thumbnail(self.x_c))
        values, positions = torch.where(self.enlarged[:, None, None], picture.values, stream.values), stream.positions
        if kept is not None:
            positions = positions + FAR * (1 - kept)[:, None, None]
        return Condition(self.x_c, self.task, Context(values, positions))


class Store:
    """A shard of ``crops`` on a device."""

    def __init__(self, paths: list[Path], anchors: int, device: torch.device | str) -> None:
        if not paths:
            raise SystemExit("there are no crops: codec.training.restoration.crops makes a folder of them")
        parts = [load_file(p) for p in paths]
        self.x, self.x_c, self.tokens = (
            torch.cat([p[name] for p in parts]).to(device) for name in ("x", "x_c", "tokens")
        )
        self.level = torch.cat([p["level"] for p in parts])
        self.photo = torch.cat([p["photo"].long() for p in parts])
        self.anchors, self.side, self.device = anchors, self.x.shape[1], torch.device(device)

    def __len__(self) -> int:
        return len(self.level)

    def draw(
        self, rng: np.random.Generator, count: int, window: int, upscale: float, which: np.ndarray | None = None
    ) -> Batch:
        """Random windows of random crops (or of ``which``); a part of them (``upscale``) as enlargements."""
        which = rng.integers(len(self), size=count) if which is None else which
        at = rng.integers((self.side - window) // GRID + 1, size=(count, 2)) * GRID
        return self._batch(which, at, window, int(count * upscale + rng.random()))

    def whole(self, first: int, last: int, factor: int = 1) -> Batch:
        """Crops first..last; factor 1: as decoded streams, else as enlargements by it."""
        which = np.arange(first, min(last, len(self)))
        return self._batch(which, np.zeros((len(which), 2), int), self.side, 0 if factor == 1 else len(which), factor)

    def _batch(self, which: np.ndarray, at: np.ndarray, n: int, enlarged: int, factor: int | None = None) -> Batch:
        to, photo = self.device, torch.from_numpy(which).to(self.device)[:, None, None]

        def cut(source: torch.Tensor, grid: int) -> torch.Tensor:
            rows, columns = (at[:, k, None] // grid + np.arange(n // grid) for k in (0, 1))
            return source[
                photo, torch.from_numpy(rows).to(to)[:, :, None], torch.from_numpy(columns).to(to)[:, None, :]
            ]

        x, x_c = (cut(t, 1).permute(0, 3, 1, 2).float() / 255 for t in (self.x, self.x_c))
        task = self.level[torch.from_numpy(which)].clone()
        factors = [f for f in UPSCALES if factor in (None, f)] if enlarged else []
        for number, places in zip(factors, np.array_split(np.arange(enlarged), max(1, len(factors))), strict=False):
            if len(places):
                x_c[places] = enlarge(x[places], number)
                task[places] = float(self.anchors + UPSCALES.index(number))
        mark = torch.arange(len(which)) < enlarged
        return Batch(
            x, x_c, task.to(to, non_blocking=True), cut(self.tokens, GRID).long(), mark.to(to, non_blocking=True)
        )
