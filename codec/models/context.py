"""Context tokens of the semantic stage: what cross-attention sees, and the conditioners that make it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn


@dataclass(frozen=True)
class Context:
    """values (B, N, D); positions (B, N, 2): row and column of each token in units of latent positions, NaN for
    tokens without a place."""

    values: torch.Tensor
    positions: torch.Tensor

    def window(self, rows: tuple[int, int], columns: tuple[int, int]) -> Context:
        """What a window (start, stop) of positions sees: the tokens inside it, and those without a place (B = 1)."""
        low, high = self.positions.new_tensor([rows[0], columns[0]]), self.positions.new_tensor([rows[1], columns[1]])
        outside = ((self.positions[0] < low) | (self.positions[0] >= high)).any(-1)
        return Context(self.values[:, ~outside], self.positions[:, ~outside] - low)

    def joined(self, other: Context) -> Context:
        """The tokens of both."""
        return Context(torch.cat([self.values, other.values], 1), torch.cat([self.positions, other.positions], 1))


def everywhere(values: torch.Tensor) -> Context:
    """values (B, N, D) -> tokens without a place."""
    return Context(values, values.new_full((*values.shape[:2], 2), torch.nan))


def grid(h: int, w: int, step: float, device: torch.device | None = None) -> torch.Tensor:
    """-> (h * w, 2): centres of a grid of cells ``step`` positions wide."""
    i = (torch.arange(h, device=device) + 0.5) * step
    j = (torch.arange(w, device=device) + 0.5) * step
    return torch.stack(torch.meshgrid(i, j, indexing="ij"), -1).flatten(0, 1)


class GridConditioner(nn.Module):
    """Vectors on a grid of 2x2 latent positions -> context tokens: hyper tokens of a stream (their codewords), or
    pieces of a small picture."""

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, dim)

    def forward(self, values: torch.Tensor) -> Context:
        """values (B, inputs, h/2, w/2)."""
        b, _, h, w = values.shape
        places = grid(h, w, 2.0, values.device)
        return Context(self.project(values.flatten(2).transpose(1, 2)), places[None].expand(b, -1, -1))


class ClassConditioner(nn.Module):
    """Class label -> some context tokens without a place."""

    def __init__(self, classes: int, tokens: int, dim: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(classes, tokens, dim) * 0.02)

    def forward(self, label: torch.Tensor) -> Context:
        """label (B,) int64."""
        return everywhere(self.tokens[label])
