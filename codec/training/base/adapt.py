"""Second stage: prior, tables and networks learn what the rate-aware encoder really sends.

    python -m codec.training.base.adapt --data DIR --base RUN/last.pt --out DIR [NAME=VALUE ...]

Under torchrun it runs on several processes. Killed and started again with the same --out, it goes on where it was.
--base may be a weights file too. The encoder's decisions are made inside the loop with the tables of the moment, which
are counted from those decisions. In the gradients log sigma moves along the tables, symbols held fixed, mu's rate is
that of a Gaussian, and the analysis learns from what the quantiser does on average over a step around a latent
(``gradients.smoothed``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codec.bitstream.tables import KINDS, MAX_SYMBOL, LatentTables
from codec.coding.ratecontrol import RATE_SHARE, SLOPE_SHARE, lagrangians, step_weight, thrift
from codec.coding.surrogate import Sent
from codec.coding.trellis import TRELLISES, Trellis
from codec.models.config import Group
from codec.models.prior import PriorOutput, octaves, table_bits
from codec.models.transforms import level_features
from codec.models.vqvae import VQVAE
from codec.told import told
from codec.training.base.asked import Asked, ask, places
from codec.training.base.gradients import smoothed
from codec.training.base.lattice import D4, E8
from codec.training.base.tables import Counts, analytic_tables
from codec.training.base.torch_lattice import LatticeSender
from codec.training.base.torch_trellis import TorchTrellis
from codec.training.base.train import LEVELS, load_base, optimisers, wide
from codec.training.config import configure, options
from codec.training.cuda_graph import Recorded
from codec.training.data.cache import check_run, data_options
from codec.training.data.packs import Mixture, Packs, check_caches, fine_option, open_packs
from codec.training.data.photos import drawn, to_tensor
from codec.training.loop import Done, Every, Loop, Stage
from codec.training.losses import rate_distortion
from codec.training.processes import average, place, rank_and_world
from codec.training.run import Run
from codec.zoo import read_model

COUNTS = ("magnitude", "error", "number")
COUNTED = 256  # positions of a pass whose symbols are counted


@dataclass(frozen=True)
class AdaptConfig(Mixture):
    """steps, seconds, batch, crop, lr, lr_muon, lr_linear, lr_gain, bf16, exponent, validate, save, seed: as in
    TrainConfig; quantizer: a trellis, or e8 or d4 (for comparison: no file can hold these);
    refresh: steps between new tables; ema: decay; drawn: share of crops that are drawn, not photographed."""

    steps: int = 4000
    seconds: float = 0.0
    batch: int = 4
    crop: int = 192
    lr: float = 6e-4
    lr_muon: float = 0.0
    lr_linear: float = 0.01
    lr_gain: float = 0.2
    warmup: int = 50
    quantizer: str = "tcq128"
    refresh: int = 100
    ema: float = 0.998
    drawn: float = 0.0
    exponent: float = 0.5
    bf16: bool = True
    validate: int = 1000
    save: int = 500
    seed: int = 1


class Sender:
    """Quantises like the encoder and keeps the counts of what it sent."""

    def __init__(self, trellis: Trellis, tables: LatentTables, device: torch.device | str = "cpu") -> None:
        self.name, self.device, self.counts, self.tables = trellis.name, torch.device(device), Counts(), tables
        self._new = {
            name: torch.zeros(getattr(self.counts, name).shape, dtype=torch.float64, device=self.device)
            for name in COUNTS
        }  # since the last tables, where they arise
        bits, offsets = (torch.from_numpy(a).to(self.device) for a in (tables.bits(), tables.offsets))
        self._search, self._slopes = TorchTrellis(trellis, bits, offsets), torch.empty_like(bits)
        self._use(tables)

    def count(self) -> None:
        """Takes the tables of what all processes have sent, and forgets a part of it."""
        average(self._new.values())
        for name, new in self._new.items():
            getattr(self.counts, name)[:] += new.cpu().numpy()
            new.zero_()
        self._use(self.counts.tables())
        self.counts.decay(0.8)

    def _use(self, tables: LatentTables) -> None:
        self.tables = tables
        self._search.use(*(torch.from_numpy(a).to(self.device) for a in (tables.bits(), tables.offsets)))
        self._slopes.copy_(torch.from_numpy(tables.slopes()))

    def state(self) -> dict[str, torch.Tensor]:
        """Counts and tables, for a checkpoint."""
        arrays = {name: getattr(self.counts, name) for name in COUNTS} | self.tables.flat()
        return {name: torch.from_numpy(a.copy()) for name, a in arrays.items()} | {
            f"new.{name}": new.cpu().clone() for name, new in self._new.items()
        }

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        for name in COUNTS:
            getattr(self.counts, name)[:] = state[name].numpy()
            self._new[name].copy_(state[f"new.{name}"])
        self._use(LatentTables.from_flat({name: t.numpy() for name, t in state.items()}))

    def quantise(
        self, r: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor, octave: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """r (P, C) residuals in steps, scale, weight (P, C), octave (P, C): log2 sigma in table steps ->
        reconstructions in steps, and bits, which octave moves along the tables; counts the symbols of some COUNTED
        positions."""
        symbols, kind, values = self._send(r, scale, weight)
        return values, table_bits(self._slopes, octave, kind, symbols)

    def follow(self, asked: Asked) -> tuple[torch.Tensor, torch.Tensor]:
        """-> v_hat (B P, C) in steps and bits, with gradients; counts as ``quantise``."""
        symbols, kind, values = self._send(asked.residual, asked.scale, asked.weight)
        sent = Sent(symbols, kind, asked.mu.detach() + values)
        tables = self._search.half_bits, self._search.offsets
        path, moved = smoothed(asked.v, asked.mu, asked.log2_sigma, asked.scale, asked.weight, sent, *tables)
        bits = table_bits(self._slopes, octaves(asked.log2_sigma), kind, symbols)
        return sent.v_hat + (path - path.detach()), bits + (moved - moved.detach())

    def _send(
        self, r: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        symbols, kind = self._search.assign(r, scale, weight)
        table = scale * KINDS + kind
        some = slice(None, None, len(r) // COUNTED | 1)
        for name, (rows, width, values) in histograms(table[some], symbols[some], r[some]).items():
            self._new[name].view(-1).index_add_(0, (table[some] * width + rows).flatten(), values.flatten().double())
        return symbols, kind, self._search.reconstruct(symbols, kind, table)


def histograms(
    table: torch.Tensor, symbols: torch.Tensor, r: torch.Tensor
) -> dict[str, tuple[torch.Tensor, int, torch.Tensor]]:
    """What ``Counts.add`` adds up, for tensors of equal shapes: column, columns, and value of each latent."""
    m = symbols.abs()
    size, used = m.clamp(max=2), (m > 0).double()
    error = r * symbols.sign() - (m - 0.5 * (table % KINDS))
    return {
        "magnitude": (m.clamp(max=MAX_SYMBOL), MAX_SYMBOL + 1, torch.ones_like(used)),
        "error": (size, 3, error * used),
        "number": (size, 3, used),
    }


def make_sender(
    quantizer: str, device: torch.device | str = "cpu", tables: LatentTables | None = None
) -> Sender | LatticeSender:
    """By its name: one of TRELLISES, e8 or d4. tables: of a trellis, to begin with."""
    lattices = {lattice.name: lattice for lattice in (D4, E8)}
    if quantizer in TRELLISES:
        return Sender(TRELLISES[quantizer], tables or analytic_tables(), device)
    if quantizer not in lattices:
        raise SystemExit(f"there is no quantiser {quantizer!r}: {', '.join((*TRELLISES, *lattices))}")
    return LatticeSender(lattices[quantizer], device)


def weights(model: VQVAE, level: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """level, lam (B,) -> (B, C): ``error_weight`` of each picture, as its encoder has it."""
    share = RATE_SHARE * thrift(level).to(lam)
    return step_weight(model.interpolate(model.log2_igain, level), lam[:, None], share[:, None])


@torch.no_grad()
def codes(
    model: VQVAE, sender: Sender | LatticeSender, x: torch.Tensor, level: torch.Tensor
) -> tuple[torch.Tensor, PriorOutput, torch.Tensor]:
    """x (B, 3, H, W) in 0..1, level (B,) -> what a stream of effort 1 says of each, by the float prior and the tables
    of the moment: tokens (B, H/32, W/32), latents with what the prior expected, bits (B,) of the latents."""
    v, tokens, gain = model.in_steps(x, level)
    spread, rates = model.sd * gain, []
    weight = weights(model, level, lagrangians(model.config, level).float())
    passes = iter(places(model.config.groups, *v.shape[2:], v.device))

    def quantize(
        part: torch.Tensor, mu: torch.Tensor, ls: torch.Tensor, group: Group, mask: torch.Tensor
    ) -> torch.Tensor:
        asked = ask(part, mu, ls, group, next(passes), weight)
        values, bits = sender.quantise(asked.residual, asked.scale, asked.weight, asked.scale.float())
        rates.append(bits.mul(asked.scale > 0).reshape(len(part), -1).sum(1))
        return asked.back(asked.mu + values)

    out = model.prior(
        v, spread, model.tokens.values(tokens, model.sd), level_features(level, model.config.anchors), quantize
    )
    return tokens, out, torch.stack(rates).sum(0)


def send(
    model: VQVAE, sender: Sender | LatticeSender, x: torch.Tensor, level: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``codes``, with y_hat instead of what the prior expected."""
    tokens, out, bits = codes(model, sender, x, level)
    return tokens, model.from_steps(out.v_hat, level), bits


