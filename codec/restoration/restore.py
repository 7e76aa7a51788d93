"""The semantic decoders at work: noise, denoiser, painter, in windows, so that memory is bounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from codec.diffusion import sample
from codec.diffusion.guidance import classifier_free
from codec.diffusion.noise import unit_noise
from codec.diffusion.precondition import Preconditioned
from codec.diffusion.schedule import karras
from codec.diffusion.tiled import tiled
from codec.errors import CodecError
from codec.models.config import PATCH
from codec.models.context import everywhere
from codec.models.restorer import Condition, Restorer, thumbnail
from codec.options import LDM_STEPS
from codec.restoration.consistency import Agree
from codec.restoration.strength import strength, without_dots

SIGMA_MIN, SIGMA_MAX = 0.05, 20.0  # range of training
WINDOW, OVERLAP = 64, 16  # positions of a window of the denoiser, and of the blend between two
#: positions that the painter makes at once, and what it sees beyond them: more than its receptive field of 10, the 3 of
#: ``without_weave`` and the 1 of ``without_dots``
PAINT_TILE, PAINT_HALO = 64, 15

SAMPLERS = ("dpmpp_2m", "heun", "ancestral")


@dataclass(frozen=True)
class Options:
    """How a picture is restored; the fields of codec.options that were asked for, and defaults for the others."""

    realism: float = 1.0  # 0 (the picture without restoration, exactly) .. 1 (all of the restored one)
    steps: int = LDM_STEPS  # 1: from noise to s at once; more: the reverse process of the diffusion model
    sampler: str = SAMPLERS[0]  # of more than one step
    guidance: float = 1.0  # classifier-free scale of the context; 1 is none
    consistency: bool = True  # make the picture agree with what is known of it
    seed: int | None = None  # of the noise; None: the one in the file
    context: torch.Tensor | None = None  # (N, D) tokens for cross-attention, instead of what the file says
    label: str | None = None  # what the picture shows, beside the other context

    def check(self, dim: int) -> None:
        """dim: size of a context token. Raises CodecError with one sentence for what codec.options cannot know."""
        if self.sampler not in SAMPLERS:
            raise CodecError(f"there is no sampler {self.sampler!r} (there is: {', '.join(SAMPLERS)})")
        if self.context is not None and (
            self.context.ndim != 2 or self.context.shape[1] != dim or not len(self.context)
        ):
            raise CodecError(f"a context has shape (tokens, {dim}), not {tuple(self.context.shape)}")


@dataclass(frozen=True)
class Known:
    """Of one picture: its condition (B = 1), and ``agree``, which makes a restored picture agree with what is known,
    or None."""

    condition: Condition
    agree: Agree | None


def conditioned(
    net: Restorer,
    x_c: torch.Tensor,
    task: float,
    codewords: torch.Tensor | None,
    options: Options,
    label: torch.Tensor | None = None,
) -> Condition:
    """x_c (1, 3, H, W) in 0..1; codewords (1, D, H/32, W/32) of the hyper tokens of a stream, None for an
    enlargement; label (N, D): tokens of the label."""
    if options.context is not None:
        context = everywhere(options.context.to(x_c)[None])
    else:
        context = net.picture(thumbnail(x_c)) if codewords is None else net.hyper(codewords)
    if label is not None:
        context = context.joined(everywhere(label.to(x_c)[None]))
    return Condition(x_c, torch.tensor([float(task)], device=x_c.device), context)


def restore(
    name: str, net: Restorer, known: Known, options: Options, seed: int, step: Callable[[float], None]
) -> torch.Tensor:
    """name: ldm, gan or perceptual -> x_hat (1, 3, H, W), float in 0..1. step: called with 0..1."""
    by = strength(name, float(known.condition.task), net.anchors)
    s = generate(name, net, known.condition, options, seed, lambda done: step(0.5 * done), by.noise)
    x_hat = paint(net, s, known.condition, lambda done: step(0.5 + 0.4 * done), by.dots)
    x_hat = torch.lerp(known.condition.x_c, x_hat, by.emphasis)
    if options.consistency and known.agree is not None:
        x_hat = known.agree(x_hat)
    step(1.0)
    return x_hat.clamp(0, 1)


def generate(
    name: str,
    net: Restorer,
    condition: Condition,
    options: Options,
    seed: int,
    step: Callable[[float], None],
    scale: float,
) -> torch.Tensor:
    """-> s in patches, (1, 4 * latent, H/16, W/16). scale: standard deviation of the noise of one step."""
    x_c = condition.x_c
    h, w = (n // PATCH for n in x_c.shape[2:])
    channels = len(net.scale)

    def noise(stream: int) -> torch.Tensor:
        return unit_noise(seed, stream, channels, (0, h), (0, w))[None].to(x_c.device)

    def over_tiles(
        function: Callable[[torch.Tensor, float, Condition], torch.Tensor], with_context: bool = True
    ) -> sample.Denoiser:
        def window(x: torch.Tensor, sigma: float, rows: tuple[int, int], columns: tuple[int, int]) -> torch.Tensor:
            return function(x, sigma, cut(condition, rows, columns, with_context))

        return tiled(window, (h, w), WINDOW, OVERLAP)

    def guided(function: Callable[[torch.Tensor, float, Condition], torch.Tensor]) -> sample.Denoiser:
        return classifier_free(over_tiles(function), over_tiles(function, with_context=False), options.guidance)

    if name != "ldm" or options.steps == 1:
        z = torch.zeros(1, channels, h, w, device=x_c.device) if name == "perceptual" else scale * noise(0)
        s = guided(lambda x, sigma, here: net.generate(x, here))(z, 0.0)
        step(1.0)
        return s
    preconditioned = Preconditioned(net)
    denoise = guided(lambda x, sigma, here: preconditioned(x, sigma, condition=here))
    walk = getattr(sample, options.sampler)
    if options.sampler == "ancestral":
        walk = partial(walk, noise=noise)
    sigmas = karras(options.steps, SIGMA_MIN, SIGMA_MAX)
    return walk(denoise, float(sigmas[0]) * noise(0), sigmas, callback=lambda i, n, denoised: step(i / n))


def cut(condition: Condition, rows: tuple[int, int], columns: tuple[int, int], with_context: bool = True) -> Condition:
    """What a window (start, stop) of positions sees."""
    pixels = (slice(PATCH * a, PATCH * b) for a, b in (rows, columns))
    context = condition.context.window(rows, columns) if with_context and condition.context is not None else None
    return replace(condition, x_c=condition.x_c[(slice(None), slice(None), *pixels)], context=context)


def paint(
    net: Restorer, s: torch.Tensor, condition: Condition, step: Callable[[float], None], dots: float = 0.0
) -> torch.Tensor:
    """s in patches -> x_hat (1, 3, H, W), not clipped; window by window, without seams, as each sees all that matters
    to it. dots: of ``without_dots``."""
    h, w = s.shape[2:]
    out = torch.empty_like(condition.x_c)
    for a in range(0, h, PAINT_TILE):
        for c in range(0, w, PAINT_TILE):
            b, d = min(a + PAINT_TILE, h), min(c + PAINT_TILE, w)
            top, left = max(0, a - PAINT_HALO), max(0, c - PAINT_HALO)
            rows, columns = (top, min(h, b + PAINT_HALO)), (left, min(w, d + PAINT_HALO))
            here = cut(condition, rows, columns, with_context=False)
            tile = net.paint(s[:, :, slice(*rows), slice(*columns)], here)
            if dots:
                tile = here.x_c + without_dots(tile - here.x_c, dots)
            i, j = PATCH * (a - top), PATCH * (c - left)
            out[:, :, PATCH * a : PATCH * b, PATCH * c : PATCH * d] = tile[
                :, :, i : i + PATCH * (b - a), j : j + PATCH * (d - c)
            ]
            step((a * w + (b - a) * d) / (h * w))
    return out


def blend(plain: torch.Tensor, restored: torch.Tensor, realism: float) -> torch.Tensor:
    """uint8 and float (0..1) pictures -> uint8: (1 - realism) plain + realism restored, the straight line, which is
    the best path between least error and realism (Freirich et al. 2021)."""
    return torch.lerp(plain.float(), restored * 255, realism).round().to(torch.uint8)
