"""Trains the perceptual stage: python -m codec.training.base.train --data DIR --out DIR [--config FILE] [NAME=VALUE ...]

Under torchrun it runs on several processes (DDP). Killed and started again with the same --out, it goes on where it was,
on a CPU with the same numbers as if it had not been killed: every step draws its crops and noise from a seed of its own.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from codec.models.config import VQVAEConfig, model_config
from codec.models.vqvae import VQVAE
from codec.training.base import start
from codec.training.config import TrainConfig, configure, options
from codec.training.cuda_graph import Recorded
from codec.training.data.cache import check_run, data_options
from codec.training.data.photos import Photos, to_device, to_tensor
from codec.training.losses import rate_distortion
from codec.training.optim import Ema, Muon
from codec.training.processes import Clock, place, rank_and_world
from codec.training.run import Run
from codec.zoo import read_model

LEVELS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)  # of the validation


def learning_rate(step: int, config: TrainConfig) -> float:
    """Factor 0..1: linear warm-up, constant, then linear to 0 over the last 60 %."""
    done = step / config.steps
    return min(1.0, (step + 1) / config.warmup) * min(1.0, (1 - done) / 0.6)


class Rates(Protocol):
    """Learning rates, as in TrainConfig."""

    lr: float
    lr_muon: float
    lr_linear: float
    lr_gain: float


def optimisers(model: VQVAE, config: Rates) -> list[torch.optim.Optimizer]:
    """Adam in three groups: networks, linear part (which must hardly move), step sizes; and Muon for the 1x1 convolutions between hidden layers of g_a and g_s, if it has a rate."""
    linear, gains, hidden, rest = [], [], [], []
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        inside = name.startswith("g_") and any(part in name for part in ("body", ".up.", ".down.")) and p.ndim == 4 and p.shape[2:] == (1, 1)
        (linear if "lapped" in name or "klt" in name else gains if "gain" in name else hidden if inside and config.lr_muon else rest).append(p)
    groups = [(rest, 1.0), (linear, config.lr_linear), (gains, config.lr_gain)]
    found: list[torch.optim.Optimizer] = [torch.optim.Adam([{"params": p, "lr": config.lr * f} for p, f in groups], betas=(0.9, 0.98), fused=True)]
    if hidden:
        found.append(Muon(hidden, config.lr_muon))
    for group in (g for opt in found for g in opt.param_groups):
        group["peak"] = group["lr"]
    return found


def draw_levels(rng: np.random.Generator, count: int, model: VQVAEConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """-> quality levels (count,) spread evenly over 0..anchors-1, in random order, and their lambdas (count,)."""
    level = (np.arange(count) + rng.random(count)) / count * (model.anchors - 1)
    level = level[rng.permutation(count)]
    lam = np.exp(np.interp(level, np.arange(model.anchors), np.log(model.lambdas())))
    return torch.from_numpy(level).float(), torch.from_numpy(lam).float()


def load_begin(path: Path) -> VQVAE:
    """Weights file, or kept weights of a run (step-N.pt) -> model."""
    return load_kept(path)[0] if path.suffix == ".pt" else read_model(path, 0).vqvae


def begin_with(given: VQVAE, model: VQVAE, photos: Photos, config: TrainConfig) -> None:
    """Start values from another model of the same shape; step sizes of its range of qualities become those of this one's, by lambda."""
    model.load_state_dict(given.state_dict())
    old, new = (np.log(c.lambdas()) for c in (given.config, model.config))
    level = np.interp(new, old, np.arange(len(old))) + (new - new.clip(old[0], old[-1])) / (old[1] - old[0])
    with torch.no_grad():
        for table, values in ((model.log2_gain, given.log2_gain), (model.log2_igain, given.log2_igain)):
            table.copy_(given.interpolate(values, torch.from_numpy(level).float())[:, :, 0, 0])


def load_base(path: Path) -> tuple[VQVAE, dict]:
    """Checkpoint of a run -> model with averaged weights, and the state it came from."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    model = VQVAE(model_config(state["config"])).to(memory_format=torch.channels_last)
    model.load_state_dict(state["model"])
    with torch.no_grad():
        for p, mean in zip(model.parameters(), state["ema"], strict=True):
            p.copy_(mean)
    return model, state


def load_kept(path: Path) -> tuple[VQVAE, dict]:
    """What ``Run.keep`` wrote -> model, and what is said of it: step and seconds."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    model = VQVAE(model_config(state["config"])).to(memory_format=torch.channels_last)
    model.load_state_dict(state.pop("model"))
    return model, state


@torch.no_grad()
def validate(model: VQVAE, crops: torch.Tensor, levels: Sequence[float]) -> list[tuple[float, float, float]]:
    """-> (level, bits/dim, RMSE 0..255), means over pictures; rounding, 8-bit pixels, Gaussian rate estimate."""
    model.eval()
    rows, device = [], model.sd.device
    for level in levels:
        rate, rmse = [], []
        for part in crops.split(8):
            x = part.to(device)
            out = model(x, torch.full((len(x),), level, device=device))
            rate += (out.bits / x[0].numel()).tolist()
            error = (out.x_hat.clamp(0, 1) * 255).round() - x * 255
            rmse += error.square().mean((1, 2, 3)).sqrt().tolist()
        rows.append((level, float(np.mean(rate)), float(np.mean(rmse))))
    model.train()
    return rows


