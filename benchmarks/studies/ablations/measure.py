"""What matters in the perceptual stage: variants trained with the same arithmetic, and measured on held-out
photographs.

    python -m benchmarks.studies.ablations.measure --data DIR --runs DIR [--steps 200] [--out results] [--only
    VARIANT,...]

Each variant starts anew and gets as many steps as cost the floating-point operations of so many steps of the
reference (convolutions and matrix products, counted forward, backward and in the optimiser), with its own schedule
over them. Writes OUT/ablation_points.csv, a row for each variant, quality level and validation crop; what is there is
not trained again. The intervals and the figure are made from it by benchmarks/studies/ablations/report.py. Minutes of
training say what is learned first, not what is best in the end.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks.harness.told import count, told
from codec.models.config import Group
from codec.models.vqvae import VQVAE
from codec.training.base import start
from codec.training.base.train import start_values, train
from codec.training.config import TrainConfig
from codec.training.data.cache import check_outside, data_options
from codec.training.data.photos import Photos, to_tensor

COLUMNS = ("factor", "variant", "steps", "operations", "seconds", "level", "crop", "bits_per_dim", "rmse")
LEVELS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
COUNTED = 4  # steps whose operations are counted


def random_transforms(model: VQVAE, photos: Photos, config: TrainConfig) -> None:
    """The transforms keep their random weights; only the units of the latents and the codebook are measured."""
    x = to_tensor(photos.crops(np.random.default_rng((config.seed, 1)), 100, 128)) - 0.5
    with torch.no_grad():
        model.sd.copy_(model.g_a.linear(x).std((0, 2, 3), keepdim=True))
    start.codebook(model, photos, config.seed, config.start_crops)


def plain_blocks(model: VQVAE, photos: Photos, config: TrainConfig) -> None:
    """The KLT of blocks that do not overlap."""
    start.transforms(model, photos, config.seed, config.start_crops, lapped=False)
    start.codebook(model, photos, config.seed, config.start_crops * 8 // 3)


@dataclass(frozen=True)
class Variant:
    """factor: what is varied; name: how; change: of the settings; begin: of the start values."""

    factor: str
    name: str
    change: Callable[[TrainConfig], TrainConfig]
    begin: Callable[[VQVAE, Photos, TrainConfig], None] = start_values


def _run(**values: object) -> Callable[[TrainConfig], TrainConfig]:
    return lambda config: replace(config, **values)


def _model(**values: object) -> Callable[[TrainConfig], TrainConfig]:
    return lambda config: replace(config, model=replace(config.model, **values))


def _groups(*groups: tuple[int, int, int]) -> Callable[[TrainConfig], TrainConfig]:
    return _model(channels=groups[-1][1], groups=tuple(Group(*g) for g in groups))


BASELINE = "unchanged"
VARIANTS = (
    Variant("reference", BASELINE, _run()),
    Variant("reference", "another seed", _run(seed=1)),
    Variant("start", "random transforms", _run(lr_linear=1.0), random_transforms),
    Variant("start", "KLT of plain blocks", _run(), plain_blocks),
    Variant("nonlinear paths", "none", _model(enc8=0, enc16=0, dec8=0, dec16=0, width8=8, width16=8)),
    Variant("nonlinear paths", "half as wide", _model(width8=64, width16=128)),
    Variant("nonlinear paths", "half as deep", _model(enc8=2, enc16=1, dec8=2, dec16=1)),
    Variant("nonlinear paths", "twice as deep", _model(enc8=6, enc16=4, dec8=8, dec16=6)),
    Variant("channels", "192", _groups((0, 16, 3), (16, 64, 2), (64, 192, 2))),
    Variant("channels", "576", _groups((0, 16, 3), (16, 64, 2), (64, 192, 2), (192, 576, 1))),
    Variant("context", "no hyper tokens", _model(tokens=1)),
    Variant("context", "no passes in space", _groups((0, 16, 1), (16, 64, 1), (64, 192, 1), (192, 384, 1))),
    Variant("context", "two channel groups", _groups((0, 16, 3), (16, 384, 3))),
    Variant("context", "nets half as wide", _model(prior_width=64)),
    Variant("context", "nets twice as wide", _model(prior_width=256)),
    Variant("training", "learning rate halved", _run(lr=1e-3)),
    Variant("training", "learning rate doubled", _run(lr=4e-3)),
    Variant("training", "linear part frozen", _run(lr_linear=0.0)),
    Variant("training", "linear part at the full rate", _run(lr_linear=1.0)),
    Variant("training", "step sizes frozen", _run(lr_gain=0.0)),
    Variant("training", "crops of 64", _run(crop=64, batch=32)),
    Variant("training", "crops of 256", _run(crop=256, batch=2)),
    Variant("training", "no larger crops at the end", _run(late=1.0)),
    Variant("training", "last weights, not averaged", _run(ema=0.0)),
)


@torch.no_grad()
def measure(model: VQVAE, crops: torch.Tensor) -> list[tuple[float, int, float, float]]:
    """-> (level, crop, bits/dim with the tokens at their zero-order code length, RMSE 0..255), rounding and the
    Gaussian rate estimate."""
    model.eval()
    rows = []
    for level in LEVELS:
        for k, x in enumerate(crops.split(1)):
            position = torch.full((1,), level)
            out = model(x, position)
            tokens = model.tokens.bits[model.analyse(x, position)[1]].sum()
            rmse = ((out.x_hat.clamp(0, 1) * 255).round() - x * 255).square().mean().sqrt()
            rows.append((level, k, float(out.bits + tokens) / x.numel(), float(rmse)))
    return rows


@contextlib.contextmanager
def new_folder(runs: Path) -> Iterator[Path]:
    """A folder for one run, removed after it; its name was free, so that nothing else is."""
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ablate-", dir=runs) as name:
        yield Path(name)


def operations(variant: Variant, config: TrainConfig, data: Path, runs: Path, cache: Path) -> float:
    """Floating-point operations of a training step."""
    config = replace(config, steps=10**6, validate=10**9, save=10**9)
    with new_folder(runs) as folder:
        train(config, data, folder, 1, variant.begin, cache=cache)
        with FlopCounterMode(display=False) as counter:
            train(config, data, folder, 1 + COUNTED, cache=cache)
    return counter.get_total_flops() / COUNTED


def trained(variant: Variant, config: TrainConfig, steps: int, data: Path, runs: Path, cache: Path) -> VQVAE:
    """The model with averaged weights after so many steps."""
    config = replace(
        config,
        steps=steps + 1,
        warmup=max(1, steps // 20),
        ema=min(config.ema, 1 - 5 / max(steps, 6)),
        validate=10**9,
        save=10**9,
    )
    with new_folder(runs) as folder:
        return train(config, data, folder, steps, variant.begin, cache=cache)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.ablations.measure", description=__doc__.split("\n\n")[0])
    data_options(ap, "RUNS/cache")
    ap.add_argument("--runs", type=Path, required=True, help="folder for checkpoints, which are removed at the end")
    ap.add_argument("--out", type=Path, default=Path("results"))
    ap.add_argument("--steps", type=count, default=200, help="of the reference")
    ap.add_argument("--crops", type=count, default=32, help="held-out crops")
    ap.add_argument("--only", help="names of variants, with commas")
    ap.add_argument("--threads", type=count, default=1)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    chosen = [v for v in VARIANTS if args.only is None or v.name in args.only.split(",")]
    run(
        chosen,
        TrainConfig(bf16=False, start_crops=600),
        args.steps,
        args.data,
        args.runs,
        args.out,
        args.crops,
        args.cache,
    )


def run(
    variants: list[Variant],
    base: TrainConfig,
    steps: int,
    data: Path,
    runs: Path,
    out: Path,
    crops: int,
    cache: Path | None = None,
) -> None:
    """Trains and measures what is not in the table yet."""
    path, cache = out / "ablation_points.csv", cache or runs / "cache"
    for folder in (runs, out):
        check_outside(folder, data)
    there = set()
    if path.exists():
        with open(path, newline="") as f:
            there = {(r["factor"], r["variant"]) for r in csv.DictReader(f)}
    missing = [v for v in variants if (v.factor, v.name) not in there]
    budget = steps * operations(VARIANTS[0], base, data, runs, cache) if missing else 0.0
    for v in tqdm(missing, unit="variant", disable=None):
        config = v.change(base)
        cost, t0 = operations(v, config, data, runs, cache), time.process_time()
        count = max(1, round(budget / cost))
        model = trained(v, config, count, data, runs, cache)
        spent = time.process_time() - t0
        held_out = to_tensor(Photos(data, cache).validation_crops(crops, 256))
        rows = [
            (v.factor, v.name, count, f"{cost:.4g}", f"{spent:.0f}", level, crop, f"{rate:.6g}", f"{rmse:.6g}")
            for level, crop, rate, rmse in measure(model, held_out)
        ]
        new = not path.exists()
        out.mkdir(parents=True, exist_ok=True)
        with open(path, "a", newline="") as f:
            table = csv.writer(f, lineterminator="\n")
            table.writerows([COLUMNS, *rows] if new else rows)


if __name__ == "__main__":
    main()
