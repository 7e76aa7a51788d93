"""Trains the perceptual stage: python -m codec.training.base.train --data DIR --out DIR [--config FILE] [NAME=VALUE
...]

Under torchrun it runs on several processes (DDP). Killed and started again with the same --out, it goes on where it
was, on a CPU with the same numbers as if it had not been killed: every step draws its crops and noise from a seed of
its own.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from codec.models.config import model_config
from codec.models.vqvae import VQVAE
from codec.told import told
from codec.training.base import start
from codec.training.config import TrainConfig, configure, options
from codec.training.cuda_graph import Recorded
from codec.training.data.cache import check_run, data_options
from codec.training.data.packs import Packs, fine_option, open_packs
from codec.training.data.photos import Photos, to_tensor
from codec.training.fused import fuse, unfused
from codec.training.loop import Done, Every, Loop, Stage
from codec.training.losses import rate_distortion
from codec.training.optim import Muon
from codec.training.processes import place, rank_and_world
from codec.training.run import Run
from codec.training.saved import read_state
from codec.zoo import read_model

FILTER = "g_s.filter."
RECORDINGS = ("step", "gradients", "nothing")
LEVELS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)  # of the validation


def learning_rate(done: Done, config: TrainConfig) -> float:
    """Factor 0..1: linear warm-up, constant, then linear to 0 from ``hold`` on."""
    fall = 1.0 if done.share < config.hold else (1 - done.share) / (1 - config.hold)
    return min(1.0, (done.steps + 1) / config.warmup) * fall


class Rates(Protocol):
    """Learning rates, as in TrainConfig."""

    lr: float
    lr_muon: float
    lr_linear: float
    lr_gain: float


def optimisers(model: VQVAE, config: Rates, recorded: bool = False) -> list[torch.optim.Optimizer]:
    """Adam in three groups: networks, linear part (which must hardly move), step sizes; and Muon for the 1x1
    convolutions between hidden layers of g_a and g_s, if it has a rate. recorded: their steps are, on a card."""

    def held(rate: float) -> float | torch.Tensor:
        return torch.tensor(rate, device=model.sd.device) if recorded else rate

    linear, gains, hidden, rest = [], [], [], []
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        inside = (
            name.startswith("g_")
            and any(part in name for part in ("body", ".up.", ".down."))
            and p.ndim == 4
            and p.shape[2:] == (1, 1)
        )
        (
            linear
            if "lapped" in name or "klt" in name
            else gains
            if "gain" in name
            else hidden
            if inside and config.lr_muon
            else rest
        ).append(p)
    groups = [(rest, 1.0), (linear, config.lr_linear), (gains, config.lr_gain)]
    found: list[torch.optim.Optimizer] = [
        torch.optim.Adam(
            [{"params": p, "lr": held(config.lr * f)} for p, f in groups],
            betas=(0.9, 0.98),
            fused=True,
            capturable=recorded,
        )
    ]
    if hidden:
        found.append(Muon(hidden, held(config.lr_muon)))
    for group in (g for opt in found for g in opt.param_groups):
        group["peak"] = float(group["lr"])
    return found


def load_begin(path: Path) -> VQVAE:
    """Weights file, or kept weights of a run (step-N.pt) -> model. Raises SystemExit for one whose prior is narrow."""
    return wide(path, load_kept(path)[0] if path.suffix == ".pt" else read_model(path, 0).vqvae)


def wide(path: Path, model: VQVAE) -> VQVAE:
    """The model of a file. Raises SystemExit for one whose prior is narrow: the rates of training are not for its
    units."""
    if model.config.arithmetic != "wide":
        raise SystemExit(f"the prior of {path} is in narrow arithmetic: begin with the model it was made from")
    return model


def begin_with(given: VQVAE, model: VQVAE, photos: Photos, config: TrainConfig) -> None:
    """Start values from another model; step sizes of its range of qualities become those of this one's, by lambda.
    What it does not have, a filter of another shape or scales of the level, begins as in a new model, where it does
    nothing. Raises SystemExit for any other difference of shape."""
    found, mine = given.state_dict(), model.state_dict()
    same_filter = (given.config.filter_width, given.config.filter_blocks) == (
        model.config.filter_width,
        model.config.filter_blocks,
    )
    kept = {k: v for k, v in found.items() if k in mine and (same_filter or not k.startswith(FILTER))}
    new = [k for k in mine if k not in kept or kept[k].shape != mine[k].shape]
    if other := [k for k in new if not k.startswith(FILTER) and ".scale" not in k]:
        raise SystemExit(f"the model to begin with has another shape: {other[0]}")
    model.load_state_dict({**mine, **kept})
    old, new = (np.log(c.lambdas()) for c in (given.config, model.config))
    level = np.interp(new, old, np.arange(len(old))) + (new - new.clip(old[0], old[-1])) / (old[1] - old[0])
    with torch.no_grad():
        for table, values in ((model.log2_gain, given.log2_gain), (model.log2_igain, given.log2_igain)):
            table.copy_(given.interpolate(values, torch.from_numpy(level).float())[:, :, 0, 0])


def load_base(path: Path) -> tuple[VQVAE, dict]:
    """Checkpoint of a run, or what ``codec.training.base`` left -> model with averaged weights, and the state it came
    from."""
    state = read_state(path)
    if "ema" not in state:
        return load_kept(path)
    model = VQVAE(model_config(state["config"])).to(memory_format=torch.channels_last)
    model.load_state_dict(state["model"])
    with torch.no_grad():
        for p, mean in zip(model.parameters(), state["ema"], strict=True):
            p.copy_(mean)
    return model, state


def load_kept(path: Path) -> tuple[VQVAE, dict]:
    """What ``Run.keep`` wrote -> model, and what is said of it: step and seconds."""
    state = read_state(path)
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


def recordings(wanted: str, device: torch.device) -> tuple[bool, bool]:
    """What of a step is recorded: "step", "gradients" or "nothing"; only on one card -> whether the moves are, and
    whether anything is. Raises SystemExit for another word."""
    if wanted not in RECORDINGS:
        raise SystemExit(f"record is one of {', '.join(RECORDINGS)}, not {wanted!r}")
    possible = device.type == "cuda" and rank_and_world()[1] == 1
    return possible and wanted == "step", possible and wanted != "nothing"


class BaseStage(Stage):
    """Transforms, step sizes and prior, at qualities that are spread evenly."""

    def __init__(self, model: VQVAE, packs: Packs, config: TrainConfig, device: torch.device, run: Run) -> None:
        self._world, self.module, self._config, self.run = rank_and_world()[1], model, config, run
        self._packs, self._device = packs, device
        self.moves, recorded = recordings(config.record, device)
        self.optimisers = optimisers(model, config, self.moves)
        self.clip = list(model.parameters()), config.clip
        self.facts = {"config": dataclasses.asdict(config.model)}
        fuse(model, config.fuse)
        self._wrapped = DistributedDataParallel(model) if self._world > 1 else model
        self._recorded = Recorded(self._all, recorded, lambda: self.mover.tensors() if self.moves else ())
        self._crops = to_tensor(packs.photos.validation_crops(32, 256))

    def rate(self, done: Done) -> float:
        return learning_rate(done, self._config)

    def keep(self, steps: int, seconds: float) -> None:
        if self._config.keep and steps % self._config.keep == 0:
            self.run.keep(self.module, steps, seconds)

    def forget(self) -> None:
        self._recorded.forget()

    def _all(self, x: torch.Tensor, level: torch.Tensor, lam: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Leaves gradients, or moves the weights -> loss, bits/dim and MSE (B,), norm of the gradients if they moved
        something."""
        self.module.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self._config.bf16):
            out = self._wrapped(x, level)
        loss, bpd, mse = rate_distortion(x, out.x_hat, out.bits, lam, self._config.exponent)
        loss.backward()
        norm = self.mover().values() if self.moves else ()
        return loss.detach(), bpd.detach(), mse.detach(), *norm

    def step(self, done: Done, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        config = self._config
        late = done.share >= config.late
        size = config.crop_late if late else config.crop
        count = max(1, config.batch * config.crop**2 // size**2) if late else config.batch
        count = max(1, count // self._world)
        drawn = self._packs.batch(rng, count, size, self._device, config.model)
        loss, bpd, mse, *norm = self._recorded(*drawn)
        return {"loss": loss, "bits_per_dim": bpd, "rmse": mse.sqrt()} | ({"grad_norm": norm[0]} if norm else {})

    def validate(self) -> Iterator[dict[str, float]]:
        with unfused(self.module):
            rows = validate(self.module, self._crops, LEVELS)
        for level, rate, rmse in rows:
            yield {"level": level, "bits_per_dim": rate, "rmse": rmse}


def train(
    config: TrainConfig,
    data: Path,
    folder: Path,
    stop_at: int | None = None,
    begin: Callable[[VQVAE, Photos, TrainConfig], None] = start_values,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    fine: Path | None = None,
) -> VQVAE:
    """Runs to the end (or to ``stop_at`` steps) and returns the averaged model on ``device``.

    ``begin`` sets the start values of a new run; ``cache``: of the photographs, in ``folder`` if None; ``fine``: a
    second pack of them.
    """
    rank, device = rank_and_world()[0], torch.device(device)
    check_run(folder, data, fine)
    packs = open_packs(data, fine, cache or folder / "cache", config)
    torch.manual_seed(config.seed)
    model = VQVAE(config.model).to(memory_format=torch.channels_last)
    run = Run(folder, config, rank == 0, device)
    if run.load() is None:
        begin(model, packs.photos, config)
    model.to(device)

    loop = Loop(BaseStage(model, packs, config, device, run), run, config, device)
    loop.run(Every(config.validate), Every(config.save), stop_at)
    return model


@told
def main() -> None:
    ap = options("base.train", __doc__)
    data_options(ap)
    fine_option(ap)
    ap.add_argument(
        "--begin",
        type=Path,
        help="weights file, or step-N.pt of another run, to start from: the model then has its shape, but for what [model] of --config says",
    )
    args = ap.parse_args()
    given = load_begin(args.begin) if args.begin else None
    config = configure(TrainConfig(model=given.config) if given else TrainConfig(), args.config, args.settings)
    with place(args.threads) as device:
        train(
            config,
            args.data,
            args.out,
            args.stop_at,
            partial(begin_with, given) if given else start_values,
            device,
            args.cache,
            args.fine,
        )


if __name__ == "__main__":
    main()
