"""Trains the semantic decoder: python -m codec.training.restoration.train_diffusion --latents DIR --out DIR [--config FILE] [NAME=VALUE ...]

The latents come from codec.training.restoration.latents. Under torchrun it runs on several processes (DDP). Killed and started again with the same --out, it goes on where it was.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from codec.diffusion.precondition import Preconditioned, draw_sigmas, loss_weight
from codec.models.semantic import Semantic
from codec.models.vqvae import VQVAE
from codec.training.base.adapt import load_adapted
from codec.training.config import configure, options
from codec.training.features import FeatureLoss
from codec.training.optim import Ema
from codec.training.processes import Clock, place, rank_and_world
from codec.training.restoration.restore import Batch, RestoreConfig, Store, channel_weight, learning_rate, start_from
from codec.training.run import Run

VALIDATION_SIGMAS = (10.0, 1.5, 0.3)


@dataclass(frozen=True)
class DiffusionConfig(RestoreConfig):
    """sigma_mean, sigma_deviation: of ln sigma in training; sigma_min, sigma_max: range; weight_limit: largest weight of a squared error; feature: weight of the feature
    distance between the picture of the estimate and the original, 0 for none (Lin and Yang 2023: without it, estimates that are all that is right on average look
    like blur and noise, and a small network never gets further)."""

    sigma_mean: float = 0.3
    sigma_deviation: float = 1.3
    sigma_min: float = 0.05
    sigma_max: float = 20.0
    weight_limit: float = 10.0
    feature: float = 0.0


def losses(
    denoise: Preconditioned, net: Semantic, vqvae: VQVAE, batch: Batch, noise: torch.Tensor, sigma: torch.Tensor, features: FeatureLoss | None, config: DiffusionConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted ELBO (Kingma and Gao 2023): squared error of the clean residual, weighted by noise level and channel; and the feature distance of the estimate's picture. noise
    (B, C, n, n) unit, sigma (B,) -> two times (B,)."""
    task = batch.condition.task
    scale = net.scales(task)
    r = (batch.y - batch.condition.y_c) / scale
    denoised = denoise(r + sigma[:, None, None, None] * noise, sigma, condition=batch.condition)
    elbo = loss_weight(sigma, config.weight_limit) * ((denoised - r).square() * channel_weight(net, task, config.channel_power)).mean((1, 2, 3))
    if features is None:
        return elbo, torch.zeros_like(elbo)
    top = torch.full((len(r),), vqvae.config.anchors - 1.0, device=r.device)
    x_hat = vqvae.synthesise((batch.condition.y_c + scale * denoised).contiguous(memory_format=torch.channels_last), top, filtered=False)
    return elbo, features(x_hat, batch.x)


@torch.no_grad()
def validate(net: Semantic, store: Store, config: DiffusionConfig) -> dict[str, float]:
    """Weighted squared error of the clean residual (1 = that of predicting 0) at fixed noise levels, for streams and enlargements."""
    net.eval()
    denoise, found = Preconditioned(net), {}
    for name, enlarged in (("stream", False), ("upscale", True)):
        for s in VALIDATION_SIGMAS:
            g, errors, sizes = torch.Generator().manual_seed(1), [], []
            for batch in store.validation(config, net, enlarged):
                task = batch.condition.task
                r = (batch.y - batch.condition.y_c) / net.scales(task)
                sigma, noise = r.new_full((len(r),), s), torch.randn(r.shape, generator=g).to(r.device)
                w = channel_weight(net, task, config.channel_power)
                d = denoise(r + s * noise, sigma, condition=batch.condition)
                errors += ((d - r).square() * w).mean((1, 2, 3)).tolist()
                sizes += (r.square() * w).mean((1, 2, 3)).tolist()
            found[f"{name}_{s:g}"] = float(np.sum(errors) / np.sum(sizes))
    net.train()
    return found


