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
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

from codec import zoo
from codec.diffusion.precondition import Preconditioned, draw_sigmas, loss_weight
from codec.models.denoiser import DenoiserConfig
from codec.models.discriminator import ProjectedDiscriminator
from codec.models.painter import STRIDE, PainterConfig
from codec.models.restorer import UPSCALES, Restorer
from codec.restoration.restore import SIGMA_MAX, SIGMA_MIN
from codec.told import told
from codec.training.config import configure
from codec.training.cuda_graph import Recorded
from codec.training.data.shards import VALIDATION
from codec.training.loop import Done, Every, Loop, Stage, warm_hold_fall
from codec.training.processes import place
from codec.training.restoration.batches import Batch, Store
from codec.training.restoration.crops import check_model
from codec.training.restoration.perception import ALEXNET, VGG16, Perception
from codec.training.run import Run
from codec.whole import written

FOUND = ("loss", "mse", "lpips_vgg", "elbo", "verdict", "judged")  # loss: without the verdict
STAGES = ("autoencoder", "ldm", "perceptual", "gan")
JUDGED = {
    1: 2.0,
    2: 1.0,
    3: 0.7,
    4: 0.3,
}  # layers of VGG16 with a head of the discriminator: weight of its verdict, which makes their gradients about equal
FLOOR = 2e-4  # of the squared error of what is restored, so that nearly perfect pictures do not count most
RAMP = 0.05  # share of the time in which the discriminator's verdict gains its weight
AHEAD = 0.03  # share of the time that the discriminator learns before its verdict counts
PART = 15 << 20  # bytes of a file of averaged weights


