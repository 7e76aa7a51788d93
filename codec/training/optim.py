"""Exponential moving average of weights, and Muon for 1x1 convolutions."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
import torch.nn as nn

from codec.training.processes import rank_and_world


class Ema:
    """Exponential moving average of a module's parameters, kept beside it."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.live = list(module.parameters())
        self.mean = [p.detach().clone() for p in self.live]
        self._share = torch.zeros((), device=self.live[0].device)

    def at(self, steps: int) -> None:
        """For the update after ``steps`` others: the first ones count for more."""
        self._share.fill_(1 - min(self.decay, (1 + steps) / (10 + steps)))

    @torch.no_grad()
    def update(self) -> None:
        moved = torch._foreach_sub(self.live, self.mean)
        torch._foreach_mul_(moved, self._share)
        torch._foreach_add_(self.mean, moved)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges live and averaged values in place (call again to undo)."""
        for live, mean in zip(self.live, self.mean, strict=True):
            held = live.detach().clone()
            live.copy_(mean)
            mean.copy_(held)


def split(module: nn.Module, hidden: tuple[str, ...]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """1x1 convolutions in the parts of a network whose names begin so, which are Muon's; all other parameters."""
    found: tuple[list[nn.Parameter], list[nn.Parameter]] = [], []
    for name, p in module.named_parameters():
        found[not (name.startswith(hidden) and p.shape[2:] == (1, 1))].append(p)
    return found


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal (Jordan et al. 2024), for matrices and 1x1 convolutions: Newton-Schulz
    iterations of degree 5, matrices of one shape together.

    torch.optim.Muon does the same to matrices in bfloat16, which takes 14 times as long on a CPU without such
    arithmetic. Several processes share the iterations: each does those of some of the matrices.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float | torch.Tensor, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        rank, world = rank_and_world()
        for group in self.param_groups:
            live = [p for p in group["params"] if p.grad is not None]
            if not live:
                continue
            grads = [p.grad for p in live]
            means = [self.state[p].setdefault("mean", torch.zeros_like(p)) for p in live]
            torch._foreach_mul_(means, group["momentum"])
            torch._foreach_add_(means, grads)
            steps = list(torch._foreach_add(grads, means, alpha=group["momentum"]))
            shapes: dict[tuple[int, ...], list[int]] = {}
            for k, u in enumerate(steps):
                shapes.setdefault(tuple(u.shape), []).append(k)
            for number, (shape, places) in enumerate(sorted(shapes.items())):
                mine = [k for i, k in enumerate(places) if (i + number) % world == rank]
                if mine:
                    found = orthogonal(torch.stack([steps[k].flatten(1) for k in mine]))
                    for k, u in zip(mine, found, strict=True):
                        steps[k] = u.reshape(shape)
                for k in set(places) - set(mine):
                    steps[k] = torch.zeros_like(steps[k])
            if world > 1:
                flat = torch.cat([u.flatten() for u in steps])
                dist.all_reduce(flat)
                steps = [f.view(u.shape) for f, u in zip(flat.split([u.numel() for u in steps]), steps, strict=True)]
            torch._foreach_mul_(steps, [-(max(1.0, u.shape[0] / u[0].numel()) ** 0.5) for u in steps])
            torch._foreach_mul_(steps, group["lr"])
            torch._foreach_add_(live, steps)


def orthogonal(g: torch.Tensor) -> torch.Tensor:
    """(..., m, n) -> about U V^T of the singular value decompositions U S V^T (singular values 0.7 to 1.2)."""
    x = g / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x
