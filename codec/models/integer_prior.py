"""The prior in exact integer arithmetic: what encoder and decoder both run to choose tables.

The formulas are those of codec.models.prior, which trains the same networks in floating point; codec.models.exact has the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from codec.bitstream.container import MAX_LEVEL
from codec.bitstream.tables import LOG2_SCALE_MIN, PER_OCTAVE, SCALES, UNIT
from codec.models.config import VQVAEConfig
from codec.models.exact import FRACTION, ONE, WEIGHT_BITS, Arithmetic, Net, NumPy, filtered
from codec.models.passes import pass_masks

BAND = 4096  # positions that a network sees at a time (about), so that memory stays bounded; the result does not depend on it


def shift(x: np.ndarray, bits: int) -> np.ndarray:
    """Integers x / 2**bits, halves rounded up."""
    return np.floor(x * 2.0**-bits + 0.5)


def squash(v: np.ndarray) -> np.ndarray:
    """v int32 in 1/UNIT steps -> compressed activation, int16; the integer form of codec.models.prior.squash."""
    a = v * (ONE // UNIT)
    near, far = np.clip(a, -2 * ONE, 2 * ONE), np.clip(a, -512 * ONE, 512 * ONE)
    return (near + (np.clip(a, -16 * ONE, 16 * ONE) >> 3) + (far >> 7)).astype(np.int16)


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
    """Runs all passes; ``arrays`` as made by codec.models.integer_export."""

    def __init__(
        self, config: VQVAEConfig, arrays: dict[str, np.ndarray], arithmetic: Arithmetic | None = None
    ) -> None:
        """arithmetic: what the networks are computed with; None is NumPy."""
        self.config = config
        count, arithmetic = sum(g.passes for g in config.groups), arithmetic or NumPy()
        self.nets = [Net(arrays, f"nets.{i}.", config.prior_blocks, arithmetic) for i in range(count)]
        self.smooth = [
            np.moveaxis(arrays[f"smooth.{i}.weight"], 0, -1).astype(np.float64)
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

    def run(self, tokens: np.ndarray, level: int, code: Callable[[Pass], np.ndarray]) -> np.ndarray:
        """tokens (H/32, W/32) int; code(pass) -> v_hat (P, C) integers in 1/UNIT step for each pass in turn. -> v_hat (C, H/16, W/16) int32."""
        h, w, ct = tokens.shape[0] * 2, tokens.shape[1] * 2, self.config.token_channels
        log2_spread = self.spread(level)
        wide = np.clip(log2_spread, -16 * ONE, 16 * ONE)
        spread = (self.exp2[wide & (ONE - 1)] << 16) >> (21 - (wide >> FRACTION))  # FRACTION fractional bits
        # (h/2, w/2, ct * 4) with (channel, row, column) -> (h, w, ct)
        values = self.centroids[tokens].reshape(h // 2, w // 2, ct, 2, 2).transpose(0, 3, 1, 4, 2).reshape(h, w, ct)
        u = level * 2 * ONE // MAX_LEVEL - ONE
        powers = np.broadcast_to(np.array([u, u * u // ONE, u**3 // ONE**2], np.float64), (h, w, 3))
        nets, seen = iter(self.nets), []
        v_hat = np.zeros((h, w, self.config.channels), np.int32)
        for number, g in enumerate(self.config.groups):
            lead, part = g.start == 0, slice(g.start, g.stop)
            t_hat = shift(values * spread[: g.stop], 2 * FRACTION - 8) if lead else None
            cur = v_hat[:, :, part]
            done = np.zeros((h, w, 1))
            for i, mask in enumerate(pass_masks(h, w, g.passes)):
                features = [*seen, *([squash(cur)] if i else []), values, powers, done * ONE]
                base = t_hat
                if t_hat is not None and i:
                    base = t_hat + shift(filtered((cur - t_hat) * done, self.smooth[i - 1]), WEIGHT_BITS)
                rows, columns = np.nonzero(mask)
                mu, scale = self._expect(next(nets), features, base, rows, columns, spread[part], log2_spread[part])
                cur[rows, columns] = code(Pass(number, i, rows, columns, mu, scale))
                done[rows, columns] = 1
            seen.append(squash(cur))
        return v_hat.transpose(2, 0, 1)

    def _expect(
        self,
        net: Net,
        features: Sequence[np.ndarray],
        base: np.ndarray | None,
        rows: np.ndarray,
        columns: np.ndarray,
        spread: np.ndarray,
        log2_spread: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """mu and scale of a Pass at rows, columns (in raster order), band by band. features: (H, W, ...) each; base (H, W, C): added to mu."""
        h, w = features[0].shape[:2]
        height, n = max(BAND // w, 8), len(spread)
        mu, scale = np.empty((len(rows), n), np.int32), np.empty((len(rows), n), np.int16)
        for start in range(0, h, height):
            low, high = max(0, start - net.reach), min(h, start + height + net.reach)
            a, b = np.searchsorted(rows, (start, start + height))
            at = (rows[a:b] - low) * w + columns[a:b]
            raw = net(np.concatenate([f[low:high] for f in features], 2), at)
            m = shift(raw[:, :n] * np.maximum(spread, ONE), 2 * FRACTION - 8)
            if base is not None:
                m += base[rows[a:b], columns[a:b]]
            mu[a:b] = np.clip(m, -(1 << 24), 1 << 24)
            octave = raw[:, n:] + log2_spread - LOG2_SCALE_MIN * ONE
            scale[a:b] = np.clip(np.floor(octave * (PER_OCTAVE / ONE) + 0.5), 0, SCALES - 1)
        return mu, scale
