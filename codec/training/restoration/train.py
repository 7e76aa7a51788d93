"""Trains the semantic stage: python -m codec.training.restoration.train STAGE --crops DIR --out DIR --vgg FILE --alex
FILE --heads FILE [--begin DIR] [NAME=VALUE ...]

STAGE: autoencoder (encoder and painter), ldm, perceptual or gan; the last three begin (--begin) with the folder of
another run. Each runs for a given time and goes on where it was when it is started again.

The loss of a picture is its squared error over that of the picture it is restored from, LPIPS on VGG16 and, from a
part of the run on, the hinge loss of a projected discriminator. ``ldm`` learns two things with one network: the
denoiser of s at every noise level (weighted ELBO) and, with a mark that says so, the step from noise to s at once,
whose picture the loss above judges. ``gan`` is the second part alone, ``perceptual`` the same without noise and
discriminator.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from codec import zoo
from codec.diffusion.precondition import Preconditioned, draw_sigmas, loss_weight
from codec.models.discriminator import ProjectedDiscriminator
from codec.models.restorer import Restorer
from codec.told import told
from codec.training.config import configure
from codec.training.cuda_graph import Recorded
from codec.training.data.shards import VALIDATION
from codec.training.loop import Done, Every, Loop, Stage, warm_hold_fall
from codec.training.processes import place
from codec.training.restoration.batches import Batch, Store
from codec.training.restoration.config import FLOOR, STAGES, RestorationConfig
from codec.training.restoration.crops import check_model
from codec.training.restoration.parts import load_parts, save_parts
from codec.training.restoration.perception import ALEXNET, VGG16, Perception
from codec.training.restoration.sizes import measure_scale, start
from codec.training.restoration.validation import errors
from codec.training.run import Run

FOUND = ("loss", "mse", "lpips_vgg", "elbo", "verdict", "judged")  # loss: without the verdict
JUDGED = {
    1: 2.0,
    2: 1.0,
    3: 0.7,
    4: 0.3,
}  # layers of VGG16 with a head of the discriminator: weight of its verdict, which makes their gradients about equal
RAMP = 0.05  # share of the time in which the discriminator's verdict gains its weight
AHEAD = 0.03  # share of the time that the discriminator learns before its verdict counts


class RestorationStage(Stage):
    """One stage: its networks, step and validation."""

    away = 3.5

    def __init__(
        self,
        stage: str,
        config: RestorationConfig,
        store: Store,
        held_out: Store,
        vgg: Perception,
        alex: Perception,
        anchors: int,
        centroids: torch.Tensor,
        folder: Path,
        begin: Path | None,
    ) -> None:
        self.stage, self.config, self.store, self.held_out, self.vgg, self.alex = (
            stage,
            config,
            store,
            held_out,
            vgg,
            alex,
        )
        self.centroids, self.folder, device = centroids, folder, store.device
        torch.manual_seed(config.seed)
        self.net = Restorer(config.painter, config.denoiser, anchors, centroids.shape[1]).to(
            device, memory_format=torch.channels_last
        )
        self.judge = ProjectedDiscriminator([VGG16.channels[k] for k in JUDGED], [VGG16.strides[k] for k in JUDGED]).to(
            device, memory_format=torch.channels_last
        )
        if begin is not None:
            state = load_parts(begin)
            self.net.load_state_dict({k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")})
            self.judge.load_state_dict(
                {k.removeprefix("judge."): v for k, v in state.items() if k.startswith("judge.")}
            )
        elif stage == "autoencoder":
            start(self.net, store, config.window)
        else:
            raise SystemExit(f"{stage} begins with the weights of another run: name its folder with --begin")
        trained = (
            (self.net.encoder, self.net.painter)
            if stage == "autoencoder"
            else (self.net.denoiser, self.net.hyper, self.net.picture, self.net.painter)
        )
        self.net.requires_grad_(False)
        for part in trained:
            part.requires_grad_(True)
        params = [p for p in self.net.parameters() if p.requires_grad]
        self.module, self.clip = self.net, (params, config.clip)
        self.opt = torch.optim.Adam(params, lr=config.lr, betas=(0.9, 0.99), fused=True)
        self.judge_opt = torch.optim.Adam(
            self.judge.parameters(), lr=config.lr_discriminator, betas=(0.5, 0.99), fused=True
        )
        self.optimisers = [self.opt, self.judge_opt]
        for group in (g for o in self.optimisers for g in o.param_groups):
            group["peak"] = group["lr"]
        self.denoise = Preconditioned(self.net)
        self._judged: bool | None = None
        self._weight = torch.zeros((), device=device)
        self.loop = Loop(self, Run(folder, config, True, device), config, device)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.store.device.type, dtype=torch.bfloat16, enabled=self.config.bf16)

    def noise(self, like: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(like) if self.stage == "perceptual" else torch.randn_like(like)

    def latent_shape(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_empty(len(x), self.config.denoiser.latent, x.shape[2] // 16, x.shape[3] // 16)

    def rate(self, done: Done) -> float:
        return warm_hold_fall(done, self.config.warmup, self.config.hold)

    def moving(self) -> list[torch.optim.Optimizer]:
        return self.optimisers if self._judged else [self.opt]

    def state(self) -> dict[str, Any]:
        return {"judge": self.judge.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.judge.load_state_dict(state["judge"])

    def step(self, done: Done, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        c = self.config
        batch = self.store.draw(rng, c.batch, c.window, c.upscale)
        judged = self.stage != "perceptual" and done.share >= c.adversarial_from - AHEAD
        if judged != self._judged:
            self._judged, self._gradients = (
                judged,
                Recorded(self._backward, c.record and self.store.device.type == "cuda"),
            )
        drawn = self._draw(rng, min(1.0, max(0.0, (done.share - c.adversarial_from) / RAMP)))
        found = self._gradients(batch.x, batch.x_c, batch.task, batch.tokens, batch.enlarged, *drawn)
        return dict(zip(FOUND, found, strict=True))

    def _draw(self, rng: np.random.Generator, ramp: float) -> list[torch.Tensor]:
        """What chance decides for each crop: whether its context is seen, sigma of the denoiser, whether s comes from
        the encoder; then the weight of the verdict."""
        c = self.config
        uniforms = (rng.permutation(c.batch) + rng.random()) / c.batch
        sigma = draw_sigmas(torch.from_numpy(uniforms), c.sigma_mean, c.sigma_deviation, c.sigma_min, c.sigma_max)
        rows = np.stack([rng.random(c.batch) >= c.drop, sigma.numpy(), rng.random(c.batch) < c.anchored])
        return [*torch.from_numpy(rows).float().to(self.store.device), self._weight.fill_(c.adversarial * ramp)]

    def _backward(
        self,
        x: torch.Tensor,
        x_c: torch.Tensor,
        task: torch.Tensor,
        tokens: torch.Tensor,
        enlarged: torch.Tensor,
        kept: torch.Tensor,
        sigma: torch.Tensor,
        anchored: torch.Tensor,
        weight: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """A batch, what was drawn for it and the verdict's weight () -> the values named by FOUND; leaves gradients
        of the networks and, once it learns, of the discriminator."""
        c, batch = self.config, Batch(x, x_c, task, tokens, enlarged)
        zero = x.new_zeros(())
        elbo = verdict = judged = extra = zero
        with self.autocast():
            condition = batch.condition(self.net, self.centroids, kept)
            if self.stage == "autoencoder":
                s = self.net.encode(x, condition)
                extra = c.prior * s.square().mean()
                s = s + c.noise * torch.randn_like(s)
            else:
                s = self.net.generate(self.noise(self.latent_shape(x)), condition)
                if self.stage == "ldm":
                    with torch.no_grad():
                        r = self.net.encode(x, condition)
                    noisy = r + sigma[:, None, None, None] * torch.randn_like(r)
                    error = (self.denoise(noisy, sigma, condition=condition) - r).square().mean((1, 2, 3))
                    elbo = (loss_weight(sigma, c.weight_limit) * error).mean()
                    extra = c.elbo * elbo
                    s = torch.where(anchored[:, None, None, None] > 0, r + c.noise * torch.randn_like(r), s)
            x_hat = self.net.paint(s, condition)
            with torch.no_grad():
                wanted = self.vgg.features(x)
            seen = self.vgg.features(x_hat)
        plain = (x - x_c).square().mean((1, 2, 3))
        mse = ((x_hat - x).square().mean((1, 2, 3)) / (plain + FLOOR)).mean()
        feature = self.vgg.distance(seen, wanted).mean()
        loss = total = c.mse * mse + c.feature * feature + extra
        if self._judged:
            with self.autocast():
                self.judge.requires_grad_(False).eval()
                votes = zip(JUDGED.values(), self._verdicts(seen, x_c), strict=True)
                verdict = -sum(w * v.mean() for w, v in votes) / len(JUDGED)
            total = total + weight * verdict
        self.net.zero_grad(set_to_none=True)
        total.backward()
        if self._judged:
            self.judge.requires_grad_(True).train()
            self.judge.zero_grad(set_to_none=True)
            with self.autocast():
                real, fake = self._verdicts(wanted, x_c), self._verdicts([t.detach() for t in seen], x_c)
                hinges = [F.relu(1 - a).mean() + F.relu(1 + b).mean() for a, b in zip(real, fake, strict=True)]
                judged = sum(hinges) / len(JUDGED)
            judged.backward()
        return tuple(t.detach() for t in (loss, mse, feature, elbo, verdict, judged))

    def _verdicts(self, features: list[torch.Tensor], x_c: torch.Tensor) -> list[torch.Tensor]:
        return [v.float() for v in self.judge([features[k] for k in JUDGED], x_c)]

    @torch.no_grad()
    def restored(self, batch: Batch, seed: int = 1) -> torch.Tensor:
        """x_hat (B, 3, n, n) in 8-bit steps, 0..1."""
        torch.manual_seed(seed)
        with self.autocast():
            condition = batch.condition(self.net, self.centroids)
            s = (
                self.net.encode(batch.x, condition)
                if self.stage == "autoencoder"
                else self.net.generate(self.noise(self.latent_shape(batch.x)), condition)
            )
            x_hat = self.net.paint(s, condition)
        return x_hat.float().clamp(0, 1).mul(255).round().div(255)

    def validate(self) -> Iterator[dict[str, float]]:
        yield errors(self.restored, self.held_out, self.alex, self.folder / "sheet.png")

    def encoded(self, batch: Batch) -> torch.Tensor:
        """s (B, C, n/16, n/16) in patches."""
        with self.autocast():
            return self.net.encode(batch.x, batch.condition(self.net, self.centroids))

    def run(self, stop_at: int | None = None) -> None:
        """To the end, or up to ``stop_at`` steps; then the averaged weights are in the folder."""
        every = Every(seconds=self.config.every)
        self.loop.run(every, every, stop_at)
        if self.stage == "autoencoder":
            c = self.config
            measure_scale(self.net, self.encoded, self.store, c.window, c.upscale)
        state = {f"net.{k}": v for k, v in self.net.state_dict().items()} | {
            f"judge.{k}": v for k, v in self.judge.state_dict().items()
        }
        save_parts(
            self.folder,
            state,
            {
                "stage": self.stage,
                "anchors": str(self.net.anchors),
                "config": json.dumps(dataclasses.asdict(self.config)),
                "step": str(self.loop.steps),
                "seconds": f"{self.loop.spent:.1f}",
            },
        )


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.restoration.train", description=__doc__.split("\n\n")[0])
    ap.add_argument("stage", choices=STAGES)
    ap.add_argument("--crops", type=Path, required=True, help="folder made by codec.training.restoration.crops")
    ap.add_argument("--out", type=Path, required=True, help="folder of the run; one found there is resumed")
    ap.add_argument("--begin", type=Path, help="folder of the run to begin with")
    ap.add_argument("--vgg", type=Path, required=True, help="safetensors file with VGG16's features")
    ap.add_argument("--alex", type=Path, required=True, help="safetensors file with AlexNet's features")
    ap.add_argument("--heads", type=Path, required=True, help="safetensors file with the heads of LPIPS")
    ap.add_argument(
        "--model",
        default="default",
        help="id or file of the perceptual model that made the crops; default: the newest of the package",
    )
    ap.add_argument("--config", type=Path, help="TOML file with settings")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    args = ap.parse_intermixed_args()
    config = configure(RestorationConfig(), args.config, args.settings)
    shards = sorted(p for p in args.crops.glob("*.safetensors") if p.name != VALIDATION)
    check_model([*shards, args.crops / VALIDATION], args.model)
    with place(args.threads, alone="codec.training.restoration.train") as device:
        model = zoo.load(args.model, device)
        anchors, centroids = model.config.anchors, model.vqvae.tokens.centroids(model.vqvae.sd).float()
        store, held_out = Store(shards, anchors, device), Store([args.crops / VALIDATION], anchors, device)
        vgg, alex = (
            Perception(trunk, path, args.heads).to(device) for trunk, path in ((VGG16, args.vgg), (ALEXNET, args.alex))
        )
        RestorationStage(args.stage, config, store, held_out, vgg, alex, anchors, centroids, args.out, args.begin).run()


if __name__ == "__main__":
    main()
