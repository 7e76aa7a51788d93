"""Trains the filter behind g_s: python -m codec.training.base.train_filter --decoded DIR --out DIR [--weights FILE]
[NAME=VALUE ...]

Everything else stays as it is, and so do all files: only their pictures are better. Killed and started again with the
same --out, it goes on where it was.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from codec import manifest, zoo
from codec.models.filter import GRID, Filter
from codec.models.transforms import level_features
from codec.told import told
from codec.training.base.decoded import SHARDS, Decoded
from codec.training.config import configure, options
from codec.training.data.shards import VALIDATION, check, networks
from codec.training.loop import Done, Every, Loop, Stage
from codec.training.optim import Muon, split
from codec.training.processes import place
from codec.training.run import Run
from codec.training.shipping.stages import check_listed, record_stage

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class FilterConfig:
    """steps, seconds, as in TrainConfig; batch, crop (pixels, a multiple of 16), lr: of Muon for 1x1 convolutions of
    the blocks, lr_rest: of Adam for the rest; warmup, ema, clip, seed: of the optimiser; width, blocks: of the
    network; validate, save: steps between."""

    steps: int = 12000
    seconds: float = 0.0
    batch: int = 8
    crop: int = 128
    lr: float = 0.01
    lr_rest: float = 2e-3
    warmup: int = 100
    ema: float = 0.998
    clip: float = 1.0
    seed: int = 0
    width: int = 64
    blocks: int = 6
    validate: int = 1000
    save: int = 500


def filter_of(config: FilterConfig, features: int) -> Filter:
    return Filter(config.width, config.blocks, features)


class Store:
    """Shards of decoded pictures, read piece by piece from disk."""

    def __init__(self, folder: Path, model: str) -> None:
        """model: its ``networks``. Raises SystemExit where there are no shards, or those of another model."""
        paths = sorted(folder.glob("shard-*.safetensors"))
        if not paths:
            raise SystemExit(
                f"no shards of decoded pictures in {folder}: make them with python -m codec.training.base.decoded"
            )
        check([*paths, folder / VALIDATION], model, SHARDS)
        self._open = [safe_open(p, "numpy") for p in paths]
        self.validation = Decoded.load(folder / VALIDATION, model)
        self.features = self.validation.features.shape[1]

    def draw(self, rng: np.random.Generator, count: int, size: int) -> Decoded:
        """Random windows at places of the grid."""
        pieces = []
        for _ in range(count):
            f = self._open[int(rng.integers(len(self._open)))]
            n, _, side, _ = f.get_slice("x").get_shape()
            k, (i, j) = int(rng.integers(n)), rng.integers((side - size) // GRID + 1, size=2).tolist()

            def cut(name: str, unit: int, f=f, k=k, i=i, j=j) -> np.ndarray:
                a, b, s = i * GRID // unit, j * GRID // unit, size // unit
                return f.get_slice(name)[k : k + 1, :, a : a + s, b : b + s]

            pieces.append(Decoded(cut("x", 1), cut("x_hat", 1), cut("features", 8), f.get_slice("level")[k : k + 1]))
        return Decoded.join(pieces)


def errors(net: nn.Module, batch: Decoded, anchors: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared error (B,) of each crop with the filter, and without; pixels in 0..1, not clipped."""
    device = next(net.parameters()).device
    x, x_hat, features = (
        torch.from_numpy(a).to(device).float().contiguous(memory_format=torch.channels_last)
        for a in (batch.x, batch.x_hat, batch.features)
    )
    x = x / 255
    out = x_hat + net(x_hat - 0.5, features, level_features(torch.from_numpy(batch.level).to(device).float(), anchors))
    return (out - x).square().mean((1, 2, 3)), (x_hat - x).square().mean((1, 2, 3))


def usual(store: Store, anchors: int) -> np.ndarray:
    """Polynomial of the level that gives the logarithm of the usual squared error: what errors are measured by, so
    that all rates count."""
    v = store.validation
    mse = np.square(v.x_hat.astype(np.float32) - v.x / np.float32(255)).mean((1, 2, 3))
    return np.polyfit(v.level, np.log(mse), min(3, len(np.unique(v.level)) - 1))


