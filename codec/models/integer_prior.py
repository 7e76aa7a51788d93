"""The prior in exact integer arithmetic: what encoder and decoder both run to choose tables.

The formulas are those of codec.models.prior, which trains the same networks in floating point; codec.models.exact has
the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from codec.bitstream.container import MAX_LEVEL
from codec.bitstream.tables import LOG2_SCALE_MIN, PER_OCTAVE, SCALES, UNIT
from codec.models.alike import Alike
from codec.models.config import VQVAEConfig
from codec.models.exact import FRACTION, ONE, PROFILES, WEIGHT_BITS, Arithmetic, Net, NumPy, filtered
from codec.models.passes import pass_masks

AT_ONCE = 64  # positions a side that a network answers for at a time, so that memory stays bounded; the result does not depend on it
ROWS = 1 << 15  # rows of a pass that are stored at a time, likewise


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
    """What one pass asks for: group number, its place in the file, and for its P positions mu (P, C) int32 in 1/UNIT
    step and scale (P, C) uint8 indices.

    last: no other pass is to see what is coded in this one.
    """

    group: int
    number: int
    rows: np.ndarray
    columns: np.ndarray
    mu: np.ndarray
    scale: np.ndarray
    last: bool


class IntegerPrior:
    """Runs all passes; ``arrays`` as made by codec.models.integer_export."""

    def __init__(
        self, config: VQVAEConfig, arrays: dict[str, np.ndarray], arithmetic: Arithmetic | None = None
    ) -> None:
        """arithmetic: what the networks are computed with; None is NumPy. Raises ValueError for arrays that its
        profile does not hold exactly."""
        self.config, self.profile = config, PROFILES[config.arithmetic]
        count, arithmetic = sum(g.passes for g in config.groups), arithmetic or NumPy()
        self.nets = [Net(arrays, f"nets.{i}.", config.prior_blocks, arithmetic, self.profile) for i in range(count)]
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
        """level 0..MAX_LEVEL -> (C,) int64: log2 of each channel's standard deviation in steps, FRACTION fractional
        bits."""
        position = level * (self.config.anchors - 1)
        k = min(position // MAX_LEVEL, self.config.anchors - 2)
        t = position - k * MAX_LEVEL
        return (self.log2_spread[k] * (MAX_LEVEL - t) + self.log2_spread[k + 1] * t) // MAX_LEVEL

    def run(
        self,
        tokens: np.ndarray,
        level: int,
        code: Callable[[Pass], np.ndarray | None],
        keep: bool = True,
        planar: bool = False,
    ) -> np.ndarray | None:
        """tokens (H/32, W/32) int; code(pass) -> v_hat (P, C) integers in 1/UNIT step for each pass in turn; it may
        be mu, written over.
        -> v_hat (C, H/16, W/16) int32, or None if ``keep`` is False: then nothing needs to be answered to the pass
        that is ``last``. planar: channel by channel in memory, so that no group takes any before it is there."""
        h, w, ct = tokens.shape[0] * 2, tokens.shape[1] * 2, self.config.token_channels
        log2_spread = self.spread(level)
        wide = np.clip(log2_spread, -16 * ONE, 16 * ONE)
        spread = (self.exp2[wide & (ONE - 1)] << 16) >> (21 - (wide >> FRACTION))  # FRACTION fractional bits
        # (h/2, w/2, ct * 4) with (channel, row, column) -> (h, w, ct)
        values = self.centroids[tokens].reshape(h // 2, w // 2, ct, 2, 2).transpose(0, 3, 1, 4, 2).reshape(h, w, ct)
        u, use = level * 2 * ONE // MAX_LEVEL - ONE, self.profile
        powers = use.feature(np.array([u, u * u // ONE, u**3 // ONE**2], np.float64), use.powers)
        told = [use.feature(values, use.tokens), np.broadcast_to(powers, (h, w, 3))]
        first, last, nets = self.config.groups[0], self.config.groups[-1], iter(self.nets)
        v_hat = None
        if keep:
            channels = self.config.channels
            v_hat = (
                np.zeros((channels, h, w), np.int32).transpose(1, 2, 0)
                if planar
                else np.zeros((h, w, channels), np.int32)
            )
        # what the networks see of the groups; of the last one nothing, unless it has passes of its own
        seen = np.zeros((h, w, last.stop if last.passes > 1 else last.start), np.int16)
        lead = np.zeros((h, w, first.stop), np.int32)
        for number, g in enumerate(self.config.groups):
            part = slice(g.start, g.stop)
            t_hat = shift(values * spread[: g.stop], 2 * FRACTION - 8) if g == first else None
            done = np.zeros((h, w, 1))
            for i, mask in enumerate(pass_masks(h, w, g.passes)):
                features = [seen[:, :, : g.stop if i else g.start], *told, use.feature(done * ONE, use.powers)]
                base = t_hat
                if t_hat is not None and i:
                    base = t_hat + shift(filtered((lead - t_hat) * done, self.smooth[i - 1]), WEIGHT_BITS)
                mu, scale = self._expect(next(nets), features, base, mask, spread[part], log2_spread[part])
                rows, columns = (n.astype(np.int32) for n in np.nonzero(mask))
                ended = g == last and i == g.passes - 1
                if ended:  # coding takes the most memory
                    features.clear()
                    seen = seen[:0].copy()
                coded = code(Pass(number, i, rows, columns, mu, scale, ended))
                del mu, scale
                for a in range(0, len(rows), ROWS) if coded is not None else ():
                    at, new = (rows[a : a + ROWS], columns[a : a + ROWS]), coded[a : a + ROWS]
                    if v_hat is not None:
                        v_hat[:, :, part][at] = new
                    if g == first:
                        lead[at] = new
                    if not ended:
                        seen[:, :, part][at] = use.feature(squash(new), use.seen)
                done[mask] = 1
        return None if v_hat is None else v_hat.transpose(2, 0, 1)

    def _expect(
        self,
        net: Net,
        features: Sequence[np.ndarray],
        base: np.ndarray | None,
        mask: np.ndarray,
        spread: np.ndarray,
        log2_spread: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """mu and scale of a Pass at the places of mask (H, W) bool, in raster order; tile by tile. features: (H, W,
        ...) each; base (H, W, C): added to mu.

        A tile that looks as another one does has the same answer: what is empty or flat costs little.
        """
        (h, w), n = mask.shape, len(spread)
        number = np.cumsum(mask, dtype=np.int32).reshape(h, w) - 1  # of a place in raster order
        count = int(number[-1, -1]) + 1
        mu, scale = np.empty((count, n), np.int32), np.empty((count, n), np.uint8)
        known = Alike([*features, *([] if base is None else [base])])
        for a in range(0, h, AT_ONCE):
            for c in range(0, w, AT_ONCE):
                inside = mask[a : a + AT_ONCE, c : c + AT_ONCE]
                if not inside.any():
                    continue
                to, top, left = number[a : a + AT_ONCE, c : c + AT_ONCE][inside], min(a, net.reach), min(c, net.reach)
                window = (
                    slice(a - top, min(h, a + AT_ONCE + net.reach)),
                    slice(c - left, min(w, c + AT_ONCE + net.reach)),
                )
                found = known.find(window, (top, left, inside.tobytes()), to)
                if found is not None:
                    mu[to], scale[to] = mu[found], scale[found]
                    continue
                rows, columns = np.nonzero(inside)
                at = (rows + top) * (window[1].stop - window[1].start) + columns + left
                raw = net(np.concatenate([f[window] for f in features], 2, dtype=self.profile.dtype), at)
                m = shift(raw[:, :n] * np.maximum(spread, ONE), 2 * FRACTION - 8)
                if base is not None:
                    m += base[a : a + AT_ONCE, c : c + AT_ONCE][inside]
                mu[to] = np.clip(m, -(1 << 24), 1 << 24)
                octave = raw[:, n:] + log2_spread - LOG2_SCALE_MIN * ONE
                scale[to] = np.clip(np.floor(octave * (PER_OCTAVE / ONE) + 0.5), 0, SCALES - 1)
        return mu, scale
