"""What the prior asks of a quantiser in training: one pass of several pictures as rows."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from codec.bitstream.tables import SCALES
from codec.models.config import Group
from codec.models.prior import octaves, pass_masks


@dataclass(frozen=True)
class Asked:
    """Latents of one pass as rows (B P, C): v, mu and log2_sigma in steps, scale: nearest table, weight: bits that a
    squared step is worth; at (P,): their positions; shape: of the planes they are from, (B, C, h, w)."""

    v: torch.Tensor
    mu: torch.Tensor
    log2_sigma: torch.Tensor
    scale: torch.Tensor
    weight: torch.Tensor
    at: torch.Tensor
    shape: torch.Size

    @property
    def residual(self) -> torch.Tensor:
        """v - mu, without gradients."""
        return (self.v - self.mu).detach()

    def back(self, values: torch.Tensor) -> torch.Tensor:
        """(B P, C) -> (B, C, h, w), 0 outside the pass."""
        out = values.new_zeros(self.shape).flatten(2)
        return out.index_copy(2, self.at, values.reshape(self.shape[0], len(self.at), -1).transpose(1, 2)).view(
            self.shape
        )


@functools.cache
def places(groups: tuple[Group, ...], h: int, w: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Positions of every pass in raster order, (P,) each, passes in the order of ``Prior.forward``; held, so that a
    card need not be asked how many there are."""
    return tuple(mask.flatten().nonzero()[:, 0].to(device) for g in groups for mask in pass_masks(h, w, g.passes))


def ask(
    part: torch.Tensor, mu: torch.Tensor, log2_sigma: torch.Tensor, group: Group, at: torch.Tensor, weight: torch.Tensor
) -> Asked:
    """What ``Prior.forward`` hands to its quantiser, positions of its pass, weight (B, C) of all channels -> the rows
    of the pass."""
    v, mu, log2_sigma = (t.flatten(2).index_select(2, at).transpose(1, 2).flatten(0, 1) for t in (part, mu, log2_sigma))
    scale = (octaves(log2_sigma.detach()) + 0.5).floor().clamp(0, SCALES - 1).long()
    return Asked(
        v,
        mu,
        log2_sigma,
        scale,
        weight[:, None, group.start : group.stop].expand(-1, len(at), -1).flatten(0, 1),
        at,
        part.shape,
    )
