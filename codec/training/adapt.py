"""Second stage: prior, tables and synthesis learn what the rate-aware trellis encoder really sends; the analysis stays as it is.

    python -m codec.training.adapt --data DIR --base RUN/last.pt --out DIR [NAME=VALUE ...]

The encoder's decisions are made inside the loop with the tables of the moment, which are counted from those decisions. Symbols are
held fixed in the gradients: mu moves the reconstruction, log sigma moves along the tables, mu's rate is that of a Gaussian.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from codec.bitstream.tables import KINDS, LOG2_SCALE_MIN, MAX_SYMBOL, PER_OCTAVE, SCALES, LatentTables
from codec.models.config import Group
from codec.models.prior import gaussian_bits
from codec.models.ratecontrol import step_weight
from codec.models.transforms import level_features
from codec.models.trellis import TRELLISES, UNIT, Trellis, assign, reconstruct
from codec.models.vqvae import VQVAE
from codec.training import start
from codec.training.data import Photos
from codec.training.losses import rate_distortion
from codec.training.optim import Ema
from codec.training.tables import Counts, analytic_tables
from codec.training.train import Run, draw_levels, load_base



@dataclass(frozen=True)
class AdaptConfig:
    """steps, batch, crop, seed: as in TrainConfig; lr: of prior and synthesis; lr_linear, lr_gain: factors; trellis: quantiser; refresh: steps between new tables; ema: decay."""

    steps: int = 4000
    batch: int = 4
    crop: int = 192
    lr: float = 6e-4
    lr_linear: float = 0.01
    lr_gain: float = 0.2
    warmup: int = 50
    trellis: str = "tcq8"
    refresh: int = 100
    ema: float = 0.998
    save: int = 500
    seed: int = 1


class Sender:
    """Quantises like the encoder and keeps the counts of what it sent."""

    def __init__(self, trellis: Trellis, tables: LatentTables) -> None:
        self.trellis, self.counts = trellis, Counts()
        self.use(tables)

    def use(self, tables: LatentTables) -> None:
        self.tables, self.bits = tables, tables.bits()
        self.slope_bits = torch.from_numpy(self._smooth(self.bits))

    @staticmethod
    def _smooth(bits: np.ndarray) -> np.ndarray:
        """Costs for the gradient: scale 0 takes the costs of scale 1, which are finite."""
        out = bits.copy()
        out[:KINDS] = bits[KINDS : 2 * KINDS] + np.where(np.arange(-MAX_SYMBOL, MAX_SYMBOL + 1) == 0, 0, 2)
        return out

    def send(self, r: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """r, scale, weight (P, C) -> symbols, table numbers, reconstructions in steps, each (P, C); counts them."""
        symbols, kind = assign(self.trellis, r, scale, weight, self.bits, self.tables.offsets)
        table = scale * KINDS + kind
        self.counts.add(table, symbols, r)
        return symbols, table, (reconstruct(symbols, kind, table, self.tables.offsets) / UNIT).astype(np.float32)


def adapt_step(model: VQVAE, sender: Sender, x: torch.Tensor, level: torch.Tensor, lam: torch.Tensor, bf16: bool = True) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """-> loss, bits/dim (B,) at the tables of the moment (tokens not included), MSE (B,); adds to the sender's counts."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        with torch.no_grad():
            y, tokens = model.analyse(x, level)
            gain = torch.exp2(model.interpolate(model.log2_gain, level))
            v, spread = y * gain, model.sd * gain
        log2_igain = model.interpolate(model.log2_igain, level)
        igain, weight = torch.exp2(log2_igain), step_weight(log2_igain, lam[:, None])
        rates: list[torch.Tensor] = []

        def quantize(part: torch.Tensor, mu: torch.Tensor, ls: torch.Tensor, group: Group, mask: torch.Tensor) -> torch.Tensor:
            rows, columns = mask[0, 0].nonzero(as_tuple=True)
            v_, mu_, ls_ = (t[:, :, rows, columns].transpose(1, 2).flatten(0, 1) for t in (part, mu, ls))  # (B P, C)
            octave = (ls_ - LOG2_SCALE_MIN) * PER_OCTAVE
            scale = (octave.detach() + 0.5).floor().clamp(0, SCALES - 1).int().numpy()
            weights = weight[:, group.start : group.stop].repeat(len(rows), 0)
            symbols, table, values = sender.send((v_ - mu_).detach().numpy(), scale, weights)
            q = torch.from_numpy(symbols.clip(-MAX_SYMBOL, MAX_SYMBOL)).long() + MAX_SYMBOL
            kind = torch.from_numpy(table % KINDS)
            low = octave.detach().floor().clamp(0, SCALES - 2).long()
            f = (octave - low).clamp(0, 1)
            bits = torch.lerp(sender.slope_bits[low * KINDS + kind, q], sender.slope_bits[(low + 1) * KINDS + kind, q], f)
            noisy = gaussian_bits(v_ + torch.rand_like(v_) - 0.5, mu_, ls_.detach())
            rates.append((bits + noisy - noisy.detach()).view(len(part), -1).sum(1))
            out = torch.zeros_like(part)
            out[:, :, rows, columns] = (mu_ + torch.from_numpy(values)).view(len(part), len(rows), -1).transpose(1, 2)
            return out

        out = model.prior(v, spread, model.tokens.values(tokens, model.sd), level_features(level, model.config.anchors), quantize)
        x_hat = model.synthesise(out.v_hat * igain, level)
    return rate_distortion(x, x_hat, torch.stack(rates).sum(0), lam)


