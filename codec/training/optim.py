"""Optimiser with preconditioned matrices, and the moving average of weights."""

import torch
import torch.nn as nn


class Soap(torch.optim.Optimizer):
    """Adam in the eigenbasis of Shampoo's preconditioner (SOAP: Vyas et al. 2024, algorithm 3), for the weights of 1x1 convolutions.

    A weight (m, n) with gradient G keeps moving averages of G G^T and of G^T G, which see every ``observe``-th gradient; every ``refresh`` steps
    their eigenvectors are followed by one step of orthogonal iteration. Both moments live in the eigenbasis. Sides longer than ``largest`` are
    not rotated; everything that is no matrix gets plain Adam.
    """

    def __init__(
        self, groups: list[dict], betas: tuple[float, float] = (0.95, 0.98), eps: float = 1e-8, observe: int = 4, refresh: int = 20, largest: int = 512
    ) -> None:
        super().__init__(groups, {"lr": 1e-3, "betas": betas, "eps": eps, "observe": observe, "refresh": refresh, "largest": largest})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, self.state[p], group)

    def _update(self, p: torch.Tensor, s: dict, group: dict) -> None:
        b1, b2 = group["betas"]
        matrix = p.dim() == 4 and p.shape[2:] == (1, 1) and min(p.shape[:2]) > 1
        g = p.grad.reshape(p.shape[0], -1) if matrix else p.grad
        if not s:
            s["step"], s["mean"], s["square"] = 0, torch.zeros_like(g), torch.zeros_like(g)
            for side in (0, 1) if matrix else ():
                if g.shape[side] <= group["largest"]:
                    s[f"cov{side}"] = _outer(g, side)
                    s[f"basis{side}"] = torch.linalg.eigh(s[f"cov{side}"])[1].flip(1)
        s["step"] += 1
        turned = _turn(g, s)
        s["mean"].lerp_(turned, 1 - b1)
        s["square"].lerp_(turned.square(), 1 - b2)
        first, second = 1 - b1 ** s["step"], 1 - b2 ** s["step"]
        update = (s["mean"] / first) / ((s["square"] / second).sqrt() + group["eps"])
        p.sub_(_turn(update, s, back=True).view_as(p), alpha=group["lr"])
        for side in (0, 1):
            if f"cov{side}" in s and s["step"] % group["observe"] == 0:
                s[f"cov{side}"].lerp_(_outer(g, side), 1 - b2)
            if f"cov{side}" in s and s["step"] % group["refresh"] == 0:
                self._follow(s, side)

    @staticmethod
    def _follow(s: dict, side: int) -> None:
        """One step of orthogonal iteration, after the columns were sorted by their eigenvalues; both moments come along."""
        cov, basis = s[f"cov{side}"], s[f"basis{side}"]
        order = (basis * (cov @ basis)).sum(0).argsort(descending=True)
        s[f"basis{side}"] = torch.linalg.qr(cov @ basis[:, order])[0]
        s["square"] = s["square"].index_select(side, order)
        turn = s[f"basis{side}"].t() @ basis
        s["mean"] = s["mean"] @ turn.t() if side else turn @ s["mean"]


def _outer(g: torch.Tensor, side: int) -> torch.Tensor:
    return g.t() @ g if side else g @ g.t()


def _turn(g: torch.Tensor, s: dict, back: bool = False) -> torch.Tensor:
    """Into the eigenbasis of both sides, or back out of it."""
    left, right = s.get("basis0"), s.get("basis1")
    if left is not None:
        g = (left if back else left.t()) @ g
    if right is not None:
        g = g @ (right.t() if back else right)
    return g


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
