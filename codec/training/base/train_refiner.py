"""The encoder's other look: python -m codec.training.base.train_refiner --data DIR --out DIR [--begin FILE]
[--weights FILE --id ID] [NAME=VALUE ...]

Trains a ``Refiner`` for a model that stays as it is, decoder and files alike. A crop is sent as effort 1 sends it and
decoded; the refiner moves the latents, and what is sent of those is judged by bits and error of the picture. What the
quantiser does to a latent is a step function: ``codec.training.base.gradients`` has two ways to follow it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from codec import manifest, zoo
from codec.coding.model import Base
from codec.coding.ratecontrol import RATE_SHARE, SLOPE_SHARE, error_weight, worth
from codec.coding.surrogate import FloatPasses
from codec.models.refiner import Refiner, RefinerConfig
from codec.models.transforms import level_features
from codec.told import told
from codec.training.base.gradients import Pulled, Smoothed
from codec.training.base.train import LEVELS
from codec.training.config import configure, options
from codec.training.data.cache import data_options
from codec.training.data.packs import Mixture, Packs, check_places, fine_option, open_packs
from codec.training.data.photos import drawn, to_tensor
from codec.training.loop import Done, Every, Loop, Stage, warm_hold_fall
from codec.training.losses import rate_distortion
from codec.training.optim import Muon, split
from codec.training.processes import place
from codec.training.run import Run, described
from codec.training.shipping.manifest import write_manifest

CROPS, SIDE = 12, 256  # of the validation, and their pixels a side


@dataclass(frozen=True)
class RefinerTraining(Mixture):
    """steps, seconds, batch, crop, warmup, hold, ema, clip, bf16, exponent, validate, save, seed: as in TrainConfig;
    lr: of Adam; lr_muon: of Muon, for the 1x1 convolutions of the body; width, blocks: of the refiner; drawn: share of
    crops that are drawn; pulled: share of the run whose gradient is ``Pulled``, which is sooner at the right place and
    not quite there."""

    steps: int = 0
    seconds: float = 3600.0
    batch: int = 8
    crop: int = 128
    lr: float = 6e-4
    lr_muon: float = 8e-3
    warmup: int = 50
    hold: float = 0.5
    ema: float = 0.998
    clip: float = 1.0
    bf16: bool = True
    exponent: float = 0.5
    width: int = 384
    blocks: int = 3
    drawn: float = 0.03
    pulled: float = 0.35
    validate: int = 500
    save: int = 250
    seed: int = 1


@dataclass(frozen=True)
class State:
    """What the encoder has: position (B,) among the anchors, tokens (B, h/2, w/2), v and v_hat (B, C, h, w) in steps,
    bits (B,) of the latents with their gradient, x_hat (B, 3, H, W), neither clipped nor rounded."""

    position: torch.Tensor
    tokens: torch.Tensor
    v: torch.Tensor
    v_hat: torch.Tensor
    bits: torch.Tensor
    x_hat: torch.Tensor


def sent_of(
    base: Base, v: torch.Tensor, tokens: torch.Tensor, position: torch.Tensor, gradient: type[FloatPasses] = Smoothed
) -> State:
    """v (B, C, h, w) in steps -> what effort 1 would send of it, by the float prior."""
    net = base.vqvae
    passes = gradient(base, v, [error_weight(net, p) for p in position[:, None]])
    with torch.autocast(v.device.type, enabled=False):  # as in VQVAE.forward
        features = level_features(position, net.config.anchors)
        out = net.prior(v, net.spread(position), net.tokens.values(tokens, net.sd), features, passes.quantise)
    bits = torch.from_numpy(passes.bits).to(v) + torch.stack(passes.slopes).sum(0)
    x_hat = net.synthesise(net.from_steps(out.v_hat, position), position)
    return State(position, tokens, v, out.v_hat, bits, x_hat.float())


@torch.no_grad()
def begun(base: Base, x: torch.Tensor, position: torch.Tensor) -> State:
    """x (B, 3, H, W) in 0..1 -> what effort 1 sends."""
    v, tokens, _ = base.vqvae.in_steps(x, position)
    return sent_of(base, v, tokens, position)


def looked(
    base: Base, refiner: Refiner, x: torch.Tensor, state: State, gradient: type[FloatPasses] = Smoothed
) -> State:
    """One look -> what is sent then."""
    net = base.vqvae
    with torch.no_grad():
        e = net.lacking(x - (state.x_hat.detach().clamp(0, 1) * 255).round() / 255, state.position)
    powers = level_features(state.position, net.config.anchors)
    v = refiner(state.v.detach(), state.v_hat.detach(), e, powers)
    return sent_of(base, v, state.tokens, state.position, gradient)


class RefinerStage(Stage):
    """The refiner alone, in front of a frozen model."""

    def __init__(
        self, config: RefinerTraining, refiner: Refiner, base: Base, packs: Packs, device: torch.device
    ) -> None:
        self._config, self.module, self._base, self._packs, self._device = config, refiner, base, packs, device
        matrices, rest = split(refiner, ("body.",))
        self.optimisers = [
            torch.optim.Adam(rest, lr=config.lr, betas=(0.9, 0.98), fused=True),
            Muon(matrices, config.lr_muon),
        ]
        for opt in self.optimisers:
            opt.param_groups[0]["peak"] = opt.param_groups[0]["lr"]
        self.clip = list(refiner.parameters()), config.clip
        self.facts = {"refiner": dataclasses.asdict(refiner.config)}
        self._held_out = to_tensor(packs.photos.validation_crops(4 * CROPS, SIDE))[::4]

    def rate(self, done: Done) -> float:
        return warm_hold_fall(done, self._config.warmup, self._config.hold)

    def step(self, done: Done, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        config, net = self._config, self._base.vqvae
        x, position, _ = self._packs.batch(rng, config.batch, config.crop, self._device, net.config)
        if number := int(config.drawn * config.batch + rng.random()):
            x[:number] = to_tensor(drawn(rng, number, config.crop)).to(self._device)
        pulled = done.share < config.pulled
        share, passes = (RATE_SHARE, Pulled) if pulled else (SLOPE_SHARE, Smoothed)
        lam = torch.tensor([3 * worth(net.config, p, share) for p in position[:, None]], device=self._device)
        loss_of = partial(rate_distortion, x, lam=lam, exponent=config.exponent)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=config.bf16):
            before = begun(self._base, x, position)
            after = looked(self._base, self.module, x, before, passes)
        loss, bpd, mse = loss_of(after.x_hat, after.bits)
        self.module.zero_grad(set_to_none=True)
        loss.backward()
        usual = loss_of(before.x_hat, before.bits)[0]
        return {"loss": loss, "change": 100 * (loss / usual - 1), "bits_per_dim": bpd, "rmse": mse.sqrt()}

    @torch.no_grad()
    def validate(self) -> Iterator[dict[str, float]]:
        for level in LEVELS:
            found = np.zeros((2, 2))  # bits and squared error, at effort 1 and with the look
            for x in self._held_out.split(4):
                x = x.to(self._device)
                begin = begun(self._base, x, torch.full((len(x),), level, device=self._device))
                for k, state in enumerate((begin, looked(self._base, self.module, x, begin))):
                    error = (state.x_hat.clamp(0, 1) * 255).round() - x * 255
                    found[k] += state.bits.sum().item(), error.square().sum().item()
            names = "usual_bits_per_dim", "usual_mse", "bits_per_dim", "mse"
            yield {"level": level, **dict(zip(names, (found / self._held_out.numel()).ravel().tolist(), strict=True))}


def train(
    config: RefinerTraining,
    base: Base,
    packs: Packs,
    out: Path,
    device: torch.device,
    stop_at: int | None = None,
    begin: Refiner | None = None,
) -> Refiner:
    """Runs or resumes a training, from ``begin`` if there is one; returns the refiner with averaged weights, on
    ``device``. Raises SystemExit where that has another shape."""
    torch.manual_seed(config.seed)
    refiner = Refiner(RefinerConfig(base.config.channels, config.width, config.blocks))
    if begin is not None:
        if begin.config != refiner.config:
            raise SystemExit(f"the network to begin with has another shape: {begin.config}")
        refiner.load_state_dict(begin.state_dict())
    refiner.to(device, memory_format=torch.channels_last)
    loop = Loop(RefinerStage(config, refiner, base, packs, device), Run(out, config, True, device), config, device)
    loop.run(Every(config.validate), Every(config.save), stop_at)
    return refiner


@told
def main() -> None:
    ap = options("base.train_refiner", __doc__)
    data_options(ap)
    fine_option(ap)
    ap.add_argument("--model", default="default", help="perceptual model whose encoder looks again")
    ap.add_argument("--begin", type=Path, help="weights file of a refiner to start from; best with pulled=0")
    ap.add_argument("--weights", type=Path, help="weights file to write")
    ap.add_argument(
        "--id", type=int, default=0, help="its model's id in the manifest beside the weights file (0: no manifest)"
    )
    args = ap.parse_args()
    cache = check_places(args)
    config = configure(RefinerTraining(), args.config, args.settings)
    zoo.find(args.model, manifest.read())
    begin = zoo.read_refiner(args.begin) if args.begin else None
    with place(args.threads, alone="codec.training.base.train_refiner") as device:
        packs = open_packs(args.data, args.fine, cache, config)
        refiner = train(config, zoo.load(args.model, device), packs, args.out, device, args.stop_at, begin)
    if args.weights:
        zoo.write_refiner(args.weights, refiner)
        if args.id:
            begun = {"begun_from": zoo.file_hash(args.begin)} if args.begin else {}
            record = {"model": args.id, "data": packs.describe(), **begun, "stages": [described(args.out)]}
            write_manifest(args.weights, "refiners", args.weights.stem, record)


if __name__ == "__main__":
    main()
