"""Time-domain lapped filters: they turn a block transform into a lapped one."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def lapped_matrix(v: torch.Tensor) -> torch.Tensor:
    """(M/2, M/2) free matrix V -> (M, M) filter across a block boundary (Tran, Liang and Tu 2003, eq. 14).

    P = 1/2 X diag(I, V) X with X = [[I, J], [J, -I]]; V = I gives P = I, and P(V)^-1 = P(V^-1).
    """
    half = len(v)
    eye = torch.eye(half, dtype=v.dtype, device=v.device)
    flip = eye.flip(0)
    x = torch.cat([torch.cat([eye, flip], 1), torch.cat([flip, -eye], 1)])
    return 0.5 * x @ torch.block_diag(eye, v) @ x


class Lapped(nn.Module):
    """Filters the samples on both sides of every inner boundary of a grid of ``size`` pixels, along both axes.

    x (B, C, H, W), H and W multiples of ``size`` -> the same shape. The outer border of a picture is left alone.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.v = nn.Parameter(torch.eye(size // 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = lapped_matrix(self.v)
        x = self._last_axis(x, p)
        return self._last_axis(x.transpose(2, 3), p).transpose(2, 3)

    def _last_axis(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        half, n = self.size // 2, x.shape[-1]
        if n <= self.size:
            return x
        inner = x[..., half : n - half]
        inner = F.linear(inner.reshape(*x.shape[:-1], -1, self.size), p).flatten(-2)
        return torch.cat([x[..., :half], inner, x[..., n - half :]], -1)
