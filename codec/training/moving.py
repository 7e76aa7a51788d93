"""What a training step does once the gradients are there: clipping, the optimisers' moves, the average of the weights.
Every number that changes from step to step is a tensor on a card, so that all of it can be recorded."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn as nn

from codec.training.optim import Ema


class Mover:
    """``set`` before a step, then a call when the gradients are there."""

    def __init__(
        self, optimisers: list[torch.optim.Optimizer], clip: tuple[list[nn.Parameter], float] | None, ema: Ema
    ) -> None:
        """clip: whose gradients are clipped, and their largest norm."""
        self.optimisers, self.clip, self.ema = optimisers, clip, ema

    def set(self, rate: float, steps: int) -> None:
        """rate: factor of the groups' "peak" rates; steps made before this one."""
        for group in (g for opt in self.optimisers for g in opt.param_groups):
            value = group["peak"] * rate
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value
        self.ema.at(steps)

    def __call__(self, moving: list[torch.optim.Optimizer] | None = None) -> dict[str, torch.Tensor]:
        """moving: the optimisers that have gradients (None: all) -> the norm of the gradients, if they are clipped."""
        found = {} if self.clip is None else {"grad_norm": nn.utils.clip_grad_norm_(*self.clip)}
        for opt in self.optimisers if moving is None else moving:
            opt.step()
        self.ema.update()
        return found

    def tensors(self) -> Iterator[torch.Tensor]:
        """All that a call changes."""
        yield from self.ema.live
        yield from self.ema.mean
        for opt in self.optimisers:
            for state in opt.state.values():
                yield from (value for value in state.values() if isinstance(value, torch.Tensor))

    def load(self, states: list[dict]) -> None:
        """Takes the optimisers' states back, not their settings: those are of this run and this device."""
        for opt, state in zip(self.optimisers, states, strict=True):
            held = [{k: v for k, v in group.items() if k != "params"} for group in opt.param_groups]
            opt.load_state_dict(state)
            for group, settings in zip(opt.param_groups, held, strict=True):
                group.update(settings)