def adapt(config: AdaptConfig, model: VQVAE, photos: Photos, folder: Path) -> Sender:
    """Tunes ``model`` in place (averaged weights at the end) and returns the sender with its last tables."""
    run = Run(folder, config, True)
    for p in model.parameters():
        p.requires_grad_(False)
    model.log2_igain.requires_grad_(True)
    for part in (model.prior, model.g_s):
        part.requires_grad_(True)
    linear = [p for n, p in model.g_s.named_parameters() if "lapped" in n or "klt" in n]
    rest = [*model.prior.parameters(), *(p for n, p in model.g_s.named_parameters() if "lapped" not in n and "klt" not in n)]
    groups = [(rest, 1.0), (linear, config.lr_linear), ([model.log2_igain], config.lr_gain)]
    opt = torch.optim.Adam([{"params": p, "lr": config.lr * f, "peak": config.lr * f} for p, f in groups], betas=(0.9, 0.98), fused=True)
    ema, sender = Ema(model, config.ema), Sender(TRELLISES[config.trellis], analytic_tables())
    t0, seen = time.perf_counter(), []
    bar = tqdm(range(config.steps), disable=None)
    for step in bar:
        rng = np.random.default_rng((config.seed, step))
        torch.manual_seed(int(rng.integers(2**62)))
        x = start.to_tensor(photos.crops(rng, config.batch, config.crop))
        level, lam = draw_levels(rng, config.batch, model.config)
        for group in opt.param_groups:
            group["lr"] = group["peak"] * min(1.0, (step + 1) / config.warmup) * (1 - step / config.steps)
        loss, bpd, mse = adapt_step(model, sender, x, level, lam)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        ema.update(step)
        seen.append(loss.item())
        if (step + 1) % config.refresh == 0 or step + 1 in (10, 30):
            sender.use(sender.counts.tables())
            sender.counts.decay(0.8)
            run.row("log", step + 1, {"loss": float(np.mean(seen)), "bits_per_dim": bpd.mean().item(), "rmse": mse.sqrt().mean().item(), "seconds": time.perf_counter() - t0})
            bar.set_postfix(loss=f"{np.mean(seen):.3f}")
            seen = []
        if (step + 1) % config.save == 0 or step + 1 == config.steps:
            run.save({"config": dataclasses.asdict(model.config), "trellis": config.trellis, "step": step + 1, "seconds": time.perf_counter() - t0, "model": model.state_dict(), "ema": ema.mean})
    ema.swap()
    return sender


def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.adapt", description=__doc__.split("\n")[0])
    ap.add_argument("--data", type=Path, required=True, help="folder of tar shards or of photographs")
    ap.add_argument("--base", type=Path, required=True, help="last.pt of a run of codec.training.train")
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    types = {f.name: {"int": int, "float": float, "str": str}[f.type] for f in fields(AdaptConfig)}
    config = replace(AdaptConfig(), **{k: types[k](v) for k, v in (s.split("=", 1) for s in args.settings)})
    model, _ = load_base(args.base)
    adapt(config, model, Photos(args.data, args.out.parent / "data"), args.out)


if __name__ == "__main__":
    main()
