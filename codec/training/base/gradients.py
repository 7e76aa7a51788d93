"""Gradients past the quantiser."""

from __future__ import annotations

import numpy as np
import torch

from codec.bitstream.tables import KINDS, MAX_SYMBOL, UNIT
from codec.coding.model import Base
from codec.coding.surrogate import FloatPasses, Sent
from codec.models.config import Group
from codec.models.prior import gaussian_bits


class Pulled(FloatPasses):
    """A latent goes straight through, and is pulled to what was sent of it: the quantiser minimises bits + w (v -
    v_hat)^2, so where that is at rest the slope of the bits is 2 w (v - v_hat). It says nothing of those that stay at
    0, which are most."""

    def follow(
        self, v: torch.Tensor, mu: torch.Tensor, log2_sigma: torch.Tensor, group: Group, scale: torch.Tensor, sent: Sent
    ) -> tuple[torch.Tensor, torch.Tensor]:
        v_hat, weights = sent.v_hat.detach(), np.stack(self.weights)[:, None, group.start : group.stop]
        pull = torch.from_numpy(weights).to(v) * (v - v_hat).square()
        return torch.where(scale > 0, v, mu), gaussian_bits(v_hat, mu, log2_sigma.detach()) + pull


class Smoothed(FloatPasses):
    """The quantiser's answer to a latent, on average over a step around it (``smoothed``)."""

    def __init__(self, base: Base, v: torch.Tensor, weights: list[np.ndarray]) -> None:
        super().__init__(base, v, weights)
        latent = base.coder.latent
        self._bits = torch.from_numpy(latent.bits()[:, MAX_SYMBOL:]).to(v)
        self._offsets = torch.from_numpy(latent.offsets.astype(np.float32) / UNIT).to(v)

    def follow(
        self, v: torch.Tensor, mu: torch.Tensor, log2_sigma: torch.Tensor, group: Group, scale: torch.Tensor, sent: Sent
    ) -> tuple[torch.Tensor, torch.Tensor]:
        weights = torch.from_numpy(np.stack(self.weights)[:, None, group.start : group.stop]).to(v)
        return smoothed(v, mu, log2_sigma, scale, weights, sent, self._bits, self._offsets)


def smoothed(
    v: torch.Tensor,
    mu: torch.Tensor,
    log2_sigma: torch.Tensor,
    scale: torch.Tensor,
    weights: torch.Tensor,
    sent: Sent,
    bits: torch.Tensor,
    offsets: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What v_hat moves along, and bits that move as the rate does with v, and with mu as that of a Gaussian at what was
    sent (``Passes.follow``): the quantiser's answer to a latent, on average over a step around it. A latent that stays
    at 0 wherever it moves moves nothing, and one that is about to become 1 moves more than itself. The answers are
    those of one latent alone, in the state that the trellis is in there.

    v, mu, log2_sigma, scale, weights: of equal shapes, or weights that broadcast; bits (tables, symbols from 0 up),
    offsets (tables, 3) in steps.
    """
    r = (v - mu).detach()
    given = scale.long() * KINDS + sent.kinds, sent.kinds * 0.5, weights, bits, offsets
    (above, dear), (below, cheap) = answer(r + 0.5, *given), answer(r - 0.5, *given)
    moves, costs = ((b - a) * (scale > 0) for a, b in ((below, above), (cheap, dear)))
    expected = gaussian_bits(sent.v_hat.detach(), mu, log2_sigma.detach())
    return mu + moves * (v - mu), expected + costs * v


def answer(
    r: torch.Tensor,
    table: torch.Tensor,
    half: torch.Tensor,
    weights: torch.Tensor,
    bits: torch.Tensor,
    offsets: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """r: residuals -> what comes of each alone, and its bits."""
    size = r.abs()
    low = (size + half).floor().clamp(max=MAX_SYMBOL - 1)
    best: tuple[torch.Tensor, ...] | None = None
    for q in (torch.zeros_like(low), low, low + 1):
        symbol = q.long()
        value = (q - half + offsets[table, symbol.clamp(max=2)]) * (q > 0)
        rate = bits[table, symbol]
        now = rate + weights * (size - value).square(), value, rate
        if best is None:
            best = now
        else:
            less = now[0] < best[0]
            best = tuple(torch.where(less, a, b) for a, b in zip(now, best, strict=True))
    assert best is not None
    return best[1] * r.sign(), best[2]
