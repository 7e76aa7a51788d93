"""The encoder looks at its decoded picture and moves the latents, in tiles, with a ``Refiner``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from codec.bitstream.tables import UNIT
from codec.coding.model import Base, Steps
from codec.coding.tiles import spans
from codec.models.config import PATCH
from codec.models.refiner import Refiner
from codec.models.transforms import level_features


@torch.no_grad()
def again(
    model: Base, refiner: Refiner, x: torch.Tensor, asked: Steps, level: int, step: Callable[[float], None]
) -> torch.Tensor:
    """x (1, 3, H, W) uint8, padded, and what effort 1 would send of it -> v (1, C, h, w) after a look at that. Nobody
    looks at what comes of it."""
    v = asked.v
    sent = model.coder.measure(v[0].cpu().numpy(), asked.tokens[0].cpu().numpy(), level, asked.weight)
    x_hat = model.decoded(sent.v_hat, level, step)
    return looked(model, refiner, x, x_hat, v, sent.v_hat, asked.position)


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