def start_values(model: VQVAE, photos: Photos, config: TrainConfig) -> None:
    """Lapped filters, KLT and codebook computed from the photographs."""
    start.transforms(model, photos, config.seed, config.start_crops)
    start.codebook(model, photos, config.seed, config.start_crops * 8 // 3)


def train(
    config: TrainConfig, data: Path, folder: Path, stop_at: int | None = None, begin: Callable[[VQVAE, Photos, TrainConfig], None] = start_values, device: torch.device | str = "cpu",
    cache: Path | None = None,
) -> VQVAE:
    """Runs to ``config.steps`` (or ``stop_at``) and returns the averaged model on ``device``; ``begin`` sets the start values of a new run; ``cache``: of the photographs, in ``folder`` if None."""
    (rank, world), device = rank_and_world(), torch.device(device)
    check_run(folder, data)
    photos = Photos(data, cache or folder / "cache")
    torch.manual_seed(config.seed)
    model = VQVAE(config.model).to(memory_format=torch.channels_last)
    run = Run(folder, config, rank == 0, device)
    state = run.load()
    if state is None:
        begin(model, photos, config)
    model.to(device)
    opts, ema, first = optimisers(model, config), Ema(model, config.ema), 0
    if state is not None:
        model.load_state_dict(state["model"])
        for opt, saved in zip(opts, state["optimisers"], strict=True):
            opt.load_state_dict(saved)
        for mean, saved in zip(ema.mean, state["ema"], strict=True):
            mean.copy_(saved)
        first = state["step"]
    wrapped = DistributedDataParallel(model) if world > 1 else model
    crops = to_tensor(photos.validation_crops(32, 256))
    last = min(config.steps, stop_at or config.steps)
    clock = Clock(device, 0.0 if state is None else state["seconds"])

    def step_gradients(x: torch.Tensor, level: torch.Tensor, lam: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Leaves clipped gradients -> loss, bits/dim and MSE (B,), norm before clipping."""
        model.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=config.bf16):
            out = wrapped(x, level)
        loss, bpd, mse = rate_distortion(x, out.x_hat, out.bits, lam)
        loss.backward()
        return loss.detach(), bpd.detach(), mse.detach(), torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)

    gradients = Recorded(step_gradients, record=device.type == "cuda" and world == 1)
    bar = tqdm(range(first, last), initial=first, total=last, disable=None if rank == 0 else True)
    for step in bar:
        late = step >= config.late * config.steps
        size = config.crop_late if late else config.crop
        count = max(1, config.batch * config.crop**2 // size**2) if late else config.batch
        count = max(1, count // world)
        rng = np.random.default_rng((config.seed, step, rank))
        torch.manual_seed(int(rng.integers(2**62)))
        loss, bpd, mse, norm = gradients(photos.batch(rng, count, size, device), *(to_device(t, device) for t in draw_levels(rng, count, config.model)))
        for group in (g for opt in opts for g in opt.param_groups):
            group["lr"] = group["peak"] * learning_rate(step, config)
        for opt in opts:
            opt.step()
        ema.update(step)
        done = step + 1
        if done % 50 == 0 or done == last:
            run.row("log", done, {"loss": loss.item(), "bits_per_dim": bpd.mean().item(), "rmse": mse.sqrt().mean().item(), "grad_norm": norm.item(), "seconds": clock.seconds()})
            bar.set_postfix(loss=f"{loss.item():.3f}")
        if done % config.validate == 0 or done == config.steps:
            ema.swap()
            if rank == 0:
                if config.keep and done % config.keep == 0:
                    run.keep(model, done, clock.seconds())
                for level_, rate, rmse in validate(model, crops, LEVELS):
                    run.row("validation", done, {"level": level_, "bits_per_dim": rate, "rmse": rmse, "seconds": clock.seconds()})
            ema.swap()
        if done % config.save == 0 or done == last:
            state = {"config": dataclasses.asdict(config.model), "step": done, "seconds": clock.seconds(), "model": model.state_dict(), "ema": ema.mean}
            run.save(state | {"optimisers": [opt.state_dict() for opt in opts]})
    ema.swap()
    return model


def main() -> None:
    ap = options("base.train", __doc__)
    data_options(ap)
    ap.add_argument("--begin", type=Path, help="weights file, or step-N.pt of another run, to start from: the model then has its shape")
    args = ap.parse_args()
    config = configure(TrainConfig(), args.config, args.settings)
    given = load_begin(args.begin) if args.begin else None
    if given:
        config = dataclasses.replace(config, model=dataclasses.replace(given.config, lambda_min=config.model.lambda_min, lambda_max=config.model.lambda_max))
    with place(args.threads) as device:
        train(config, args.data, args.out, args.stop_at, partial(begin_with, given) if given else start_values, device, args.cache)


if __name__ == "__main__":
    main()
