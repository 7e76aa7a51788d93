"""What the trainings of the semantic stage share: batches of cached latents, their conditions, scales of the residual, settings, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from codec import zoo
from codec.models.context import Context
from codec.models.denoiser import DenoiserConfig
from codec.models.semantic import UPSCALES, Condition, Semantic
from codec.training.latents import Latents
from codec.training.shards import VALIDATION

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
    """x (B, 3, 16 n, 16 n) in 0..1, clean latents y (B, C, n, n) at the top level, and what is known of them."""

    x: torch.Tensor
    y: torch.Tensor
    condition: Condition


class Store:
    """Shards of cached latents, read piece by piece from disk; batches lie where the network is that they are drawn for."""

    def __init__(self, folder: Path, model: zoo.PerceptualModel) -> None:
        self.paths = sorted(folder.glob("shard-*.safetensors"))
        if not self.paths:
            raise SystemExit(f"no shards of latents in {folder}: make them with python -m codec.training.latents")
        self.folder, self.model = folder, model
        self.anchors = model.config.anchors
        self._open = [safe_open(p, "numpy") for p in self.paths]
        self._counts = [f.get_slice("level").get_shape()[0] for f in self._open]
        self._centroids = model.vqvae.tokens.centroids(model.vqvae.sd).cpu()

    def draw(self, rng: np.random.Generator, config: RestoreConfig, net: Semantic) -> Batch:
        """Random windows of random crops; each is a decoded stream or an enlargement."""
        n, pieces = config.window, []
        for _ in range(config.batch):
            f = int(rng.integers(len(self._open)))
            k = int(rng.integers(self._counts[f]))
            side = self._open[f].get_slice("y").get_shape()[-1]
            i, j = (2 * int(rng.integers((side - n) // 2 + 1)) for _ in range(2))
            pieces.append(self._window(self._open[f], k, i, j, n, rng.random() < config.upscale))
        return self._batch(pieces, net, rng.random() >= config.drop)

    def validation(self, config: RestoreConfig, net: Semantic, enlarged: bool, size: int = 8) -> Iterator[Batch]:
        """Middles of the held-out crops, in batches, with context."""
        f, n = safe_open(self.folder / VALIDATION, "numpy"), config.window
        count, side = f.get_slice("level").get_shape()[0], f.get_slice("y").get_shape()[-1]
        at = (side - n) // 4 * 2
        for start in range(0, count, size):
            yield self._batch([self._window(f, k, at, at, n, enlarged) for k in range(start, min(count, start + size))], net, True)

    def _window(self, f: Any, k: int, i: int, j: int, n: int, enlarged: bool) -> dict[str, np.ndarray]:
        def cut(name: str, scale: int) -> np.ndarray:  # scale: entries of the array for each position, negative: positions for each entry
            a, b, c, d = (v * scale if scale > 0 else v // -scale for v in (i, i + n, j, j + n))
            s = f.get_slice(name)
            if name == "x":
                return s[k : k + 1, a:b, c:d]
            return s[k : k + 1, :, a:b, c:d] if len(s.get_shape()) == 4 else s[k : k + 1, a:b, c:d]

        factor = int(f.get_slice("factor")[k : k + 1][0])
        task = self.anchors + UPSCALES.index(factor) if enlarged else float(f.get_slice("level")[k : k + 1][0])
        return {
            "x": cut("x", 16), "y": cut("y", 1), "y_c": cut("enlarged" if enlarged else "decoded", 1), "task": np.array([task], np.float32),
            "tokens": cut("tokens", -2), "thumbnail": cut("thumbnail", -2), "enlarged": np.array([enlarged]),
        }

    def _batch(self, pieces: list[dict[str, np.ndarray]], net: Semantic, with_context: bool) -> Batch:
        t = {k: torch.from_numpy(np.concatenate([p[k] for p in pieces])) for k in pieces[0]}
        centroids = self._centroids[t.pop("tokens").long()].permute(0, 3, 1, 2)
        t = {k: v.to(net.sd.device) for k, v in t.items()}
        task = t["task"].float()
        context = None
        if with_context:
            stream = net.hyper(centroids.to(net.sd.device))
            picture = net.picture(t["thumbnail"].float())
            context = Context(torch.where(t["enlarged"][:, None, None], picture.values, stream.values), stream.positions)
        return Batch(t["x"].permute(0, 3, 1, 2).float() / 255, t["y"].float(), Condition(t["y_c"].float(), task, context))

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
