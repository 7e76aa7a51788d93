"""Encoder search: iterative refinement of the latents against the decoder (in the spirit of Campos et al. 2019 and
Yang et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from codec.bitstream.tables import UNIT
from codec.coding import compiled, heap
from codec.coding.latents import Measured
from codec.coding.model import Base
from codec.coding.ratecontrol import RATE_SHARE, error_weight, worth
from codec.coding.tiles import HALO, spans
from codec.models.prior import gaussian_bits, octaves, table_bits
from codec.models.transforms import PATCH, level_features


@dataclass(frozen=True)
class Plan:
    """What the encoder does after effort 1. look: one of the refiner (``codec.coding.look``). walk: so many rounds in
    which all latents move; each is another draw of the trellis: one symbol that changes moves all walks behind it.
    settle: rounds for each group of channels in turn, twice as many for the last, while the groups before stay as
    they were sent at best: then what a round does is there in the next one."""

    walk: int = 0
    settle: int = 0
    look: bool = False

    def __bool__(self) -> bool:
        return self.walk > 0 or self.look


#: of efforts 1..9
PLANS = (Plan(), Plan(look=True), Plan(2), Plan(3), Plan(4), Plan(6), Plan(6, 1), Plan(8, 1), Plan(14, 2))
ALONE = Plan(1)  # effort 2 where there is no refiner


def plan_of(effort: int, refiner: bool) -> Plan:
    """effort: 1..9; refiner: whether there is one."""
    plan = PLANS[effort - 1]
    return plan if refiner or not plan.look else ALONE


DAMPING, SETTLED_DAMPING, LAST_DAMPING = 0.2, 0.1, 0.2  # of the first round, of a group that settles, of the last one
HELD = 1e6  # bits that a squared step of error is worth where a latent has to stay what it is
#: searches of at most so many rounds leave the contexts alone, whose part of the gradient takes as long as that of the
#: picture and pays in the long run only; their first step is longer
QUICK, QUICK_DAMPING = 2, 0.25
SEARCH_TILE = 32  # positions a side: gradients take much more memory than a picture
WHOLE = (SEARCH_TILE + 2 * HALO) ** 2  # positions of a picture that is one tile


def damping(turn: int, plan: Plan) -> float:
    """Share of the new target in a round of the walk: the filter behind g_s answers to all latents around, and full
    steps overshoot; a walk without an end to settle comes to rest."""
    if plan.walk <= QUICK:
        return QUICK_DAMPING * (1 - 0.6 * turn / plan.walk)
    return DAMPING * (1 - (0.4 if plan.settle else 0.6) * turn / plan.walk)


@dataclass(frozen=True)
class Found:
    """v (1, C, h, w) in steps and weight (C,), with which the encoder sends what was found."""

    v: torch.Tensor
    weight: np.ndarray


@dataclass(frozen=True)
class _Look:
    """What a round saw: cost in bits, v that was sent, v_hat (C, h, w) in 1/UNIT step, v that the gradient asks for
    (none in the last round)."""

    cost: float
    v: torch.Tensor
    v_hat: np.ndarray
    target: torch.Tensor


@heap.kept()
def refine(
    model: Base,
    x: torch.Tensor,
    v: torch.Tensor,
    tokens: torch.Tensor,
    level: int,
    position: torch.Tensor,
    plan: Plan,
    step: Callable[[float], None],
    weigh: float = RATE_SHARE,
) -> Found:
    """Latents whose encoding costs less: v (1, C, h, w) in steps, x (1, 3, H, W) uint8, tokens (1, h/2, w/2), weigh:
    the share of the rate -> v of the best round.

    The quantiser minimises bits + w (v - v_hat)^2, a model of the true cost J = bits + lambda / (3 weigh thrift) *
    squared error of the decoded picture. Each round moves v so that the model's gradient at v_hat is the true one, v
    = v_hat - (dJ/dv_hat) / 2w, damped: majorise and minimise.
    """
    weight = error_weight(model.vqvae, position, weigh)
    w = torch.from_numpy(weight).to(v.device)[None, :, None, None]
    codes, quick, groups = tokens[0].cpu().numpy(), plan.walk <= QUICK, model.config.groups
    rounds = [plan.settle] * (len(groups) - 1) + [2 * plan.settle]
    turns, done = plan.walk + (sum(rounds) if plan.settle else 1), 0
    compiled.expect(v.numel() * turns)

    def look(v: torch.Tensor, weight: np.ndarray, contexts: bool = True, moves: bool = True) -> _Look:
        nonlocal done
        sent = model.coder.measure(v[0].cpu().numpy(), codes, level, weight)
        error, gradient = _gradient(model, x, sent, tokens, position, weigh, contexts, moves)
        done += 1
        step(0.5 + 0.5 * done / (turns + 1))
        target = _steps(sent.v_hat, v.device).sub_(gradient.div_(2 * w)) if moves else gradient
        return _Look(sent.bits + error, v, sent.v_hat, target)

    best: _Look | None = None
    for turn in range(plan.walk):
        now = look(v, weight, contexts=not quick)
        if best is None or now.cost < best.cost:
            best = now
        elif quick:
            return Found(best.v, weight)
        v = torch.lerp(v, now.target, damping(turn, plan))
        del now  # the quantiser needs the room
    assert best is not None
    if not plan.settle:
        last = look(v, weight, moves=False)
        return Found(last.v if last.cost < best.cost else best.v, weight)
    held = weight.copy()
    for number, group in enumerate(groups):
        held[: group.start] = HELD
        best.v[:, : group.start] = _steps(best.v_hat[: group.start], v.device)
        best = _settle(best, look, held, group.start, rounds[number], number + 1 == len(groups))
    return Found(best.v, held)


def _settle(best: _Look, look: Callable[..., _Look], weight: np.ndarray, start: int, rounds: int, last: bool) -> _Look:
    """Rounds in which the channels from ``start`` on move; last: no latent is a context of one that is to move."""
    now = best
    for turn in range(rounds):
        v = now.v.clone()
        v[:, start:].lerp_(now.target[:, start:], LAST_DAMPING if last else SETTLED_DAMPING)
        before = now.v_hat
        now = look(v, weight, contexts=not last, moves=not last or turn + 1 < rounds)
        if now.cost < best.cost:
            best = now
        if np.array_equal(before, now.v_hat):
            break  # nothing is sent there
    return best


def _steps(v_hat: np.ndarray, device: torch.device) -> torch.Tensor:
    """(C, h, w) in 1/UNIT step -> (1, C, h, w) float32 in steps."""
    return torch.from_numpy(v_hat)[None].to(device).float().div_(UNIT)


@torch.enable_grad()
def _gradient(
    model: Base,
    x: torch.Tensor,
    sent: Measured,
    tokens: torch.Tensor,
    position: torch.Tensor,
    weigh: float,
    contexts: bool,
    moves: bool = True,
) -> tuple[float, torch.Tensor]:
    """Weighted squared error in bits, and the gradient with respect to v_hat (1, C, h, w), in steps, of that error;
    contexts: plus the bits of what was sent as a function of its contexts: symbols held fixed, log sigma moves along
    the tables, mu's rate is that of a Gaussian (what a latent costs itself is the quantiser's business). Not moves:
    the error alone. Tile by tile, so that memory stays bounded."""
    net, slopes = model.vqvae, torch.from_numpy(model.coder.latent.slopes()).to(x.device)
    worthwhile, h, w = worth(net.config, position, weigh), *sent.v_hat.shape[1:]
    igain = torch.exp2(net.interpolate(net.log2_igain, position))
    spread = net.spread(position)
    tile = max(h, w) if h * w <= WHOLE else SEARCH_TILE
    total, gradient, features = (
        0.0,
        torch.zeros(1, *sent.v_hat.shape, device=x.device),
        level_features(position, net.config.anchors),
    )

    def known(part, mu, log2_sigma, group, mask):
        return part * mask

    for rows in spans(h, tile):
        for columns in spans(w, tile):
            (a, b, lo, hi), (c, d, left, right) = rows, columns
            part = _steps(sent.v_hat[:, lo:hi, left:right], x.device).requires_grad_(moves)
            inner = slice((a - lo) * PATCH, (b - lo) * PATCH), slice((c - left) * PATCH, (d - left) * PATCH)
            target = x[:, :, a * PATCH : b * PATCH, c * PATCH : d * PATCH].float() / 255
            difference = net.synthesise(part * igain, position, inner=inner) - target
            error = worthwhile * 65025 * difference.square().sum()
            total += error.item()
            if not moves:
                continue
            gradient[:, :, lo:hi, left:right] += torch.autograd.grad(error, part)[0]  # before the other graph is made
            if not contexts:
                continue
            values = net.tokens.values(tokens[:, lo // 2 : hi // 2, left // 2 : right // 2], net.sd)
            out = net.prior(
                part, spread, values, features, known
            )  # may be in bfloat16: what is sent, the exact one says
            v, mu, log2_sigma = (
                t[:, :, a - lo : b - lo, c - left : d - left] for t in (part.detach(), out.mu, out.log2_sigma)
            )
            kinds, symbols = (
                torch.from_numpy(plane[:, a:b, c:d])[None].to(x.device) for plane in (sent.kinds, sent.symbols)
            )
            bits = table_bits(slopes, octaves(log2_sigma), kinds, symbols) + gaussian_bits(v, mu, log2_sigma.detach())
            gradient[:, :, lo:hi, left:right] += torch.autograd.grad(bits.sum(), part)[0]
    return total, gradient
