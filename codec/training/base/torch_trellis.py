"""The trellis search of the encoder on tensors of any device: what codec.coding.trellis does with NumPy, all walks at
once.

For training only, where many pictures are quantised together; files are made by the NumPy version alone.
"""

from __future__ import annotations

import torch

from codec.bitstream.tables import KINDS, MAX_SYMBOL, SCALES, UNIT, symbol_limit
from codec.coding.trellis import MAX_MAGNITUDE, STEPS, Trellis


def golomb_bits(excess: torch.Tensor) -> torch.Tensor:
    """Length of the Exp-Golomb code (order 0) of integers, elementwise."""
    return 2 * torch.floor(torch.log2(excess.clamp(min=0).float() + 1)) + 1


def walks(scale: torch.Tensor, room: int) -> torch.Tensor:
    """As codec.coding.trellis.walks: scale (P, C) -> places (STEPS, room) of the coded latents, -1 where there is
    none; ``room`` is at least the number of walks."""
    flat = scale.flatten()
    order = torch.argsort(torch.where(flat > 0, flat, SCALES), stable=True)
    count = torch.count_nonzero(flat)
    width = (count + STEPS - 1).div(STEPS, rounding_mode="floor")
    walk = torch.arange(room, device=flat.device)
    at = torch.arange(STEPS, device=flat.device)[:, None] * width + walk
    return torch.where((walk < width) & (at < count), order[at.clamp(max=len(flat) - 1)], -1)


class TorchTrellis:
    """Tables of one moment on a device, and the search for the walks of least cost with them."""

    def __init__(self, trellis: Trellis, bits: torch.Tensor, offsets: torch.Tensor) -> None:
        """bits (tables, 2 * MAX_SYMBOL + 1) float32, offsets (tables, 3) int32, both on the device."""
        device = bits.device
        self.half_bits, self.offsets = bits[:, MAX_SYMBOL:].contiguous(), offsets.float() / UNIT
        self.limits = torch.tensor([symbol_limit(k // KINDS) for k in range(len(bits))], device=device)
        self.kinds = max(trellis.kind) + 1
        if len(trellis.kind) > 1:
            self.source, self.branch = (
                torch.from_numpy(a).to(device) for a in (trellis.sources, trellis.branches)
            )  # (2, states)
        self.kind = torch.tensor(trellis.kind, device=device)

    def use(self, bits: torch.Tensor, offsets: torch.Tensor) -> None:
        """Other tables, in place: what was recorded for a card stays."""
        self.half_bits.copy_(bits[:, MAX_SYMBOL:]), self.offsets.copy_(offsets.float() / UNIT)

    def assign(self, r: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """r (P, C) float32 residuals in steps, scale (P, C) integer, weight (P, C) float32 -> symbols and kinds (P,
        C), int64."""
        number = (
            r.numel() if r.is_cuda else int(torch.count_nonzero(scale))
        )  # on a card there is room for all, so that nothing has to be known of the values
        return self._assign(r, scale, weight, max(1, -(-number // STEPS)))

    def _assign(
        self, r: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor, room: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``assign`` of up to ``room`` walks."""
        at = walks(scale, room)
        coded, inside = at >= 0, at.clamp(min=0)
        part = r.flatten()[inside]
        cost, choice = self._branches(part.abs(), scale.flatten()[inside].long(), weight.flatten()[inside])
        walk, kind = self._search(cost, choice, coded)
        place = torch.where(coded, at, r.numel()).flatten()  # one more place, for what is not coded
        found = torch.stack([walk * torch.where(part < 0, -1, 1), kind]).flatten(1)
        symbols, kinds = found.new_zeros(2, r.numel() + 1).index_copy_(1, place, found)[:, :-1]
        return symbols.view(r.shape), kinds.view(r.shape)

    def reconstruct(self, symbols: torch.Tensor, kind: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """-> residual values in steps, float32."""
        m = symbols.abs()
        return symbols.sign() * (m - (m > 0) * 0.5 * kind + self.offsets[table, m.clamp(max=2)])

    def _branches(
        self, a: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Least cost and its |symbol| for every kind and parity: (S, W) each -> (2 kinds, S, W), rows in the order of
        ``branch``."""
        costs, choices = [], []
        for kind in range(self.kinds):
            table = scale * KINDS + kind
            limit, fixed = self.limits[table], self.offsets[table]
            for parity in (0, 1):
                near = (
                    (parity + 2 * torch.round((a + (0.5 * kind - parity)) / 2))
                    .clamp(parity, MAX_MAGNITUDE - 1 + parity)
                    .long()
                )
                best = pick = near
                for m in (near, (near - 2).clamp(min=parity)):
                    value = m - (m > 0) * (0.5 * kind) + fixed.gather(-1, m.clamp(max=2)[..., None])[..., 0]
                    more = golomb_bits(m.clamp(min=MAX_SYMBOL) - limit) - golomb_bits(MAX_SYMBOL - limit)
                    j = weight * (a - value).square() + self.half_bits[table, m.clamp(max=MAX_SYMBOL)] + more
                    if m is near:
                        best = j
                    else:
                        pick = torch.where(j < best, m, pick)
                        best = torch.minimum(j, best)
                costs.append(best), choices.append(pick)
        return torch.stack(costs), torch.stack(choices)

    def _search(
        self, cost: torch.Tensor, choice: torch.Tensor, coded: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Best walk -> |symbols| and kinds, (S, W) each. Places that are not coded come after those that are, and
        change nothing."""
        steps, width = coded.shape
        states = len(self.kind)
        if states == 1:
            return torch.where(cost[1] < cost[0], choice[1], choice[0]), torch.zeros_like(choice[0])
        paths = cost[self.branch.flatten()].transpose(0, 1).reshape(steps, 2, states // 2, 2, width).contiguous()
        j = cost.new_full((states, width), 1e9)
        j[0] = 0
        second = torch.empty((steps, states, width), dtype=torch.bool, device=cost.device)
        for s in range(steps):
            first, other = paths[s].add_(j.view(2, states // 2, 1, width)).view(2, states, width)
            torch.lt(other, first, out=second[s])
            j = torch.where(coded[s], torch.minimum(first, other), j)
        state, kinds, branches = j.argmin(0), [], []
        flat_source, flat_branch = self.source.flatten(), self.branch.flatten()
        for s in reversed(range(steps)):
            k = second[s].gather(0, state[None])[0] * states + state
            state = torch.where(coded[s], flat_source[k], state)
            branches.append(k), kinds.append(state)
        b = flat_branch[torch.stack(branches[::-1])]
        return choice.gather(0, b[None])[0], self.kind[torch.stack(kinds[::-1])]
