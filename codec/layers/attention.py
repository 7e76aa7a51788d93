"""Cross-attention from a picture's positions to context tokens."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class CrossAttention(nn.Module):
    """x (B, h, w, C) attends to tokens (B, N, D); heads lose interest with distance (ALiBi, Press et al. 2022, in two
    dimensions), so that pictures larger than those of training keep their local context. A learned token without a
    place is always there: with no other, that is all it sees."""

    def __init__(self, channels: int, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(dim, 2 * channels)
        self.out = nn.Linear(channels, channels)
        self.null = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.slope = nn.Parameter(torch.linspace(-1.0, 1.0, heads))  # of the penalty, through softplus
        nn.init.zeros_(self.out.weight), nn.init.zeros_(self.out.bias)

    def forward(
        self, x: torch.Tensor, places: torch.Tensor, tokens: torch.Tensor | None, positions: torch.Tensor | None
    ) -> torch.Tensor:
        """places (h * w, 2): where each position of x is; tokens (B, N, D) and positions (B, N, 2), NaN for no place,
        or None both -> (B, h, w, C)."""
        b, h, w, c = x.shape
        null = self.null.expand(b, -1, -1)
        all_tokens = null if tokens is None else torch.cat([null, tokens], 1)
        split = (b, -1, self.heads, c // self.heads)
        q = self.q(x).reshape(split).transpose(1, 2)  # (B, heads, hw, d)
        k, v = (t.reshape(split).transpose(1, 2) for t in self.kv(all_tokens).chunk(2, -1))  # (B, heads, 1 + N, d)
        bias = None
        if positions is not None:
            distance = torch.cdist(places[None].expand(b, -1, -1), positions).nan_to_num()  # (B, hw, N)
            bias = -F.softplus(self.slope)[None, :, None, None] * F.pad(distance, (1, 0))[:, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(out.transpose(1, 2).reshape(b, h, w, c))
