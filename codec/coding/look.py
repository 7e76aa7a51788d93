"""The encoder looks at its decoded picture and moves the latents, in tiles, with a ``Refiner``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from codec.bitstream.tables import UNIT
from codec.coding.latents import Encoded
from codec.coding.model import Base, Steps
from codec.coding.ratecontrol import SLOPE_SHARE, squared_error, worth
from codec.coding.tiles import spans
from codec.models.config import PATCH
from codec.models.refiner import Refiner
from codec.models.transforms import level_features

#: times effort 1's bits of latents: what comes of a look is looked at where it takes more, as on fine grain, where it
#: spends much and gets little; to look always would take time for nothing
GROWTH = 1.15


@dataclass(frozen=True)
class Look:
    """v (1, C, h, w) in steps after a look at what effort 1 sends, and what that costs: bits of its latents, squared
    error of its picture, 0..255, summed."""

    v: torch.Tensor
    bits: float
    error: float


@torch.no_grad()
def again(
    model: Base, refiner: Refiner, x: torch.Tensor, asked: Steps, level: int, step: Callable[[float], None]
) -> Look:
    """x (1, 3, H, W) uint8, padded, and what effort 1 would send of it -> what a look at that says."""
    v = asked.v
    sent = model.coder.measure(v[0].cpu().numpy(), asked.tokens[0].cpu().numpy(), level, asked.weight)
    x_hat = model.decoded(sent.v_hat, level, step)
    found = looked(model, refiner, x, x_hat, v, sent.v_hat, asked.position)
    return Look(found, sent.bits, squared_error(_array(x), x_hat))


def is_worse(model: Base, x: torch.Tensor, seen: Look, encoded: Encoded, level: int, position: torch.Tensor) -> bool:
    """encoded: of ``seen.v``, with v_hat, its bits those of the tokens first -> whether bits and error together are
    more than effort 1's. Asked only where it takes GROWTH times the bits: to see it costs a decode."""
    bits = sum(encoded.bits[1:])
    if bits <= GROWTH * seen.bits:
        return False
    assert encoded.v_hat is not None
    error = squared_error(_array(x), model.decoded(encoded.v_hat, level))
    return bits + worth(model.config, position, SLOPE_SHARE) * (error - seen.error) > seen.bits


def _array(x: torch.Tensor) -> np.ndarray:
    """(1, 3, H, W) -> (H, W, 3), the same numbers."""
    return x[0].permute(1, 2, 0).cpu().numpy()


@torch.no_grad()
def looked(
    model: Base,
    refiner: Refiner,
    x: torch.Tensor,
    x_hat: np.ndarray,
    v: torch.Tensor,
    v_hat: np.ndarray,
    position: torch.Tensor,
) -> torch.Tensor:
    """x (1, 3, H, W) uint8, padded; x_hat (H, W, 3) uint8, what ``decode`` makes of v_hat (C, h, w) in 1/UNIT step,
    which was sent of v (1, C, h, w) in steps -> v that is better sent."""
    net, out = model.vqvae, torch.empty_like(v)
    powers = level_features(position, net.config.anchors)
    for a, b, lo, hi in spans(v.shape[2]):
        for c, d, left, right in spans(v.shape[3]):
            rows, columns = slice(lo * PATCH, hi * PATCH), slice(left * PATCH, right * PATCH)
            decoded = torch.from_numpy(x_hat[rows, columns]).permute(2, 0, 1)[None].to(x.device)
            e = net.lacking((x[:, :, rows, columns].float() - decoded).div_(255), position)
            sent = torch.from_numpy(v_hat[:, lo:hi, left:right])[None].to(v.device).float().div_(UNIT)
            found = refiner(v[:, :, lo:hi, left:right], sent, e, powers)
            out[:, :, a:b, c:d] = found[:, :, a - lo : b - lo, c - left : d - left]
    return out
