"""Trains the class labels of the diffusion decoder: python -m codec.training.restoration.train_labels --data DIR --latents DIR --base RUN/last.pt --weights FILE --out DIR [NAME=VALUE ...]

The network stays as it is; what is learned is a few context tokens for each label, found through the frozen network (as words are in textual inversion, Gal et al. 2022). Killed and
started again with the same --out, it goes on where it was.
"""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from codec import zoo
from codec.diffusion.precondition import Preconditioned, draw_sigmas
from codec.models.context import ClassConditioner
from codec.models.semantic import Semantic
from codec.training.base.adapt import load_adapted
from codec.training.config import configure, options
from codec.training.data.cache import check_run, data_options
from codec.training.data.photos import Photos
from codec.training.features import FeatureLoss
from codec.training.optim import Ema
from codec.training.processes import Clock, place
from codec.training.restoration.restore import Batch, Store, channel_weight, learning_rate
from codec.training.restoration.train_diffusion import VALIDATION_SIGMAS, DiffusionConfig, losses
from codec.training.run import Run

SUBJECTS = Path(__file__).parents[1] / "recipe" / "subjects.csv"


@dataclass(frozen=True)
class LabelConfig(DiffusionConfig):
    """tokens: context tokens of a label. ``model`` is that of the network, whatever is set; gradients are not clipped."""

    steps: int = 1500
    lr: float = 0.01
    warmup: int = 50
    ema: float = 0.99
    tokens: int = 4


def read_subjects(path: Path, photos: Photos) -> tuple[tuple[str, ...], torch.Tensor]:
    """CSV with a photograph and its subject in each row -> names of the labels in alphabetical order, and the label (N,) int64 of photograph 0..N-1. Raises SystemExit for a photograph without one."""
    with open(path, newline="") as f:
        subject = {row["photograph"]: row["subject"] for row in csv.DictReader(f)}
    names = tuple(sorted(set(subject.values())))
    found = {e.photo: e.name for e in photos.entries}
    if missing := [name for name in found.values() if name not in subject]:
        raise SystemExit(f"{path} says nothing of {missing[0]} ({len(missing)} photographs are missing)")
    return names, torch.tensor([names.index(subject[found[k]]) for k in range(len(found))])


def labelled(batch: Batch, conditioner: ClassConditioner, label: torch.Tensor) -> Batch:
    """The batch with the tokens of ``label`` (B,) in its context."""
    tokens, before = conditioner(label), batch.condition.context
    return dataclasses.replace(batch, condition=dataclasses.replace(batch.condition, context=tokens if before is None else before.joined(tokens)))


@torch.no_grad()
def validate(net: Semantic, conditioner: ClassConditioner, store: Store, config: LabelConfig, label: torch.Tensor) -> dict[str, float]:
    """Change of the weighted squared error of the clean residual by labels, in percent: the right ones, and others; at fixed noise levels, streams of held-out crops."""
    denoise, count, found = Preconditioned(net), len(conditioner.tokens), {}
    for s in VALIDATION_SIGMAS:
        g, errors = torch.Generator().manual_seed(1), np.zeros(3)
        for batch in store.validation(config, net, enlarged=False):
            task, right = batch.condition.task, label.to(batch.photo.device)[batch.photo]
            r = (batch.y - batch.condition.y_c) / net.scales(task)
            x, w = r + s * torch.randn(r.shape, generator=g).to(r.device), channel_weight(net, task, config.channel_power)

            def error(batch: Batch, r: torch.Tensor = r, x: torch.Tensor = x, w: torch.Tensor = w) -> float:
                return ((denoise(x, r.new_full((len(r),), s), condition=batch.condition) - r).square() * w).mean().item() * len(r)

            wrong = (right + 1 + batch.photo % max(1, count - 1)) % count
            errors += error(batch), error(labelled(batch, conditioner, right)), error(labelled(batch, conditioner, wrong))
        found |= {f"right_{s:g}": 100 * (errors[1] / errors[0] - 1), f"wrong_{s:g}": 100 * (errors[2] / errors[0] - 1)}
    return found