@dataclass(frozen=True)
class RestorationConfig:
    """One run."""

    seconds: float = 180.0  # of training
    steps: int = 0  # at most so many; 0: the time alone decides
    batch: int = 32  # crops a step
    window: int = 256  # pixels a side of a crop
    lr: float = 3e-4  # of Adam
    lr_discriminator: float = 3e-4  # of its own Adam
    warmup: int = 100  # steps
    hold: float = 0.4  # share of the time after which the learning rate falls
    ema: float = 0.998  # decay of the averaged weights
    clip: float = 1.0  # norm of the gradient
    upscale: float = 0.2  # share of crops that are enlargements
    drop: float = 0.1  # share of crops without context tokens
    mse: float = 0.6  # weight of the relative squared error
    feature: float = 1.0  # of LPIPS
    adversarial: float = 0.15  # of the discriminator's verdict
    adversarial_from: float = 0.5  # share of the time after which it comes in
    noise: float = 0.3  # standard deviation of what is added to s, which has 1, in the autoencoder
    prior: float = 0.02  # weight of the mean square of s there
    elbo: float = 0.3  # weight of the denoiser's loss
    anchored: float = 0.2  # share of crops whose s comes from the encoder, so that the painter stays its inverse
    sigma_mean: float = 0.0  # of ln sigma
    sigma_deviation: float = 1.4
    sigma_min: float = SIGMA_MIN
    sigma_max: float = SIGMA_MAX
    weight_limit: float = 5.0  # largest weight of the denoiser's error
    every: float = 40.0  # seconds between validations
    seed: int = 0
    bf16: bool = True
    record: bool = True  # on a card: the step's kernels once, then replayed
    painter: PainterConfig = field(default_factory=PainterConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)


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
            self.start()
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

    @torch.no_grad()
    def start(self, crops: int = 320) -> None:
        """Size of the residual for each task; linear paths of encoder and painter: the KLT of the residual in blocks
        of 8x8, in standard deviations."""
        size, rng, net = 3 * STRIDE * STRIDE, np.random.default_rng(8), self.net
        tasks, squares, blocks = [], [], []
        for _ in range(crops // 16):
            batch = self.store.draw(rng, 16, self.config.window, 0.3)
            residual = batch.x - batch.x_c
            tasks.append(batch.task), squares.append(residual.square().mean((1, 2, 3)))
            blocks.append(F.pixel_unshuffle(residual, STRIDE)[:, :, ::2, ::2])
        task, square = torch.cat(tasks), torch.cat(squares)
        tasks_of_rows = torch.arange(len(net.residual), device=task.device)
        near = (1 - (task[:, None] - tasks_of_rows).abs()).clamp(min=0)
        near = near * (net.of_stream(task)[:, None] == net.of_stream(tasks_of_rows))
        net.residual.copy_(((near.T @ square + 1e-7) / (near.sum(0) + 1e-3)).sqrt())
        covariance = torch.zeros(size, size, device=task.device)
        for t, block in zip(tasks, blocks, strict=True):
            rows = (block / net.size(t)).permute(0, 2, 3, 1).reshape(-1, size)
            covariance += rows.T @ rows / len(rows) / len(blocks)
        values, vectors = torch.linalg.eigh(covariance.double())
        values, vectors = (t.flip(-1)[..., : self.config.painter.latent].float() for t in (values, vectors))
        net.encoder.linear.weight.copy_((vectors / values.sqrt()).T[:, :, None, None])
        net.painter.linear.weight.copy_((vectors * values.sqrt())[:, :, None, None])

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

    @torch.no_grad()
    def validate(self) -> Iterator[dict[str, float]]:
        """RMSE (0..255) and LPIPS on AlexNet of held-out crops, by the level of their streams and for enlargements;
        with "_c", of what they are restored from."""
        rows: dict[str, list[list[float]]] = {}
        for factor, first in itertools.product((1, *UPSCALES), range(0, len(self.held_out), 8)):
            batch = self.held_out.whole(first, first + 8, factor)
            x_hat = self.restored(batch)
            values = torch.stack(
                [
                    f(p)
                    for p in (x_hat, batch.x_c)
                    for f in (
                        lambda p: (p - batch.x).square().mean((1, 2, 3)).sqrt() * 255,
                        lambda p: self.alex(p, batch.x),
                    )
                ],
                1,
            ).tolist()
            for task, row in zip(batch.task.tolist(), values, strict=True):
                rows.setdefault(f"x{factor}" if factor > 1 else f"{task:g}", []).append(row)
            if first == 0 and factor == 1:
                rows_shown = [torch.cat(list(p[:5]), 2) for p in (batch.x_c, x_hat, batch.x)]
                sheet = torch.cat(rows_shown, 1).mul(255).byte().permute(1, 2, 0)
                Image.fromarray(sheet.cpu().numpy()).save(self.folder / "sheet.png")
        yield {
            f"{key}_{name}": v
            for key, values in sorted(rows.items())
            for name, v in zip(("rmse", "lpips", "rmse_c", "lpips_c"), np.mean(values, 0).tolist(), strict=True)
        }

    @torch.no_grad()
    def measure_scale(self, crops: int = 256) -> None:
        """Sets the standard deviation of s in patches from the encoder, averaged weights in place."""
        self.net.scale.fill_(1)
        total, rng = torch.zeros_like(self.net.scale), np.random.default_rng(9)
        for _ in range(crops // 16):
            batch = self.store.draw(rng, 16, self.config.window, self.config.upscale)
            with self.autocast():
                total += self.net.encode(batch.x, batch.condition(self.net, self.centroids)).float().square().mean(
                    (0, 2, 3)
                ) / (crops // 16)
        of_channel = total.view(-1, 4).mean(1).sqrt()
        self.net.scale.copy_(of_channel.repeat_interleave(4))  # the same for the four places of a patch

    def run(self, stop_at: int | None = None) -> None:
        """To the end, or up to ``stop_at`` steps; then the averaged weights are in the folder."""
        every = Every(seconds=self.config.every)
        self.loop.run(every, every, stop_at)
        if self.stage == "autoencoder":
            self.measure_scale()
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


def save_parts(folder: Path, state: dict[str, torch.Tensor], meta: dict[str, str]) -> None:
    """Weights in half precision, in files of at most PART bytes: part-0.safetensors, ..."""
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for k, v in state.items():
        v = (
            v.detach().half().cpu().contiguous()
            if v.is_floating_point() and k not in ("net.scale", "net.residual")
            else v.detach().cpu().contiguous()
        )
        if size + v.nbytes > PART:
            parts.append({})
            size = 0
        parts[-1][k] = v
        size += v.nbytes
    for k, part in enumerate(parts):
        with written(folder / f"part-{k}.safetensors") as path:
            save_file(part, path, meta)


def load_parts(folder: Path) -> dict[str, torch.Tensor]:
    """Inverse of ``save_parts``."""
    paths = sorted(folder.glob("part-*.safetensors"))
    if not paths:
        raise SystemExit(f"there are no weights in {folder}")
    return {k: v.float() if v.is_floating_point() else v for path in paths for k, v in load_file(path).items()}


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