@torch.no_grad()
def validate(net: nn.Module, store: Store, anchors: int) -> dict[str, float]:
    """Mean change of the squared error, in percent: over all held-out crops, and for each of the levels they have."""
    net.eval()
    v = store.validation
    change = []
    for start in range(0, len(v.level), 8):
        part = Decoded(*(getattr(v, f.name)[start : start + 8] for f in dataclasses.fields(v)))
        after, before = errors(net, part, anchors)
        change += (after / before).log().tolist()
    net.train()
    change, levels = np.array(change), np.unique(v.level)
    rows = {"all": change, **{f"level_{level:.2f}": change[v.level == level] for level in levels}}
    return {name: 100 * float(np.expm1(values.mean())) for name, values in rows.items()}


class FilterStage(Stage):
    """The filter behind g_s, by the squared error it leaves."""

    def __init__(self, config: FilterConfig, net: nn.Module, store: Store, anchors: int) -> None:
        self._config, self.module, self._store, self._anchors = config, net, store, anchors
        self._curve = usual(store, anchors)
        matrices, rest = split(net, ("body.", "layers."))
        adam = torch.optim.Adam(rest, lr=config.lr_rest, betas=(0.9, 0.99), fused=True)
        self.optimisers = [Muon(matrices, config.lr), adam]
        for opt in self.optimisers:
            opt.param_groups[0]["peak"] = opt.param_groups[0]["lr"]
        self.clip = rest, config.clip
        self.facts = {"filter": dataclasses.asdict(config)}

    def rate(self, done: Done) -> float:
        return min(1.0, (done.steps + 1) / self._config.warmup) * 0.5 * (1 + math.cos(math.pi * done.share))

    def step(self, done: Done, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        batch = self._store.draw(rng, self._config.batch, self._config.crop)
        after, before = errors(self.module, batch, self._anchors)
        loss = (after * torch.from_numpy(np.exp(-np.polyval(self._curve, batch.level))).to(after)).mean()
        self.module.zero_grad(set_to_none=True)
        loss.backward()
        return {"loss": loss, "change": 100 * (after / before).log()}

    def logged(self, steps: int) -> bool:
        return steps % 100 == 0

    def validate(self) -> Iterator[dict[str, float]]:
        yield validate(self.module, self._store, self._anchors)


def train(
    config: FilterConfig,
    store: Store,
    anchors: int,
    out: Path,
    stop_at: int | None = None,
    device: torch.device | str = "cpu",
    make: Callable[[FilterConfig, int], Net] = filter_of,
) -> Net:
    """Runs or resumes a training; returns the filter with averaged weights, on ``device``. make: another network
    that does what a ``Filter`` does, from the settings and the channels of g_s."""
    torch.manual_seed(config.seed)
    net = make(config, store.features).to(device, memory_format=torch.channels_last)
    loop = Loop(FilterStage(config, net, store, anchors), Run(out, config, True, device), config, device)
    loop.run(Every(config.validate), Every(config.save), stop_at)
    return net


@told
def main() -> None:
    ap = options("base.train_filter", __doc__)
    ap.add_argument("--decoded", type=Path, required=True, help="folder made by codec.training.base.decoded")
    ap.add_argument("--model", default="default", help="perceptual model that the pictures are of")
    ap.add_argument("--weights", type=Path, help="weights file to write: the model with its filter")
    ap.add_argument(
        "--id", type=int, default=0, help="model id in the manifest beside the weights file (0: no manifest)"
    )
    args = ap.parse_args()
    config, model = configure(FilterConfig(), args.config, args.settings), zoo.load(args.model)
    if args.weights and args.id:
        check_listed(args.id, args.weights.parent)
    with place(args.threads, alone="codec.training.base.train_filter") as device:
        store = Store(args.decoded, networks(model.vqvae))
        net = train(config, store, model.config.anchors, args.out, args.stop_at, device)
    if args.weights:
        zoo.write_filter(zoo.find(args.model, manifest.read())[0], args.weights, net)
        if args.id:
            record_stage(args.weights, args.id, args.out)


if __name__ == "__main__":
    main()
