"""Prior of y: tokens and several context passes give a location and a scale for every latent."""

from dataclasses import dataclass

import torch
import torch.nn as nn

from codec.bitstream.tables import KINDS, LOG2_SCALE_MIN, MAX_SYMBOL, PER_OCTAVE, SCALES
from codec.layers.block import Block, leaky
from codec.layers.pointwise import Pointwise
from codec.models.config import VQVAEConfig
from codec.models.exact import NARROW
from codec.models.narrow import NarrowNet, feature
from codec.models.passes import pass_masks as passes_of

SIGMA_MIN = 0.11


def squash(v: torch.Tensor) -> torch.Tensor:
    """Compresses values in units of the step: slope about 1 up to 2, 1/8 up to 16, 1/128 up to 512 (piecewise
    linear)."""
    return v.clamp(-2, 2) + v.clamp(-16, 16) / 8 + v.clamp(-512, 512) / 128


def pass_masks(h: int, w: int, passes: int, device: torch.device | None = None) -> torch.Tensor:
    """codec.models.passes as (passes, 1, 1, h, w) of 0 and 1."""
    return torch.from_numpy(passes_of(h, w, passes)).to(device).float()[:, None, None]


class ContextNet(nn.Module):
    """One pass: features (B, inputs, h, w) -> (mu, log2 sigma) raw outputs, each (B, n, h, w)."""

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = Pointwise(inputs, width)
        self.body = nn.Sequential(*[Block(width) for _ in range(blocks)])
        self.head = Pointwise(width, 2 * outputs)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.head(leaky(self.body(leaky(self.stem(features))))).chunk(2, 1)


@dataclass
class PriorOutput:
    """v_hat, mu (in steps) and log2_sigma (of sigma in steps), each (B, C, h, w)."""

    v_hat: torch.Tensor
    mu: torch.Tensor
    log2_sigma: torch.Tensor


class Prior(nn.Module):
    """Coarse-to-fine context model (channel groups x spatial passes, He et al. 2022 ELIC; Li, Li and Lu 2023 DCVC-DC).

    tokens -> t_hat ┐
    groups before   ├─ ContextNet of this pass ─ mu, sigma ─ quantise residual ─ v_hat of this pass ─ next pass
    passes before   ┘
    """

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config, self._narrow = config, config.arithmetic == "narrow"
        self.nets, net = nn.ModuleList(), NarrowNet if self._narrow else ContextNet
        for g in config.groups:
            for i in range(g.passes):
                seen = g.stop if i else g.start
                inputs = seen + config.token_channels + 3 + 1
                self.nets.append(net(inputs, g.stop - g.start, config.prior_width, config.prior_blocks))
        first = config.groups[0]
        self.smooth = nn.ModuleList(
            nn.Conv2d(first.stop, first.stop, 3, padding=1, groups=first.stop, bias=False)
            for _ in range(first.passes - 1)
        )
        for (
            conv
        ) in self.smooth:  # linear prediction of a residual from decoded neighbours, strong for the means of blocks
            nn.init.constant_(conv.weight, 0.03)
            nn.init.constant_(conv.weight[:3], 0.2)

    def features(
        self, groups: list[torch.Tensor], token_values: torch.Tensor, level: torch.Tensor, done: torch.Tensor
    ) -> torch.Tensor:
        b, _, h, w = token_values.shape
        parts, rest = [squash(g) for g in groups], [level.expand(-1, -1, h, w), done.expand(b, 1, h, w)]
        if self._narrow:
            parts, rest = ([feature(x, n) for x in xs] for xs, n in ((parts, NARROW.seen), (rest, NARROW.powers)))
            token_values = feature(token_values, NARROW.tokens)
        return torch.cat([*parts, token_values, *rest], 1)

    def forward(
        self, v: torch.Tensor, spread: torch.Tensor, token_values: torch.Tensor, level: torch.Tensor, quantize
    ) -> PriorOutput:
        """v (B, C, h, w) in steps; spread (B, C, 1, 1): standard deviation of each channel in steps; token_values (B,
        Ct, h, w) in standard deviations; level (B, 3, 1, 1); quantize(v, mu, log2_sigma, group, mask) -> v_hat of the
        pass, 0 outside its mask."""
        h, w = v.shape[2:]
        scale, log2_spread = spread.clamp(min=1), spread.log2()
        net, groups, mus, sigmas = iter(self.nets), [], [], []
        for g in self.config.groups:
            part, lead = v[:, g.start : g.stop], g.start == 0
            t_hat = token_values * spread[:, : g.stop] if lead else 0
            cur = mu_all = ls_all = torch.zeros_like(part)
            done = torch.zeros_like(v[:1, :1])
            for i, mask in enumerate(pass_masks(h, w, g.passes, v.device)):
                seen = groups + [cur] if i else groups
                mu, ls = next(net)(self.features(seen, token_values, level, done))
                mu = mu.float() * scale[:, g.start : g.stop] + t_hat
                if lead and i:
                    mu = mu + self.smooth[i - 1]((cur - t_hat) * done)
                ls = ls.float() + log2_spread[:, g.start : g.stop]
                cur = cur + quantize(part, mu, ls, g, mask)
                mu_all, ls_all, done = mu_all + mu * mask, ls_all + ls * mask, done + mask
            groups.append(cur), mus.append(mu_all), sigmas.append(ls_all)
        return PriorOutput(torch.cat(groups, 1), torch.cat(mus, 1), torch.cat(sigmas, 1))


def gaussian_bits(v: torch.Tensor, mu: torch.Tensor, log2_sigma: torch.Tensor) -> torch.Tensor:
    """-log2 of the probability of the unit interval around v under N(mu, sigma), elementwise."""
    s = torch.exp2(log2_sigma.clamp(-4, 9)).clamp(min=SIGMA_MIN)
    d = (v - mu).abs()
    p = torch.special.ndtr((0.5 - d) / s) - torch.special.ndtr((-0.5 - d) / s)
    return -torch.log2(p.clamp(min=1e-9))


def octaves(log2_sigma: torch.Tensor) -> torch.Tensor:
    """log2 sigma in table steps."""
    return (log2_sigma - LOG2_SCALE_MIN) * PER_OCTAVE


def table_bits(slopes: torch.Tensor, octave: torch.Tensor, kind: torch.Tensor, symbol: torch.Tensor) -> torch.Tensor:
    """Bits of symbols of any integer type as a function of octave, log2 sigma in table steps: linear between the
    tables of their kinds, constant beyond the last; slopes: of LatentTables."""
    low = octave.detach().floor().clamp(0, SCALES - 2).long()
    table, q = low * KINDS + kind, symbol.long().clamp(-MAX_SYMBOL, MAX_SYMBOL) + MAX_SYMBOL
    return torch.lerp(slopes[table, q], slopes[table + KINDS, q], (octave - low).clamp(0, 1))
