"""The prior in exact integer arithmetic: what encoder and decoder both run to choose tables.

Weights and activations are integers held in float64. Every sum stays far below 2**53, so it is exact whatever the order of its terms,
the number of threads, the instruction set or the device. Activations have FRACTION fractional bits and are clipped to CLIP, weights have
WEIGHT_BITS; results are rounded by a shift. The formulas are those of codec.models.prior, which trains the same networks in floating point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from codec.bitstream.container import MAX_LEVEL
from codec.bitstream.tables import LOG2_SCALE_MIN, PER_OCTAVE, SCALES, UNIT
from codec.models.config import VQVAEConfig
from codec.models.prior import Prior, pass_masks
from codec.models.tokens import Tokens

FRACTION = 10  # fractional bits of activations, of logarithms and of multiples of a standard deviation
ONE = 1 << FRACTION
WEIGHT_BITS = 12  # fractional bits of weights
CLIP = 1 << 17
WEIGHT_CLIP = 1 << 16
BAND = 4096  # positions that a network sees at a time (about), so that memory stays bounded; the result does not depend on it


def export(prior: Prior, tokens: Tokens, sd: torch.Tensor, log2_gain: torch.Tensor) -> dict[str, np.ndarray]:
    """Trained modules -> integer arrays (int32), the whole state of an IntegerPrior."""
    out: dict[str, np.ndarray] = {}

    def weight(name: str, w: torch.Tensor) -> None:
        q = torch.round(w.detach().double() * (1 << WEIGHT_BITS))
        if q.abs().max() > WEIGHT_CLIP:
            raise ValueError(f"weight of {name} is too large for the integer prior")
        out[name] = q.to(torch.int32).numpy()

    def bias(name: str, b: torch.Tensor) -> None:
        out[name] = torch.round(b.detach().double() * (1 << (WEIGHT_BITS + FRACTION))).to(torch.int32).numpy()

    for i, net in enumerate(prior.nets):
        for name, module in net.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                w = module.weight
                weight(f"nets.{i}.{name}.weight", w[:, 0] if module.groups > 1 else w[:, :, 0, 0])
                bias(f"nets.{i}.{name}.bias", module.bias)
    for i, conv in enumerate(prior.smooth):
        weight(f"smooth.{i}.weight", conv.weight[:, 0])
    log2_sd = sd.detach().double().flatten().log2()
    out["log2_spread"] = torch.round((log2_gain.detach().double() + log2_sd) * ONE).to(torch.int32).numpy()
    out["centroids"] = (
        torch.round(tokens.centroids(sd).detach().double() * ONE).clamp(-CLIP, CLIP).to(torch.int32).numpy()
    )
    out["exp2"] = np.round(np.exp2(np.arange(ONE) / ONE) * (1 << 15)).astype(np.int32)
    return out


def shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Integers x / 2**bits, halves rounded up; in place."""
    return x.mul_(2.0**-bits).add_(0.5).floor_()


