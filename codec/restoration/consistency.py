"""What is known of a picture holds for the restored one: the codes of its stream come back, or its reduction does."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from codec.coding import tiles
from codec.models.vqvae import VQVAE

Agree = Callable[[torch.Tensor], torch.Tensor]  # x (1, 3, H, W) in 0..1 -> the same, nearer to what is known

CELL = 0.5  # steps that a latent may be away from what was sent
ROUNDS = 2  # of moving a picture into its cells: the analysis is not quite linear


def stream_agreement(net: VQVAE, v_hat: torch.Tensor, level: torch.Tensor) -> Agree:
    """v_hat (1, C, h, w): what was sent, in steps -> ``agree``: the picture is analysed as the encoder would, and
    what lies outside its cell is moved to the border."""
    gain = net.gain(level)

    def agree(x: torch.Tensor) -> torch.Tensor:
        for _ in range(ROUNDS):
            v = _analysed(net, x.clamp(0, 1), level) * gain
            d = v - v_hat
            with torch.autocast(x.device.type, enabled=False):
                x = x - net.g_s.linear((d - d.clamp(-CELL, CELL)) / gain)
        return x

    return agree


def _analysed(net: VQVAE, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    (y,), _ = tiles.analyse(
        (x.shape[2], x.shape[3]),
        lambda rows, columns: net.analyse(x[:, :, rows, columns], level),
        lambda done: None,
    )
    return y


def shrink(x: torch.Tensor, factor: int) -> torch.Tensor:
    """(1, 3, H, W) float -> (1, 3, H / factor, W / factor), bicubic with a low-pass filter."""
    return F.interpolate(x, scale_factor=1 / factor, mode="bicubic", antialias=True)


def back_project(x: torch.Tensor, small: torch.Tensor, factor: int, rounds: int) -> torch.Tensor:
    """x (1, 3, H, W), small (1, 3, H / factor, W / factor), float in 0..1 -> x whose reduction is nearer to ``small``
    (Irani and Peleg 1991)."""
    for _ in range(rounds):
        x = (x + F.interpolate(small - shrink(x, factor), scale_factor=factor, mode="bicubic")).clamp(0, 1)
    return x