def adapt_step(
    model: VQVAE,
    sender: Sender | LatticeSender,
    x: torch.Tensor,
    level: torch.Tensor,
    lam: torch.Tensor,
    bf16: bool = True,
    exponent: float = 0.5,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x (B, 3, H, W) in 0..1, level (B,), lam (B,): bits per pixel that one unit of MSE (0..255 scale) is worth there
    -> loss, bits/dim (B,) at the tables of the moment (tokens not included), MSE (B,); adds to the sender's
    counts."""
    device = x.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        v, tokens, gain = model.in_steps(x, level)
        spread, weight = model.sd * gain, weights(model, level, lam)
        rates: list[torch.Tensor] = []
        passes = iter(places(model.config.groups, *v.shape[2:], device))

        def quantize(
            part: torch.Tensor, mu: torch.Tensor, ls: torch.Tensor, group: Group, mask: torch.Tensor
        ) -> torch.Tensor:
            asked = ask(part, mu, ls, group, next(passes), weight)
            v_hat, bits = sender.follow(asked)
            rates.append(bits.reshape(len(part), -1).sum(1))
            return asked.back(v_hat)

        with torch.autocast(device.type, enabled=False):  # as in VQVAE.forward
            out = model.prior(
                v, spread, model.tokens.values(tokens, model.sd), level_features(level, model.config.anchors), quantize
            )
        x_hat = model.synthesise(model.from_steps(out.v_hat, level), level)
    worth = lam / (SLOPE_SHARE * thrift(level).to(lam))
    return rate_distortion(x, x_hat, torch.stack(rates).sum(0), worth, exponent)


@torch.no_grad()
def validate(model: VQVAE, sender: Sender | LatticeSender, crops: torch.Tensor) -> list[tuple[float, float, float]]:
    """-> (level, bits/dim, RMSE 0..255) at LEVELS, means over pictures; tokens not included. The sender's counts are
    as before."""
    rows, device, held = [], model.sd.device, sender.state()
    for level in LEVELS:
        rate, rmse = [], []
        for part in crops.split(32):
            x, position = part.to(device), torch.full((len(part),), level, device=device)
            _, y_hat, bits = send(model, sender, x, position)
            rate += (bits / x[0].numel()).tolist()
            error = (model.synthesise(y_hat, position).clamp(0, 1) * 255).round() - x * 255
            rmse += error.square().mean((1, 2, 3)).sqrt().tolist()
        rows.append((level, float(np.mean(rate)), float(np.mean(rmse))))
    sender.restore(held)
    return rows


class AdaptStage(Stage):
    """All but the linear part, on what the sender's quantiser really sends."""

    def __init__(self, config: AdaptConfig, model: VQVAE, sender: Sender | LatticeSender, packs: Packs) -> None:
        self._world, self._device = rank_and_world()[1], model.sd.device
        self._config, self.module, self.sender, self._packs = config, model, sender, packs
        model.requires_grad_(True)
        # the prior knows the steps, and the tokens the linear part
        for p in (model.log2_gain, *model.g_a.lapped.parameters(), *model.g_a.klt.parameters()):
            p.requires_grad_(False)
        possible = self._device.type == "cuda" and self._world == 1 and isinstance(sender, Sender)
        self.moves = possible
        self.optimisers = optimisers(model, config, self.moves)
        self.clip = list(model.parameters()), 1.0
        self.facts = {"config": dataclasses.asdict(model.config), "quantizer": config.quantizer}
        self._recorded = Recorded(self._all, possible, lambda: self.mover.tensors() if self.moves else ())
        self._held_out = to_tensor(packs.photos.validation_crops(32, 256))

    def rate(self, done: Done) -> float:
        return min(1.0, (done.steps + 1) / self._config.warmup) * (1 - done.share)

    def forget(self) -> None:
        self._recorded.forget()

    def _all(self, x: torch.Tensor, level: torch.Tensor, lam: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As in BaseStage."""
        self.module.zero_grad(set_to_none=True)
        loss, bpd, mse = adapt_step(self.module, self.sender, x, level, lam, self._config.bf16, self._config.exponent)
        loss.backward()
        norm = self.mover().values() if self.moves else ()
        return loss.detach(), bpd.detach(), mse.detach(), *norm

    def step(self, done: Done, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        config, count = self._config, max(1, self._config.batch // self._world)
        x, level, lam = self._packs.batch(rng, count, config.crop, self._device, self.module.config)
        if number := int(config.drawn * count + rng.random()):
            x[:number] = to_tensor(drawn(rng, number, config.crop)).to(self._device)
        loss, bpd, mse, *norm = self._recorded(x, level, lam)
        average(p.grad for p in self.module.parameters() if p.grad is not None)
        return {"loss": loss, "bits_per_dim": bpd, "rmse": mse.sqrt()} | ({"grad_norm": norm[0]} if norm else {})

    def logged(self, steps: int) -> bool:
        return steps % self._config.refresh == 0 or steps in (10, 30)

    def after(self, steps: int) -> None:
        if self.logged(steps):
            self.sender.count()

    def validate(self) -> Iterator[dict[str, float]]:
        for level, rate, rmse in validate(self.module, self.sender, self._held_out):
            yield {"level": level, "bits_per_dim": rate, "rmse": rmse}

    def state(self) -> dict[str, Any]:
        return {"sender": self.sender.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.sender.restore(state["sender"])


def adapt(
    config: AdaptConfig,
    model: VQVAE,
    packs: Packs,
    folder: Path,
    stop_at: int | None = None,
    tables: LatentTables | None = None,
) -> Sender | LatticeSender:
    """Runs or resumes a training: tunes ``model`` in place, where it is; returns the sender with its last tables.
    tables: to begin with."""
    device = model.sd.device
    run = Run(folder, config, rank_and_world()[0] == 0, device)
    sender = make_sender(config.quantizer, device, tables)
    loop = Loop(AdaptStage(config, model, sender, packs), run, config, device)
    loop.run(Every(config.validate), Every(config.save), stop_at)
    return sender


def begin(path: Path) -> tuple[VQVAE, LatentTables | None]:
    """Checkpoint or weights file -> model to train, and the tables of a weights file. Raises SystemExit for one whose
    prior is narrow."""
    if path.suffix == ".pt":
        return wide(path, load_base(path)[0]), None
    found = read_model(path, 0)
    return wide(path, found.vqvae).train(), found.coder.latent


@told
def main() -> None:
    ap = options("base.adapt", __doc__)
    data_options(ap)
    fine_option(ap)
    ap.add_argument(
        "--base", type=Path, required=True, help="last.pt of a run of codec.training.base.train, or a weights file"
    )
    args = ap.parse_args()
    cache = args.cache or args.out / "cache"
    check_run(args.out, args.data, args.fine)
    check_caches(cache, args.data, args.fine)
    config = configure(AdaptConfig(), args.config, args.settings)
    model, tables = begin(args.base)
    with place(args.threads) as device:
        packs = open_packs(args.data, args.fine, cache, config)
        adapt(config, model.to(device), packs, args.out, args.stop_at, tables)


if __name__ == "__main__":
    main()
