"""The perceptual encoder: transforms, step sizes, tokens and prior in one module."""

from dataclasses import dataclass

import torch
import torch.nn as nn

from codec.models.config import VQVAEConfig
from codec.models.prior import Prior, gaussian_bits
from codec.models.tokens import Tokens
from codec.models.transforms import Analysis, Synthesis, level_features

STRIP = 512  # rows of pixels that are filtered at a time


@dataclass
class TrainingOutput:
    """x_hat (B, 3, H, W) in 0..1 (not clipped) and bits (B,) of y for each picture."""

    x_hat: torch.Tensor
    bits: torch.Tensor


class VQVAE(nn.Module):
    """
    x ─ g_a ─ y ─ gain ─ v ─ quantise given (mu, sigma) ─ v_hat ─ 1/gain ─ y_hat ─ g_s ─ x_hat
        └ linear ─ tokens ─────── prior ───┘      (prior also sees v_hat of the passes before)
    """

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.g_a, self.g_s = Analysis(config), Synthesis(config)
        self.tokens, self.prior = Tokens(config), Prior(config)
        lam = torch.tensor(config.lambdas())
        step = (
            torch.sqrt(26 / lam) / 255
        )  # optimum of a uniform quantiser at high rate: lambda = 12 * 3 / (2 ln 2 step^2)
        log2_gain = -torch.log2(step)[:, None].repeat(1, config.channels)
        self.log2_gain = nn.Parameter(log2_gain)
        self.log2_igain = nn.Parameter(-log2_gain)
        self.sd: torch.Tensor
        self.register_buffer("sd", torch.ones(1, config.channels, 1, 1))

    def interpolate(self, table: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """table (anchors, C), level (B,) -> (B, C, 1, 1), linear between anchors."""
        low = level.floor().clamp(0, self.config.anchors - 2).long()
        t = (level - low)[:, None]
        return torch.lerp(table[low], table[low + 1], t)[:, :, None, None]

    def analyse(self, x: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x (B, 3, H, W) in 0..1 -> y (B, C, H/16, W/16) and token indices (B, H/32, W/32)."""
        x = x - 0.5
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would blur what is as large as the picture
            y_linear = self.g_a.linear(x)
            tokens = self.tokens.assign(y_linear, self.sd)
        extra = self.g_a.nonlinear(x, level_features(level, self.config.anchors))
        return y_linear + extra.float() * self.sd, tokens

    def in_steps(self, x: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x (B, 3, H, W) in 0..1, level (B,) -> v (B, C, h, w): latents in steps; tokens (B, h/2, w/2); gain (B, C,
        1, 1)."""
        y, tokens = self.analyse(x, level)
        gain = self.gain(level)
        return y * gain, tokens, gain

    def gain(self, level: torch.Tensor) -> torch.Tensor:
        """level (B,) -> steps in a unit of each channel, (B, C, 1, 1)."""
        return torch.exp2(self.interpolate(self.log2_gain, level))

    def spread(self, level: torch.Tensor) -> torch.Tensor:
        """level (B,) -> standard deviation of each channel in steps, (B, C, 1, 1)."""
        return self.sd * self.gain(level)

    def lacking(self, lacks: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """lacks (B, 3, H, W): what a picture in 0..1 has and its decoded one has not -> its linear analysis (B, C, h,
        w), in steps."""
        with torch.autocast(lacks.device.type, enabled=False):
            return self.g_a.linear(lacks) * self.gain(level)

    def from_steps(self, v_hat: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """v_hat (B, C, h, w) in steps -> y_hat."""
        return v_hat * torch.exp2(self.interpolate(self.log2_igain, level))

    def synthesise(
        self,
        y_hat: torch.Tensor,
        level: torch.Tensor,
        filtered: bool = True,
        inner: tuple[slice, slice] | None = None,
    ) -> torch.Tensor:
        """y_hat (B, C, h, w) -> x_hat (B, 3, 16h, 16w) in 0..1, not clipped. filtered: repair what the quantisation
        of the level does; not for latents that were never quantised. inner: rows and columns of the pixels that are
        wanted, which takes less work; with the filter only."""
        powers = level_features(level, self.config.anchors)
        features = self.g_s.features(y_hat / self.sd, powers)
        x = self.g_s.picture(y_hat, features)
        if inner is not None:
            return self._filtered(x, features, powers, inner) + 0.5
        if filtered and self.g_s.filter is not None:
            x = x + self.g_s.filter(x, features, powers)
        return x + 0.5

    def _filtered(
        self, x: torch.Tensor, features: torch.Tensor, powers: torch.Tensor, inner: tuple[slice, slice]
    ) -> torch.Tensor:
        """x (B, 3, H, W) and what g_s knows of it -> the pixels in the rows and columns ``inner``, repaired: the
        filter works on what it has to."""
        if self.g_s.filter is None:
            return x[:, :, inner[0], inner[1]]
        (top, bottom, _), (left, right, _) = inner[0].indices(x.shape[2]), inner[1].indices(x.shape[3])
        (c, d), (a, b) = (
            self.g_s.filter.seen(*side) for side in ((top, bottom, x.shape[2]), (left, right, x.shape[3]))
        )
        correction = self.g_s.filter(x[:, :, c:d, a:b], features[:, :, c // 8 : d // 8, a // 8 : b // 8], powers)
        return x[:, :, top:bottom, left:right] + correction[:, :, top - c : bottom - c, left - a : right - a]

    @torch.no_grad()
    def pixels(self, y_hat: torch.Tensor, level: torch.Tensor, inner: tuple[slice, slice]) -> torch.Tensor:
        """``synthesise``, of the pixels in the rows and columns ``inner``: the filter sees what it has to, a strip at
        a time, which takes less memory and less work."""
        powers = level_features(level, self.config.anchors)
        features = self.g_s.features(y_hat / self.sd, powers)
        x = self.g_s.picture(y_hat, features)
        (top, bottom, _), (left, right, _) = inner[0].indices(x.shape[2]), inner[1].indices(x.shape[3])
        out = x.new_empty(*x.shape[:2], bottom - top, right - left)
        for start in range(top, bottom, STRIP):
            stop = min(start + STRIP, bottom)
            strip = slice(start, stop), slice(left, right)
            torch.add(self._filtered(x, features, powers, strip), 0.5, out=out[:, :, start - top : stop - top])
        return out

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> TrainingOutput:
        """Training pass: rounding with a straight-through gradient for what decoder and prior see, additive uniform
        noise for the rate (Balle et al. 2017; Minnen and Singh 2020)."""
        v, tokens, gain = self.in_steps(x, level)

        def quantize(part, mu, log2_sigma, group, mask):
            d = part - mu
            return (part + (d.round() - d).detach()) * mask

        spread = self.sd * gain
        with torch.autocast(
            x.device.type, enabled=False
        ):  # bfloat16 would blur mu, which is as large as the latents, by more than a step
            out = self.prior(
                v, spread, self.tokens.values(tokens, self.sd), level_features(level, self.config.anchors), quantize
            )
        noisy = v + torch.rand_like(v) - 0.5 if self.training else out.v_hat
        bits = gaussian_bits(noisy, out.mu, out.log2_sigma).sum((1, 2, 3))
        y_hat = self.from_steps(out.v_hat, level)
        return TrainingOutput(self.synthesise(y_hat, level), bits)
