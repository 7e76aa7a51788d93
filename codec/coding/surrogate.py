"""Pictures through the codec with gradients: what a file of effort 1 says of them, and slopes for its quantiser.

The values are those of the encoder. The gradients are these, nearly those that the shipped model was trained with (for
better ones see codec.training.base.gradients):

- a latent goes straight through the quantiser; one that is not coded is mu, and so is its gradient;
- the rate of a latent, as a function of itself and of mu, is that of a Gaussian under uniform noise of one step (Balle
  et al. 2017). Its expectation over the noise is taken: f(v + 1/2) - f(v - 1/2) is the slope, so nothing is drawn;
- the rate as a function of log sigma goes along the frequency tables, with the symbols held fixed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from codec.bitstream.container import Header, pack
from codec.bitstream.tables import SCALES, UNIT
from codec.coding.model import Base, position_of
from codec.coding.padding import SIDE
from codec.coding.ratecontrol import error_weight
from codec.models.config import Group
from codec.models.prior import gaussian_bits, octaves, table_bits
from codec.models.transforms import level_features


def through(base: Base, x: torch.Tensor, levels: Sequence[int], exact: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """x (N, 3, H, W) float32 in 0..1, the level of each picture -> x_hat (N, 3, H, W), not clipped, and the bits (N,)
    of the file of each, float32.

    exact: what is sent is decided with the integer prior, as for a file; else with the one in floating point, which
    follows its weights at once. Its choices differ, and cost as much.
    """
    net, (height, width) = base.vqvae, x.shape[2:]
    position = torch.cat([position_of(net, level) for level in levels])
    padded = F.pad(x, (0, -width % SIDE, 0, -height % SIDE), mode="replicate")
    v, tokens, gain = net.in_steps(padded, position)
    codes = list(tokens.cpu().numpy())
    weights = [error_weight(net, p) for p in position[:, None]]
    passes = ExactPasses(base, v, codes, levels, weights) if exact else FloatPasses(base, v, weights)
    with torch.autocast(x.device.type, enabled=False):  # as in VQVAE.forward
        out = net.prior(
            v,
            net.sd * gain,
            net.tokens.values(tokens, net.sd),
            level_features(position, net.config.anchors),
            passes.quantise,
        )
    x_hat = net.synthesise(net.from_steps(out.v_hat, position), position)[:, :, :height, :width]
    headers = [Header(width, height, base.model_id, base.table_hash, level) for level in levels]
    side = [_side_bits(base, *one) for one in zip(headers, codes, passes.bits, strict=True)]
    slopes = torch.stack(passes.slopes).sum(0)
    return x_hat, torch.tensor(passes.bits + side).to(slopes) + slopes


def _side_bits(base: Base, header: Header, tokens: np.ndarray, latent_bits: float) -> float:
    """Of tokens and header; the sizes of the sections, which the header holds, are taken to be alike."""
    bits, groups = base.coder.tokens.encode(tokens)[1], len(base.config.groups)
    sections = [bytes(1 + int(b) // 8) for b in (bits, *[latent_bits / groups] * groups)]
    return bits + 8.0 * (len(pack(header, sections)) - sum(map(len, sections)))


@dataclass(frozen=True)
class Residuals:
    """Of one pass: its positions at (P,); residual, mu in steps and scale, (N, P, C) each, without gradients."""

    at: torch.Tensor
    residual: torch.Tensor
    mu: torch.Tensor
    scale: torch.Tensor


@dataclass(frozen=True)
class Sent:
    """Of one pass, (N, P, C) each: symbols, kinds, and v_hat in steps."""

    symbols: torch.Tensor
    kinds: torch.Tensor
    v_hat: torch.Tensor


def straight(
    v: torch.Tensor, mu: torch.Tensor, log2_sigma: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tensors of equal shapes -> ``Passes.follow`` for a latent that goes straight through the quantiser, with the
    rate of a Gaussian under uniform noise of a step."""
    v = torch.where(scale > 0, v, v.detach())
    residual, zero, fixed = (v - mu).detach(), torch.zeros_like(v), log2_sigma.detach()
    slope = gaussian_bits(residual + 0.5, zero, fixed) - gaussian_bits(residual - 0.5, zero, fixed)
    return torch.where(scale > 0, v, mu), slope.detach() * (v - mu)


