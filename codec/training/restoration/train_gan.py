"""Trains the one-pass decoders: python -m codec.training.restoration.train_gan --latents DIR --out DIR --feature-weights FILE [--begin last.pt] [NAME=VALUE ...]

adversarial=0 makes the perceptual decoder (MSE and feature loss), above 0 the GAN decoder, which begins with the perceptual one. Both are the network of the diffusion
decoder used once, so that they have its size, and the frozen synthesis transform of the codec. Killed and started again with the same --out, it goes on where it was.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from codec.models.discriminator import Discriminator, DiscriminatorConfig
from codec.models.semantic import Condition, Semantic
from codec.models.transforms import PATCH
from codec.models.vqvae import VQVAE
from codec.training.base.adapt import load_adapted
from codec.training.config import configure, options
from codec.training.features import FeatureLoss
from codec.training.optim import Ema
from codec.training.processes import Clock, place, rank_and_world
from codec.training.restoration.restore import Batch, RestoreConfig, Store, learning_rate, start_from
from codec.training.run import Run

LOG_VARIANCE = -5.0  # of the noise that a GAN begun from a perceptual decoder starts with


@dataclass(frozen=True)
class GanConfig(RestoreConfig):
    """mse: weight of the squared error over that of the picture without restoration; feature: of the feature loss; adversarial: of the generator's adversarial loss, 0 for
    none; ramp: steps over which it comes in; lr_discriminator: of its own Adam."""

    steps: int = 2000
    window: int = 8
    lr: float = 3e-4
    save: int = 100
    mse: float = 1.0
    feature: float = 0.5
    adversarial: float = 0.0
    ramp: int = 200
    lr_discriminator: float = 2e-4
    discriminator: DiscriminatorConfig = dataclasses.field(default_factory=DiscriminatorConfig)


class Generator(nn.Module):
    """noise z -> picture: the network once, then g_s."""

    def __init__(self, net: Semantic, vqvae: VQVAE) -> None:
        super().__init__()
        self.net, self._top = net, vqvae.config.anchors - 1.0
        self._vqvae = [vqvae]  # frozen: no part of this module's parameters

    def forward(self, z: torch.Tensor, condition: Condition) -> torch.Tensor:
        """z (B, C, n, n) -> x_hat (B, 3, 16 n, 16 n), not clipped."""
        return self.synthesise(condition.y_c + self.net.scales(condition.task) * self.net.generate(z, condition))

    def synthesise(self, y: torch.Tensor) -> torch.Tensor:
        return self._vqvae[0].synthesise(y.contiguous(memory_format=torch.channels_last), y.new_full((len(y),), self._top), filtered=False)


def noise_like(batch: Batch, config: GanConfig) -> torch.Tensor:
    return torch.randn(batch.y.shape).to(batch.y.device) if config.adversarial else torch.zeros_like(batch.y)


def distortion(x_hat: torch.Tensor, batch: Batch, features: FeatureLoss, config: GanConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Loss (B,), squared error relative to that without restoration (of the latents: the transform is nearly orthonormal) (B,), feature distance (B,)."""
    plain = (batch.y - batch.condition.y_c).square().mean((2, 3)).sum(1) / (3 * PATCH**2)
    mse = (x_hat - batch.x).square().mean((1, 2, 3)) / (plain + 1e-5)
    distance = features(x_hat, batch.x)
    return config.mse * mse + config.feature * distance, mse, distance


@torch.no_grad()
def validate(generator: Generator, store: Store, features: FeatureLoss, config: GanConfig) -> dict[str, float]:
    """RMSE (0..255) and feature distance of the decoder, and of the picture without it, for streams and enlargements."""
    generator.eval()
    found = {}
    for name, enlarged in (("stream", False), ("upscale", True)):
        rows = []
        for batch in store.validation(config, generator.net, enlarged):
            torch.manual_seed(1)
            x_hat, plain = generator(noise_like(batch, config), batch.condition).clamp(0, 1), generator.synthesise(batch.condition.y_c).clamp(0, 1)
            rows += torch.stack([f(p) for p in (x_hat, plain) for f in (lambda p: (p - batch.x).square().mean((1, 2, 3)).sqrt() * 255, lambda p: features(p, batch.x))], 1).tolist()
        for key, value in zip(("rmse", "distance", "plain_rmse", "plain_distance"), np.mean(rows, 0), strict=True):
            found[f"{name}_{key}"] = float(value)
    generator.train()
    return found


