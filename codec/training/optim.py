"""Exponential moving average of weights."""

import torch
import torch.nn as nn


class Ema:
    """Exponential moving average of a module's parameters, kept beside it."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.live = list(module.parameters())
        self.mean = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.mean, self.live, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges live and averaged values in place (call again to undo)."""
        for live, mean in zip(self.live, self.mean, strict=True):
            held = live.detach().clone()
            live.copy_(mean)
            mean.copy_(held)
