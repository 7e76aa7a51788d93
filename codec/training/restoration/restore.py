"""What the trainings of the semantic stage share: batches of cached latents, their conditions, scales of the residual, settings, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from codec.models.context import Context
from codec.models.denoiser import DenoiserConfig
from codec.models.semantic import UPSCALES, Condition, Semantic
from codec.models.vqvae import VQVAE
from codec.training.data.shards import VALIDATION
from codec.training.restoration.latents import Latents

SCALE_SHARDS = 12  # shards that the scales of the residual are measured on


@dataclass(frozen=True)
class RestoreConfig:
    """One training of the semantic stage.

    steps: optimiser steps; batch: crops per step over all processes; window: side of a crop in latent positions (even); lr, warmup, ema, clip, seed: of the optimiser; decay: share of the steps over
    which the learning rate falls to 0 at the end; upscale: share of crops that are enlargements instead of decoded streams; drop: share of steps without context tokens;
    channel_power: errors of a channel weigh as its scale to this power; model: of the network.
    """

    steps: int = 8000
    batch: int = 4
    window: int = 16
    lr: float = 8e-4
    warmup: int = 200
    decay: float = 0.5
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    upscale: float = 0.25
    drop: float = 0.1
    channel_power: float = 1.0
    validate: int = 500
    save: int = 250
    model: DenoiserConfig = field(default_factory=lambda: DenoiserConfig(width=256, heads=4))


@dataclass(frozen=True)
class Batch:
    """x (B, 3, 16 n, 16 n) in 0..1, clean latents y (B, C, n, n) at the top level, what is known of them, and the numbers (B,) of their photographs."""

    x: torch.Tensor
    y: torch.Tensor
    condition: Condition
    photo: torch.Tensor


@dataclass(frozen=True)
class Pieces:
    """A shard: arrays (slices of a file, or tensors on a card), level, factor and photograph of each crop, positions a side."""

    arrays: dict[str, Any]
    level: list[float]
    factor: list[int]
    photo: list[int]
    side: int


class Store:
    """Shards of cached latents: read piece by piece from disk or, for a model on a card, held there."""

    def __init__(self, folder: Path, vqvae: VQVAE) -> None:
        self.paths = sorted(folder.glob("shard-*.safetensors"))
        if not self.paths:
            raise SystemExit(f"no shards of latents in {folder}: make them with python -m codec.training.restoration.latents")
        self.folder, self.vqvae, self.device = folder, vqvae, vqvae.sd.device
        self.anchors = vqvae.config.anchors
        self._open = [self._read(p) for p in self.paths]
        self._centroids = vqvae.tokens.centroids(vqvae.sd)

    def _read(self, path: Path) -> Pieces:
        if self.device.type == "cuda":
            arrays = load_file(path, str(self.device))
        else:
            f = safe_open(path, "pt")
            arrays = {name: f.get_slice(name) for name in f.keys()}
        return Pieces(arrays, arrays["level"][:].tolist(), arrays["factor"][:].tolist(), arrays["photo"][:].tolist(), arrays["tokens"][:1].shape[-1] * 2)

    def draw(self, rng: np.random.Generator, config: RestoreConfig, net: Semantic) -> Batch:
        """Random windows of random crops; each is a decoded stream or an enlargement."""
        n, pieces = config.window, []
        for _ in range(config.batch):
            f = self._open[int(rng.integers(len(self._open)))]
            k = int(rng.integers(len(f.level)))
            i, j = (2 * int(rng.integers((f.side - n) // 2 + 1)) for _ in range(2))
            pieces.append(self._window(f, k, i, j, n, bool(rng.random() < config.upscale)))
        return self._batch(pieces, net, rng.random() >= config.drop)

    def validation(self, config: RestoreConfig, net: Semantic, enlarged: bool, size: int = 8) -> Iterator[Batch]:
        """Middles of the held-out crops, in batches, with context."""
        f, n = self._read(self.folder / VALIDATION), config.window
        at = (f.side - n) // 4 * 2
        for start in range(0, len(f.level), size):
            yield self._batch([self._window(f, k, at, at, n, enlarged) for k in range(start, min(len(f.level), start + size))], net, True)

    def _window(self, f: Pieces, k: int, i: int, j: int, n: int, enlarged: bool) -> dict[str, Any]:
        def cut(name: str, scale: float) -> torch.Tensor:  # scale: entries of the array for each position
            a, b, c, d = (int(v * scale) for v in (i, i + n, j, j + n))
            s = f.arrays[name]
            return s[k : k + 1, a:b, c:d] if name in ("x", "tokens") else s[k : k + 1, :, a:b, c:d]

        return {
            "x": cut("x", 16), "y": cut("y", 1), "y_c": cut("enlarged" if enlarged else "decoded", 1), "tokens": cut("tokens", 0.5), "thumbnail": cut("thumbnail", 0.5),
            "task": float(self.anchors + UPSCALES.index(f.factor[k])) if enlarged else f.level[k], "enlarged": enlarged, "photo": f.photo[k],
        }  # fmt: skip

    def _batch(self, pieces: list[dict[str, Any]], net: Semantic, with_context: bool) -> Batch:
        t = {k: torch.cat([p[k] for p in pieces]).to(self.device) for k in ("x", "y", "y_c", "tokens", "thumbnail")}
        task, enlarged, photo = (torch.tensor([p[k] for p in pieces]).to(self.device) for k in ("task", "enlarged", "photo"))
        context = None
        if with_context:
            stream, picture = net.hyper(self._centroids[t["tokens"].long()].permute(0, 3, 1, 2)), net.picture(t["thumbnail"].float())
            context = Context(torch.where(enlarged[:, None, None], picture.values, stream.values), stream.positions)
        return Batch(t["x"].permute(0, 3, 1, 2).float() / 255, t["y"].float(), Condition(t["y_c"].float(), task.float(), context), photo)

    def fit(self, net: Semantic) -> None:
        """Measures the scales of the residual and the deviations of y on the first shards."""
        parts = [Latents.load(p) for p in self.paths[:SCALE_SHARDS]]
        rows, c = len(net.scale), net.scale.shape[1]
        total, weight = torch.zeros(rows, c, dtype=torch.float64), torch.zeros(rows, dtype=torch.float64)
        y2 = torch.zeros(c, dtype=torch.float64)
        for p in parts:
            y = p.y.astype(np.float32)
            for source, task in ((p.decoded, p.level.astype(np.float64)), (p.enlarged, self.anchors + np.searchsorted(UPSCALES, p.factor))):
                error = torch.from_numpy(np.square(y - source.astype(np.float32)).mean((2, 3), dtype=np.float64))
                near = (1 - (torch.from_numpy(np.asarray(task, np.float64))[:, None] - torch.arange(rows)).abs()).clamp(min=0)  # (N, rows)
                stream = torch.arange(rows) < self.anchors
                near = near * (stream if source is p.decoded else ~stream)
                total += near.t() @ error
                weight += near.sum(0)
            y2 += torch.from_numpy(np.square(y).mean((0, 2, 3), dtype=np.float64)) / len(parts)
        net.scale.copy_((total / weight.clamp(min=1e-6)[:, None]).clamp(min=1e-10).sqrt())
        net.sd.copy_(y2.sqrt())


def channel_weight(net: Semantic, task: torch.Tensor, power: float) -> torch.Tensor:
    """(B, C, 1, 1), mean 1 over channels."""
    w = net.scales(task) ** power
    return w / w.mean(1, keepdim=True)


def learning_rate(step: int, config: RestoreConfig) -> float:
    """Factor 0..1: linear warm-up, constant, then linear to 0 over the last ``decay`` of the steps."""
    return min(1.0, (step + 1) / config.warmup) * min(1.0, (1 - step / config.steps) / config.decay)


@torch.no_grad()
def start_from(net: Semantic, checkpoint: Path, keep_head: bool = False) -> None:
    """Averaged weights of another run, as far as it has them; without keep_head the last layers start at 0."""
    state = torch.load(checkpoint, weights_only=True, map_location=net.sd.device)
    buffers = {name for name, _ in net.named_buffers()}
    means = dict(zip((name for name in state["model"] if name not in buffers), state["ema"], strict=True))
    for name, p in net.named_parameters():
        if name in means:
            p.copy_(means[name])
    if not keep_head:
        for layer in (net.network.head, net.network.spread):
            layer.weight.zero_(), layer.bias.zero_()