class Passes(ABC):
    """Answers ``Prior.forward``: what is sent, and how its bits change. ``bits`` (N,): of the latents."""

    def __init__(self, base: Base, pictures: int, device: torch.device) -> None:
        self.coder, self.bits, self.slopes = base.coder, np.zeros(pictures), list[torch.Tensor]()
        self._tables = torch.from_numpy(base.coder.latent.slopes()).to(device)

    @abstractmethod
    def send(self, group: Group, asked: Residuals) -> Sent:
        """What is sent of a pass, and of what is asked there."""

    def follow(
        self, v: torch.Tensor, mu: torch.Tensor, log2_sigma: torch.Tensor, group: Group, scale: torch.Tensor, sent: Sent
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, P, C) each -> what v_hat moves along, and bits that move as the rate of a latent does with itself and
        with mu; no value counts, the gradients do. v has none where scale is 0: there a latent is mu."""
        return straight(v, mu, log2_sigma, scale)

    def quantise(
        self, part: torch.Tensor, mu: torch.Tensor, log2_sigma: torch.Tensor, group: Group, mask: torch.Tensor
    ) -> torch.Tensor:
        """(N, C, h, w) of the group, in steps -> v_hat there, 0 outside the pass. The value of what is added to
        ``slopes`` is 0."""
        at = mask.flatten().nonzero()[:, 0]
        v, m, ls = (t.flatten(2).index_select(2, at).transpose(1, 2) for t in (part, mu, log2_sigma))
        octave = octaves(ls)
        scale = (octave.detach() + 0.5).floor().clamp(0, SCALES - 1).to(torch.uint8)
        sent = self.send(group, Residuals(at, (v - m).detach(), m.detach(), scale))
        path, bits = self.follow(torch.where(scale > 0, v, v.detach()), m, ls, group, scale, sent)
        bits = bits + table_bits(self._tables, octave, sent.kinds, sent.symbols)
        self.slopes.append((bits - bits.detach()).flatten(1).sum(1))
        v_hat = sent.v_hat + (path - path.detach())
        return torch.zeros_like(part).flatten(2).index_copy(2, at, v_hat.transpose(1, 2)).view_as(part)


class ExactPasses(Passes):
    """What the encoder sends, by the integer prior."""

    def __init__(
        self, base: Base, v: torch.Tensor, tokens: list[np.ndarray], levels: Sequence[int], weights: list[np.ndarray]
    ) -> None:
        super().__init__(base, len(v), v.device)
        planes = v.detach().cpu().numpy()
        sent = [base.coder.measure(*one) for one in zip(planes, tokens, levels, weights, strict=True)]
        self.bits += [one.bits for one in sent]
        self._planes = [
            torch.from_numpy(np.stack(plane)).to(v.device).flatten(2)
            for plane in zip(*((one.symbols, one.kinds, one.v_hat) for one in sent), strict=True)
        ]

    def send(self, group: Group, asked: Residuals) -> Sent:
        symbols, kinds, v_hat = (
            plane[:, group.start : group.stop].index_select(2, asked.at).transpose(1, 2) for plane in self._planes
        )
        return Sent(symbols, kinds, v_hat.float() / UNIT)


class FloatPasses(Passes):
    """What the encoder would send if its prior were the one in floating point."""

    def __init__(self, base: Base, v: torch.Tensor, weights: list[np.ndarray]) -> None:
        super().__init__(base, len(v), v.device)
        self.weights = weights

    def send(self, group: Group, asked: Residuals) -> Sent:
        weights = (w[group.start : group.stop] for w in self.weights)
        rows = (t.contiguous().cpu().numpy() for t in (asked.residual, asked.scale))
        found = [self.coder.choose(*one) for one in zip(*rows, weights, strict=True)]
        self.bits += [one.bits for one in found]
        symbols, kinds, values = (
            torch.from_numpy(np.stack(plane)).to(asked.mu.device)
            for plane in zip(*((one.symbols, one.kinds, one.values) for one in found), strict=True)
        )
        return Sent(symbols, kinds, asked.mu + values)
