"""Context tokens of the semantic stage: what cross-attention sees, and the conditioners that make it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn


@dataclass(frozen=True)
class Context:
    """values (B, N, D); positions (B, N, 2): row and column of each token in units of latent positions, None for tokens without a place."""

    values: torch.Tensor
    positions: torch.Tensor | None = None

    def window(self, rows: tuple[int, int], columns: tuple[int, int]) -> Context:
        """What a window (start, stop) of positions sees: the tokens inside it, or all if they have no place (B = 1)."""
        if self.positions is None:
            return self
        low = self.positions.new_tensor([rows[0], columns[0]])
        inside = ((self.positions[0] >= low) & (self.positions[0] < self.positions.new_tensor([rows[1], columns[1]]))).all(-1)
        return Context(self.values[:, inside], self.positions[:, inside] - low)


def grid(h: int, w: int, step: float, device: torch.device | None = None) -> torch.Tensor:
    """-> (h * w, 2): centres of a grid of cells ``step`` positions wide."""
    i = (torch.arange(h, device=device) + 0.5) * step
    j = (torch.arange(w, device=device) + 0.5) * step
    return torch.stack(torch.meshgrid(i, j, indexing="ij"), -1).flatten(0, 1)


class GridConditioner(nn.Module):
    """Vectors on a grid of 2x2 latent positions -> context tokens: hyper tokens of a stream (their codewords), or pieces of a small picture."""

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, dim)

    def forward(self, values: torch.Tensor) -> Context:
        """values (B, inputs, h/2, w/2)."""
        b, _, h, w = values.shape
        places = grid(h, w, 2.0, values.device)
        return Context(self.project(values.flatten(2).transpose(1, 2)), places[None].expand(b, -1, -1))


class ClassConditioner(nn.Module):
    """Class label -> one context token without a place."""

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, dim)

    def forward(self, label: torch.Tensor) -> Context:
        """label (B,) int64."""
        return Context(self.embed(label)[:, None])


class SequenceConditioner(nn.Module):
    """Any sequence of embeddings (a text encoder's, say) -> context tokens without a place."""

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, dim)

    def forward(self, values: torch.Tensor) -> Context:
        """values (B, N, inputs)."""
        return Context(self.project(values))