def train(config: LabelConfig, net: Semantic, store: Store, names: tuple[str, ...], label: torch.Tensor, out: Path, stop_at: int | None = None, features: FeatureLoss | None = None) -> zoo.Labels:
    """Runs or resumes a training; net: frozen; label (N,): of each photograph. features: needed if config.feature is above 0. Returns the labels with averaged tokens."""
    config, device = dataclasses.replace(config, model=net.network.config), store.device
    torch.manual_seed(config.seed)
    conditioner = ClassConditioner(len(names), config.tokens, config.model.context).to(device)
    run, opt = Run(out, config, True), torch.optim.Adam(conditioner.parameters(), lr=config.lr, betas=(0.9, 0.99))
    ema, state = Ema(conditioner, config.ema), run.load()
    if state is not None:
        conditioner.load_state_dict(state["model"]), opt.load_state_dict(state["optimiser"])
        ema.mean = [m.to(device, copy=True) for m in state["ema"]]
    denoise, label = Preconditioned(net), label.to(device)
    first, last = 0 if state is None else state["step"], min(config.steps, stop_at or config.steps)
    clock, seen = Clock(device, 0.0 if state is None else state["seconds"]), []
    for step in tqdm(range(first, last), initial=first, total=last, disable=None):
        rng = np.random.default_rng((config.seed, step))
        torch.manual_seed(int(rng.integers(2**62)))
        batch = store.draw(rng, config, net)
        u = (torch.arange(config.batch) + torch.rand(config.batch)) / config.batch
        sigma = draw_sigmas(u.clamp(1e-4, 1 - 1e-4), config.sigma_mean, config.sigma_deviation, config.sigma_min, config.sigma_max).to(device)
        noise = torch.randn(batch.y.shape).to(device)
        elbo, distance = losses(denoise, net, store.vqvae, labelled(batch, conditioner, label[batch.photo]), noise, sigma, features if config.feature else None, config)
        loss = (elbo + config.feature * distance).mean()
        opt.zero_grad(set_to_none=True)
        for group in opt.param_groups:
            group["lr"] = config.lr * learning_rate(step, config)
        loss.backward()
        opt.step()
        ema.update(step)
        seen.append([v.mean().item() for v in (loss, elbo, distance)])
        done = step + 1
        if done % 50 == 0 or done == last:
            run.row("log", done, {**dict(zip(("loss", "elbo", "distance"), np.mean(seen, 0).tolist(), strict=True)), "seconds": clock.seconds()})
            seen = []
        if done % config.validate == 0 or done == config.steps:
            ema.swap()
            run.row("validation", done, {**validate(net, conditioner, store, config, label), "seconds": clock.seconds()})
            ema.swap()
        if done % config.save == 0 or done == last:
            run.save({"names": names, "step": done, "seconds": clock.seconds(), "model": conditioner.state_dict(), "ema": ema.mean, "optimiser": opt.state_dict()})
    ema.swap()
    return zoo.Labels(names, conditioner)


def main() -> None:
    ap = options("restoration.train_labels", __doc__)
    data_options(ap)
    ap.add_argument("--subjects", type=Path, default=SUBJECTS, help="CSV with the subject of each photograph")
    ap.add_argument("--latents", type=Path, required=True, help="folder made by codec.training.restoration.latents")
    ap.add_argument("--base", type=Path, required=True, help="last.pt of the run of codec.training.base.adapt that the latents are of")
    ap.add_argument("--weights", type=Path, required=True, help="weights file of the diffusion decoder")
    ap.add_argument("--feature-weights", type=Path, help="safetensors file with SqueezeNet 1.1, for feature above 0")
    args = ap.parse_args()
    check_run(args.out, args.data)
    config = configure(LabelConfig(), args.config, args.settings)
    if config.feature and args.feature_weights is None:
        ap.error("feature above 0 needs --feature-weights")
    names, label = read_subjects(args.subjects, Photos(args.data, args.cache or args.out / "cache"))
    with place(args.threads, alone="codec.training.restoration.train_labels") as device:
        features = FeatureLoss(args.feature_weights).to(device) if config.feature else None
        train(config, zoo.read_semantic(args.weights, device), Store(args.latents, load_adapted(args.base, device)[0]), names, label, args.out, args.stop_at, features)


if __name__ == "__main__":
    main()