def train(config: DiffusionConfig, store: Store, out: Path, stop_at: int | None = None, begin: Path | None = None, features: FeatureLoss | None = None) -> Semantic:
    """Runs or resumes a training; returns the network with averaged weights, on the device of the store's model. begin: checkpoint whose averaged weights a new run starts from; features: needed if config.feature is above 0."""
    rank, world = rank_and_world()
    torch.manual_seed(config.seed)
    device, mine = store.device, dataclasses.replace(config, batch=max(1, config.batch // world))
    net = Semantic(config.model, store.anchors, store.vqvae.tokens.codebook.shape[1]).to(device)
    run = Run(out, config, rank == 0)
    opt = torch.optim.Adam(net.parameters(), lr=config.lr, betas=(0.9, 0.99), fused=True)
    state = run.load()
    if state is None:
        if begin is not None:
            start_from(net, begin, keep_head=True)
        store.fit(net)
    else:
        net.load_state_dict(state["model"])
        opt.load_state_dict(state["optimiser"])
    ema = Ema(net, config.ema)
    if state is not None:
        ema.mean = [m.to(device, copy=True) for m in state["ema"]]
    wrapped = DistributedDataParallel(net, find_unused_parameters=True) if world > 1 else net
    denoise, first, last = Preconditioned(wrapped), 0 if state is None else state["step"], min(config.steps, stop_at or config.steps)
    clock, seen = Clock(device, 0.0 if state is None else state["seconds"]), []
    bar = tqdm(range(first, last), initial=first, total=last, disable=None if rank == 0 else True)
    for step in bar:
        rng = np.random.default_rng((config.seed, step, rank))
        torch.manual_seed(int(rng.integers(2**62)))
        batch = store.draw(rng, mine, net)
        u = (torch.arange(mine.batch) + torch.rand(mine.batch)) / mine.batch
        sigma = draw_sigmas(u.clamp(1e-4, 1 - 1e-4), config.sigma_mean, config.sigma_deviation, config.sigma_min, config.sigma_max)
        elbo, distance = losses(denoise, net, store.vqvae, batch, torch.randn(batch.y.shape).to(device), sigma.to(device), features if config.feature else None, config)
        loss = (elbo + config.feature * distance).mean()
        opt.zero_grad(set_to_none=True)
        for group in opt.param_groups:
            group["lr"] = config.lr * learning_rate(step, config)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        opt.step()
        ema.update(step)
        seen.append(torch.stack([v.mean() for v in (loss.detach(), elbo.detach(), distance.detach())]))
        done = step + 1
        if done % 50 == 0 or done == last:
            means = torch.stack(seen).mean(0).tolist()
            run.row("log", done, {**dict(zip(("loss", "elbo", "distance"), means, strict=True)), "grad_norm": norm.item(), "seconds": clock.seconds()})
            bar.set_postfix(loss=f"{means[0]:.3f}")
            seen = []
        if rank == 0 and (done % config.validate == 0 or done == config.steps):
            ema.swap()
            run.row("validation", done, {**validate(net, store, config), "seconds": clock.seconds()})
            ema.swap()
        if done % config.save == 0 or done == last:
            run.save({"config": dataclasses.asdict(config.model), "codeword": store.vqvae.tokens.codebook.shape[1], "anchors": store.anchors, "step": done, "seconds": clock.seconds(),
                      "model": net.state_dict(), "ema": ema.mean, "optimiser": opt.state_dict()})  # fmt: skip
    ema.swap()
    return net


def main() -> None:
    ap = options("restoration.train_diffusion", __doc__)
    ap.add_argument("--latents", type=Path, required=True, help="folder made by codec.training.restoration.latents")
    ap.add_argument("--feature-weights", type=Path, help="safetensors file with SqueezeNet 1.1, for feature above 0")
    ap.add_argument("--base", type=Path, required=True, help="last.pt of the run of codec.training.base.adapt that the latents are of")
    ap.add_argument("--begin", type=Path, help="last.pt of another run, to start from its weights")
    args = ap.parse_args()
    config = configure(DiffusionConfig(), args.config, args.settings)
    if config.feature and args.feature_weights is None:
        ap.error("feature above 0 needs --feature-weights")
    with place(args.threads) as device:
        features = FeatureLoss(args.feature_weights).to(device) if config.feature else None
        train(config, Store(args.latents, load_adapted(args.base, device)[0]), args.out, args.stop_at, args.begin, features)


if __name__ == "__main__":
    main()