def train(config: GanConfig, store: Store, features: FeatureLoss, out: Path, stop_at: int | None = None, begin: Path | None = None) -> Semantic:
    """Runs or resumes a training; returns the network with averaged weights, on the device of the store's model. begin: checkpoint whose averaged weights a new run starts from."""
    rank, world = rank_and_world()
    torch.manual_seed(config.seed)
    device, mine = store.device, dataclasses.replace(config, batch=max(1, config.batch // world))
    net = Semantic(config.model, store.anchors, store.vqvae.tokens.codebook.shape[1]).to(device)
    judge = Discriminator(dataclasses.replace(config.discriminator, channels=config.model.channels)).to(device, memory_format=torch.channels_last)
    run = Run(out, config, rank == 0)
    opt = torch.optim.Adam(net.parameters(), lr=config.lr, betas=(0.9, 0.99), fused=True)
    judge_opt = torch.optim.Adam(judge.parameters(), lr=config.lr_discriminator, betas=(0.5, 0.99), fused=True)
    state = run.load()
    if state is None:
        if begin is not None:
            one_pass = "discriminator" in torch.load(begin, weights_only=True, map_location="cpu")
            start_from(net, begin, keep_head=one_pass)  # the head of a diffusion run means something else
            if config.adversarial and one_pass:  # without noise its scale was never trained, and stands at 1
                with torch.no_grad():
                    net.network.spread.bias.fill_(LOG_VARIANCE)
        store.fit(net)
    else:
        net.load_state_dict(state["model"]), judge.load_state_dict(state["discriminator"])
        opt.load_state_dict(state["optimiser"]), judge_opt.load_state_dict(state["discriminator_optimiser"])
    ema = Ema(net, config.ema)
    if state is not None:
        ema.mean = [m.to(device, copy=True) for m in state["ema"]]
    generator = Generator(net, store.vqvae)
    whole, critic = (DistributedDataParallel(m, find_unused_parameters=True) if world > 1 else m for m in (generator, judge))
    first, last = 0 if state is None else state["step"], min(config.steps, stop_at or config.steps)
    clock, seen = Clock(device, 0.0 if state is None else state["seconds"]), []
    bar = tqdm(range(first, last), initial=first, total=last, disable=None if rank == 0 else True)
    for step in bar:
        rng = np.random.default_rng((config.seed, step, rank))
        torch.manual_seed(int(rng.integers(2**62)))
        batch = store.draw(rng, mine, net)
        for group in opt.param_groups:
            group["lr"] = config.lr * learning_rate(step, config)
        x_hat = whole(noise_like(batch, config), batch.condition)
        loss, mse, distance = distortion(x_hat, batch, features, config)
        loss, adversarial, judged = loss.mean(), loss.new_zeros(()), loss.new_zeros(())
        if config.adversarial:
            judge.requires_grad_(False)
            known = net.normalised(batch.condition.y_c)
            adversarial = F.softplus(-critic(x_hat, known)).mean()
            loss = loss + config.adversarial * min(1.0, (step + 1) / config.ramp) * adversarial
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        opt.step()
        ema.update(step)
        if config.adversarial:  # non-saturating (Goodfellow et al. 2014): real against generated
            judge.requires_grad_(True)
            judged = F.softplus(-critic(batch.x, known)).mean() + F.softplus(critic(x_hat.detach(), known)).mean()
            judge_opt.zero_grad(set_to_none=True)
            judged.backward()
            judge_opt.step()
        seen.append(torch.stack([v.detach() for v in (loss, mse.mean(), distance.mean(), adversarial, judged)]))
        done = step + 1
        if done % 50 == 0 or done == last:
            means = torch.stack(seen).mean(0).tolist()
            run.row("log", done, {**dict(zip(("loss", "relative_mse", "distance", "adversarial", "discriminator"), means, strict=True)), "seconds": clock.seconds()})
            bar.set_postfix(loss=f"{means[0]:.3f}")
            seen = []
        if rank == 0 and (done % config.validate == 0 or done == config.steps):
            ema.swap()
            run.row("validation", done, {**validate(generator, store, features, config), "seconds": clock.seconds()})
            ema.swap()
        if done % config.save == 0 or done == last:
            run.save({"config": dataclasses.asdict(config.model), "codeword": store.vqvae.tokens.codebook.shape[1], "anchors": store.anchors, "step": done, "seconds": clock.seconds(),
                      "model": net.state_dict(), "ema": ema.mean, "optimiser": opt.state_dict(), "discriminator": judge.state_dict(), "discriminator_optimiser": judge_opt.state_dict()})  # fmt: skip
    ema.swap()
    return net


def main() -> None:
    ap = options("restoration.train_gan", __doc__)
    ap.add_argument("--latents", type=Path, required=True, help="folder made by codec.training.restoration.latents")
    ap.add_argument("--feature-weights", type=Path, required=True, help="safetensors file with SqueezeNet 1.1")
    ap.add_argument("--base", type=Path, required=True, help="last.pt of the run of codec.training.base.adapt that the latents are of")
    ap.add_argument("--begin", type=Path, help="last.pt of another run, to start from its weights")
    args = ap.parse_args()
    with place(args.threads) as device:
        store, features = Store(args.latents, load_adapted(args.base, device)[0]), FeatureLoss(args.feature_weights).to(device)
        train(configure(GanConfig(), args.config, args.settings), store, features, args.out, args.stop_at, args.begin)


if __name__ == "__main__":
    main()
