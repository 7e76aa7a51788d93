"""The lattice quantiser on tensors of any device: what codec.training.base.lattice does with NumPy, rate-aware, all
vectors at once.

For training only, where many pictures are quantised together. Here the coordinates of a vector are the first axis:
(n, N).
"""

from __future__ import annotations

import numpy as np
import torch

from codec.bitstream.tables import SCALES
from codec.coding.surrogate import straight
from codec.models.prior import octaves
from codec.training.base.asked import Asked
from codec.training.base.lattice import LIMIT, Costs, Lattice, LatticeCounts
from codec.training.processes import average

COUNTS = ("symbol", "parity", "coset", "error", "number")
COSTS = ("symbol", "parity", "coset", "offset")
COUNTED = 256  # positions: as many latents of a pass are counted as there are in these, in vectors of all scales
MOST_COUNTED = 50_000  # coordinates


def vectors(scale: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As codec.training.base.quantizers.vectors: scale indices of any shape -> places of vectors (N, n), and places
    (k,), k < n, of coded entries in none."""
    flat = scale.flatten()
    count = int(torch.count_nonzero(flat))
    order = torch.argsort(flat.to(torch.uint8), descending=True, stable=True)[:count]
    whole = count // n * n
    return order[:whole].view(-1, n), order[whole:]


class LatticeSender:
    """Quantises like codec.training.base.lattice.LatticeQuantizer (rate-aware) and keeps the counts of what it sent."""

    def __init__(self, lattice: Lattice, device: torch.device | str = "cpu") -> None:
        self.name, self.lattice, self.device, self.counts = (
            lattice.name,
            lattice,
            torch.device(device),
            LatticeCounts(lattice),
        )
        self._place = torch.arange(lattice.n, device=self.device)[:, None]
        self._coset = torch.arange(lattice.cosets, device=self.device)[:, None, None]
        self._parity = torch.arange(2, device=self.device)[:, None, None, None]
        self.use(self.counts.costs())

    def count(self) -> None:
        """Takes the costs of what all processes have sent, and forgets a part of it."""
        held = [torch.from_numpy(getattr(self.counts, name)) for name in COUNTS]
        means = [t.to(self.device) for t in held]
        average(means)
        for t, mean in zip(held, means, strict=True):
            t.copy_(mean)
        self.use(self.counts.costs())
        for t in held:
            t.mul_(0.8)

    def use(self, costs: Costs) -> None:
        """Costs to the device; scale 0, which only gradients meet, takes those of scale 1."""
        self.costs = costs
        self.symbol, parity, self.coset, self.offset = (
            torch.from_numpy(np.concatenate([a[1:2], a[1:]])).to(self.device)
            for a in (getattr(costs, name) for name in COSTS)
        )
        self.parity = parity.permute(3, 4, 0, 1, 2).contiguous()  # (sum before, parity, SCALES, cosets, n)

    def state(self) -> dict[str, torch.Tensor]:
        """Counts and costs, for a checkpoint."""
        arrays = {f"count.{name}": getattr(self.counts, name) for name in COUNTS} | {
            f"cost.{name}": getattr(self.costs, name) for name in COSTS
        }
        return {name: torch.from_numpy(a.copy()) for name, a in arrays.items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        for name in COUNTS:
            getattr(self.counts, name)[:] = state[f"count.{name}"].numpy()
        self.use(Costs(*(state[f"cost.{name}"].numpy().copy() for name in COSTS)))

    def quantise(
        self, r: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor, octave: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """r, weight (P, C) float32 in steps, scale (P, C) int64, 0: not coded, octave (P, C) float32: log2 sigma in
        table steps -> residuals as the decoder has them, in steps, and bits, both (P, C) float32 and 0 where not
        coded. Gradients go from bits to octave alone: along the costs of the two scales next to it, with what was
        sent held fixed. Entries left over from vectors are rounded, for no bits. Counts some of the vectors."""
        density = float(np.float32(self.lattice.density))
        at, left = vectors(scale, self.lattice.n)
        at, flat = at.T, r.detach().flatten()
        with torch.no_grad():
            x, s = flat[at] * density, scale.flatten()[at]
            k, coset = self.search(x, s, weight.flatten()[at] / density**2)
            self._add(x, k, coset, s, max(len(r) // COUNTED, at.numel() // MOST_COUNTED) | 1)
            values = torch.zeros_like(flat)
            values[at] = self.decoded(k, coset, s) / density
            values[left] = flat[left].round()
        places = at.flatten()
        each = self.bits(k, coset, octave.flatten().index_select(0, places).view(at.shape))
        bits = torch.zeros_like(flat).index_copy(0, places, each.flatten())
        return values.view(r.shape), bits.view(r.shape)

    def follow(self, asked: Asked) -> tuple[torch.Tensor, torch.Tensor]:
        """-> v_hat (B P, C) in steps and bits, with the gradients of ``straight``; counts as ``quantise``."""
        values, bits = self.quantise(asked.residual, asked.scale, asked.weight, octaves(asked.log2_sigma))
        path, moved = straight(asked.v, asked.mu, asked.log2_sigma, asked.scale)
        return asked.mu.detach() + values + (path - path.detach()), bits + (moved - moved.detach())

    def search(self, x: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As codec.training.base.lattice.search: x, scale, weight (n, N) -> k (n, N) int64 and coset (N,)."""
        h, half = self._coset, 0.5 * self._coset
        near = self._parity + 2 * torch.round((x - half - self._parity) / 2)
        near = near.clamp(self._parity - LIMIT, self._parity + (LIMIT - 2))
        k = torch.stack([near, near - 2 * torch.sign(near + half)])  # (2 values, 2 parities, cosets, n, N)
        cost = weight * torch.square(x - self.decoded(k, h, scale)) + self.symbol[scale, h, k.long() + LIMIT]
        best, pick = torch.minimum(cost[0], cost[1]), torch.where(cost[1] < cost[0], k[1], k[0])
        parity_bits = self.parity[:, :, scale, h, self._place]  # (sum before, parity, cosets, n, N)
        j = x.new_full((2, self.lattice.cosets, x.shape[1]), torch.inf)  # by the parity of the sum so far
        j[0] = 0
        odd = []  # whether the value that leads to a state is odd
        for i in range(self.lattice.n):
            ways = j[:, None] + best[:, :, i] + parity_bits[:, :, :, i]
            even_way, odd_way = ways[:, 0], ways[:, 1].flip(0)
            odd.append(odd_way < even_way)
            j = torch.minimum(even_way, odd_way)
        state, parities = torch.zeros_like(odd[0][0]), []
        for o in reversed(odd):
            parities.append(torch.where(state, o[1], o[0]))
            state = state ^ parities[-1]
        found = torch.where(torch.stack(parities[::-1], 1), pick[1], pick[0])  # (cosets, n, N)
        coset = (j[0] + self.coset[scale[0], h[:, 0]]).argmin(0)
        return found.gather(0, coset.expand(1, *x.shape))[0].long(), coset

    def decoded(self, k: torch.Tensor, coset: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """k (..., n, N), scale (n, N), coset that broadcasts with them -> coordinates in lattice units, offsets
        included."""
        point = k + 0.5 * coset
        return point + point.sign() * self.offset[scale, coset, point.abs().clamp(max=2).long()]

    def bits(self, k: torch.Tensor, coset: torch.Tensor, octave: torch.Tensor) -> torch.Tensor:
        """k (n, N), coset (N,), octave (n, N) -> code length (n, N), linear between scales; that of the coset, which
        is told at the scale of the first coordinate, is spread over all of its vector."""
        low = octave.detach().floor().clamp(0, SCALES - 2).long()
        f, before = (octave - low).clamp(0, 1), (k.cumsum(0) - k) & 1

        def each(scale: torch.Tensor) -> torch.Tensor:
            return self.symbol[scale, coset, k + LIMIT] + self.parity[before, k & 1, scale, coset, self._place]

        told = torch.lerp(self.coset[low[0], coset], self.coset[low[0] + 1, coset], f[0])
        return torch.lerp(each(low), each(low + 1), f) + told / self.lattice.n

    def _add(self, x: torch.Tensor, k: torch.Tensor, coset: torch.Tensor, scale: torch.Tensor, every: int) -> None:
        """Counts every so-many-th vector."""
        some = torch.stack([t[..., ::every].float().expand(len(x), -1) for t in (x, k, scale, coset)]).mT.cpu().numpy()
        self.counts.add(some[0], *(a.astype(np.int64) for a in (some[1], some[3, :, 0], some[2])))