def squash(v: torch.Tensor) -> torch.Tensor:
    """v int32 in 1/UNIT steps -> compressed activation, int16; the integer form of codec.models.prior.squash."""
    a = v * (ONE // UNIT)
    return (
        a.clamp(-2 * ONE, 2 * ONE) + (a.clamp(-16 * ONE, 16 * ONE) >> 3) + (a.clamp(-512 * ONE, 512 * ONE) >> 7)
    ).to(torch.int16)


def leaky(x: torch.Tensor) -> torch.Tensor:
    """x or, below 0, x / 8, rounded down; in place."""
    return torch.maximum(x, (x * 0.125).floor_(), out=x)


def depthwise(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x (H, W, C), w (3, 3, C), zeros outside -> exact sums (H, W, C)."""
    h, wide, _ = x.shape
    p = torch.nn.functional.pad(x, (0, 0, 1, 1, 1, 1))
    out = p[:h, :wide] * w[0, 0] if bias is None else torch.addcmul(bias, p[:h, :wide], w[0, 0])
    for i in range(3):
        for j in range(3):
            if i or j:
                out.addcmul_(p[i : i + h, j : j + wide], w[i, j])
    return out


class _Net:
    """One context network; x (H, W, inputs) -> (H, W, 2 n). An output sees ``reach`` positions to every side.

    The shift behind each layer and its rounding are part of the weights: a power of two and a half, and so as exact as integers; then only the floor is left to take.
    """

    def __init__(self, arrays: dict[str, np.ndarray], prefix: str, blocks: int, device: torch.device) -> None:
        def get(name: str) -> torch.Tensor:
            return torch.from_numpy(arrays[prefix + name].astype(np.float64)).to(device)

        def layer(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            return get(f"{name}.weight").mul_(2.0**-WEIGHT_BITS), get(f"{name}.bias").mul_(2.0**-WEIGHT_BITS).add_(0.5)

        def dense(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            w, b = layer(name)
            return w.t().contiguous(), b

        self.stem, self.head = dense("stem"), dense("head")
        self.blocks, self.reach = [], blocks
        for k in range(blocks):
            w, bias = layer(f"body.{k}.d")
            self.blocks.append(
                (
                    dense(f"body.{k}.a"),
                    (w.permute(1, 2, 0).contiguous(), bias),
                    dense(f"body.{k}.b"),
                    dense(f"body.{k}.f"),
                    dense(f"body.{k}.g"),
                )
            )

    @staticmethod
    def _dense(x: torch.Tensor, layer: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        w, b = layer
        return torch.addmm(b, x.reshape(-1, x.shape[-1]), w).floor_().view(*x.shape[:-1], -1)

    def __call__(self, x: torch.Tensor, at: torch.Tensor | None = None) -> torch.Tensor:
        """at (P,): positions asked for, as row * W + column; then the result is (P, 2 n)."""
        dense = self._dense
        x = leaky(dense(x, self.stem)).clamp_(-CLIP, CLIP)
        for k, (a, d, b, f, g) in enumerate(self.blocks):
            h = leaky(dense(x, a)).clamp_(-CLIP, CLIP)
            h = leaky(depthwise(h, *d).floor_()).clamp_(-CLIP, CLIP)
            if at is not None and k + 1 == len(self.blocks):  # from here on no position sees another
                x, h = x.flatten(0, 1)[at], h.flatten(0, 1)[at]
            x = dense(h, b).add_(x).clamp_(-CLIP, CLIP)
            x = dense(leaky(dense(x, f)).clamp_(-CLIP, CLIP), g).add_(x).clamp_(-CLIP, CLIP)
        return dense(leaky(x), self.head).clamp_(-CLIP, CLIP)


@dataclass(frozen=True)
class Pass:
    """What one pass asks for: group number, its place in the file, and for its P positions mu (P, C) int32 in 1/UNIT step and scale (P, C) int16 indices."""

    group: int
    number: int
    rows: np.ndarray
    columns: np.ndarray
    mu: np.ndarray
    scale: np.ndarray


class IntegerPrior:
    """Runs all passes; ``arrays`` as made by ``export``."""

    def __init__(self, config: VQVAEConfig, arrays: dict[str, np.ndarray], device: torch.device | str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        count = sum(g.passes for g in config.groups)
        self.nets = [_Net(arrays, f"nets.{i}.", config.prior_blocks, self.device) for i in range(count)]
        self.smooth = [
            torch.from_numpy(arrays[f"smooth.{i}.weight"].astype(np.float64))
            .permute(1, 2, 0)
            .contiguous()
            .to(self.device)
            for i in range(config.groups[0].passes - 1)
        ]
        self.log2_spread, self.centroids = (
            arrays["log2_spread"].astype(np.int64),
            arrays["centroids"].astype(np.float64),
        )
        self.exp2 = arrays["exp2"].astype(np.int64)

    def spread(self, level: int) -> np.ndarray:
        """level 0..MAX_LEVEL -> (C,) int64: log2 of each channel's standard deviation in steps, FRACTION fractional bits."""
        position = level * (self.config.anchors - 1)
        k = min(position // MAX_LEVEL, self.config.anchors - 2)
        t = position - k * MAX_LEVEL
        return (self.log2_spread[k] * (MAX_LEVEL - t) + self.log2_spread[k + 1] * t) // MAX_LEVEL

    @torch.inference_mode()
    def run(self, tokens: np.ndarray, level: int, code: Callable[[Pass], np.ndarray]) -> np.ndarray:
        """tokens (H/32, W/32) int; code(pass) -> v_hat (P, C) integers in 1/UNIT step for each pass in turn. -> v_hat (C, H/16, W/16) int32."""
        h, w, ct = tokens.shape[0] * 2, tokens.shape[1] * 2, self.config.token_channels
        log2_spread = self.spread(level)
        wide = np.clip(log2_spread, -16 * ONE, 16 * ONE)
        spread_int = (self.exp2[wide & (ONE - 1)] << 16) >> (21 - (wide >> FRACTION))  # FRACTION fractional bits
        spread = torch.from_numpy(spread_int.astype(np.float64)).to(self.device)
        log2_spread_t = torch.from_numpy(log2_spread.astype(np.float64)).to(self.device)
        values = torch.from_numpy(self.centroids).to(self.device)[
            torch.from_numpy(tokens.astype(np.int64)).to(self.device)
        ]
        # (h/2, w/2, ct * 4) with (channel, row, column) -> (h, w, ct)
        values = values.view(h // 2, w // 2, ct, 2, 2).permute(0, 3, 1, 4, 2).reshape(h, w, ct)
        u = level * 2 * ONE // MAX_LEVEL - ONE
        level_features = torch.tensor(
            [u, u * u // ONE, u**3 // ONE**2], dtype=torch.float64, device=self.device
        ).expand(h, w, 3)
        nets, seen = iter(self.nets), []
        v_hat = torch.zeros(h, w, self.config.channels, dtype=torch.int32, device=self.device)
        for number, g in enumerate(self.config.groups):
            lead, part = g.start == 0, slice(g.start, g.stop)
            t_hat = shift(values * spread[: g.stop], 2 * FRACTION - 8) if lead else None
            cur = v_hat[:, :, part]
            done = torch.zeros(h, w, 1, dtype=torch.float64, device=self.device)
            for i, mask in enumerate(pass_masks(h, w, g.passes)):
                features = [*seen, *([squash(cur)] if i else []), values, level_features, done * ONE]
                base = t_hat
                if lead and i:
                    base = t_hat + shift(depthwise((cur - t_hat) * done, self.smooth[i - 1]), WEIGHT_BITS)
                rows, columns = np.nonzero(mask[0, 0].numpy())
                mu, scale = self._expect(next(nets), features, base, rows, columns, spread[part], log2_spread_t[part])
                at = torch.from_numpy(rows).to(self.device), torch.from_numpy(columns).to(self.device)
                cur[at] = torch.from_numpy(code(Pass(number, i, rows, columns, mu, scale)).astype(np.int32)).to(
                    self.device
                )
                done[at] = 1
            seen.append(squash(cur))
        return v_hat.permute(2, 0, 1).cpu().numpy()

    def _expect(
        self,
        net: _Net,
        features: Sequence[torch.Tensor],
        base: torch.Tensor | None,
        rows: np.ndarray,
        columns: np.ndarray,
        spread: torch.Tensor,
        log2_spread: torch.Tensor,
    ) -> tuple[np.ndarray, np.ndarray]:
        """mu and scale of a Pass at rows, columns (in raster order), band by band. features: (H, W, ...) each; base (H, W, C): added to mu."""
        h, w = features[0].shape[:2]
        height = max(BAND // w, 8)
        mu, scale = np.empty((len(rows), len(spread)), np.int32), np.empty((len(rows), len(spread)), np.int16)
        for start in range(0, h, height):
            low, high = max(0, start - net.reach), min(h, start + height + net.reach)
            a, b = np.searchsorted(rows, (start, start + height))
            at = torch.from_numpy((rows[a:b] - low) * w + columns[a:b]).to(self.device)
            x = torch.cat([f[low:high].double() for f in features], 2)
            raw_mu, raw_ls = net(x, at).chunk(2, 1)
            m = shift(raw_mu * spread.clamp(min=ONE), 2 * FRACTION - 8)
            if base is not None:
                m += base[low:high].flatten(0, 1)[at]
            mu[a:b] = m.clamp_(-(1 << 24), 1 << 24).cpu().numpy()
            octave = raw_ls + log2_spread - LOG2_SCALE_MIN * ONE
            scale[a:b] = torch.floor(octave * (PER_OCTAVE / ONE) + 0.5).clamp_(0, SCALES - 1).cpu().numpy()
        return mu, scale
