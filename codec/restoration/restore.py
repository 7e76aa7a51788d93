"""The semantic decoders: from a picture that lost detail (decoded, or enlarged) to one that has it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from codec.coding import tiles
from codec.diffusion import sample
from codec.diffusion.guidance import classifier_free, projected
from codec.diffusion.noise import unit_noise
from codec.diffusion.precondition import Preconditioned
from codec.diffusion.schedule import karras
from codec.diffusion.tiled import tiled
from codec.errors import CodecError
from codec.models.context import everywhere
from codec.models.semantic import UPSCALES, Condition, Semantic, thumbnail
from codec.models.vqvae import VQVAE

SAMPLERS = ("dpmpp_2m", "heun", "ancestral")
STEPS = 2  # default: the fewest whose pictures are within 2 % of those of 50 in every metric (results/held-out/sweep_mean.csv)
SIGMA_MIN, SIGMA_MAX = 0.05, 20.0  # range of training
STOP = 8.0  # noise level of the sampler's last estimate: what a small network adds below it is grain more than detail (results/held-out/sweep_mean.csv)
TOLERANCE = 0.2  # steps that a latent of the sample may be away from what was sent
TILE, OVERLAP = 64, 16  # latent positions of a window, and of the blend between two


@dataclass(frozen=True)
class Options:
    """realism: 0 (the vq picture, exactly) .. 1 (the sample); steps: of the sampler, >= 1; sampler: one of SAMPLERS; guidance: classifier-free scale of the context, 1 is none;
    consistency: make the sample agree with what was sent; stop: noise level of the last estimate, SIGMA_MIN..SIGMA_MAX; seed: of the noise, None for the one in the file;
    context: (N, D) float tensor for cross-attention, instead of the hyper tokens of the file; label: what the picture shows, one of ``codec.api.Codec.labels``, beside the other context."""

    realism: float = 1.0
    steps: int = STEPS
    sampler: str = "dpmpp_2m"
    guidance: float = 1.0
    consistency: bool = True
    stop: float = STOP
    seed: int | None = None
    context: torch.Tensor | None = None
    label: str | None = None

    def check(self, dim: int) -> None:
        """Raises CodecError with one sentence for a value that cannot be."""
        if not 0 <= self.realism <= 1:
            raise CodecError(f"realism {self.realism:g} is outside 0..1")
        if not 1 <= self.steps <= 1000:
            raise CodecError(f"{self.steps} steps are outside 1..1000")
        if self.sampler not in SAMPLERS:
            raise CodecError(f"there is no sampler {self.sampler!r} (there is: {', '.join(SAMPLERS)})")
        if not 0 <= self.guidance <= 20:
            raise CodecError(f"guidance {self.guidance:g} is outside 0..20")
        if not SIGMA_MIN <= self.stop <= SIGMA_MAX:
            raise CodecError(f"stop {self.stop:g} is outside {SIGMA_MIN:g}..{SIGMA_MAX:g}")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise CodecError(f"seed {self.seed} is outside 0..2**32-1")
        if self.context is not None and (self.context.ndim != 2 or self.context.shape[1] != dim or not len(self.context)):
            raise CodecError(f"a context has shape (tokens, {dim}), not {tuple(self.context.shape)}")


@dataclass(frozen=True)
class Known:
    """Of one picture: its condition (B = 1), and ``agree`` (or None), which moves latents y (1, C, h, w) at the top level to ones that agree with what is known."""

    condition: Condition
    agree: Callable[[torch.Tensor], torch.Tensor] | None


def top(net: VQVAE, device: torch.device | None = None) -> torch.Tensor:
    """The level that semantic decoders work at, (1,)."""
    return torch.tensor([net.config.anchors - 1.0], device=device)


def latents(net: VQVAE, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """x (1, 3, H, W) uint8 or float in 0..1 -> y (1, C, h, w), tile by tile."""
    scale = 255 if x.dtype == torch.uint8 else 1
    return tiles.analyse(x, lambda tile: net.analyse(tile.float() / scale, level), lambda done: None)[0]


def picture(net: VQVAE, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """y -> (1, 3, H, W) uint8."""
    return tiles.synthesise(y, lambda tile: net.synthesise(tile, level, filtered=False), lambda done: None).permute(2, 0, 1)[None].to(y.device)


def stream_agreement(net: VQVAE, v_hat: torch.Tensor, level: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """v_hat (1, C, h, w): what was sent, in steps -> ``agree``: the picture is made and analysed as the encoder would; latents outside their cell are moved to its border."""
    gain = torch.exp2(net.interpolate(net.log2_gain, level))

    def agree(y: torch.Tensor) -> torch.Tensor:
        d = latents(net, picture(net, y, top(net, y.device)), level).mul_(gain).sub_(v_hat)
        return y - (d - d.clamp(-TOLERANCE, TOLERANCE)) / gain  # linear path of both levels is the same

    return agree


def small_values(x: torch.Tensor) -> torch.Tensor:
    """x (1, 3, H, W) uint8 -> what the conditioner of small pictures sees of it, (1, 48, H/32, W/32)."""
    return thumbnail(x.float() / 255)


def shrink(x: torch.Tensor, factor: int) -> torch.Tensor:
    """(1, 3, H, W) float -> (1, 3, H / factor, W / factor), bicubic with a low-pass filter."""
    return F.interpolate(x, scale_factor=1 / factor, mode="bicubic", antialias=True)


def back_project(x: torch.Tensor, small: torch.Tensor, factor: int, rounds: int) -> torch.Tensor:
    """x (1, 3, H, W), small (1, 3, H / factor, W / factor), float in 0..1 -> x whose reduction is nearer to ``small`` (Irani and Peleg 1991)."""
    for _ in range(rounds):
        x = (x + F.interpolate(small - shrink(x, factor), scale_factor=factor, mode="bicubic")).clamp(0, 1)
    return x


def small_agreement(net: VQVAE, small: torch.Tensor, factor: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same for a picture whose reduction ``small`` is known."""

    def agree(y: torch.Tensor) -> torch.Tensor:
        x = picture(net, y, top(net, y.device)).float() / 255
        return y + latents(net, back_project(x, small, factor, 1), top(net, y.device)) - latents(net, x, top(net, y.device))

    return agree


def restore(name: str, net: Semantic, known: Known, options: Options, seed: int, step: Callable[[float], None]) -> torch.Tensor:
    """name: of the decoder -> latents y (1, C, h, w) at the top level."""
    y_c, task = known.condition.y_c, known.condition.task
    _, c, h, w = y_c.shape
    scale = net.scales(task)

    def noise(stream: int) -> torch.Tensor:
        return unit_noise(seed, stream, c, (0, h), (0, w))[None].to(y_c.device)

    def over_tiles(function: Callable[[torch.Tensor, float, Condition], torch.Tensor], with_context: bool = True) -> sample.Denoiser:
        context = known.condition.context if with_context else None

        def window(x: torch.Tensor, sigma: float, rows: tuple[int, int], columns: tuple[int, int]) -> torch.Tensor:
            here = None if context is None else context.window(rows, columns)
            return function(x, sigma, Condition(y_c[:, :, slice(*rows), slice(*columns)], task, here))

        return tiled(window, (h, w), TILE, OVERLAP)

    if name != "ldm":  # one pass
        z = noise(0) if name == "gan" else torch.zeros_like(y_c)
        r = over_tiles(lambda x, sigma, condition: net.generate(x, condition))(z, 0.0)
        step(1.0)
        return y_c + scale * r
    preconditioned = Preconditioned(net)

    def evaluate(x: torch.Tensor, sigma: float, condition: Condition) -> torch.Tensor:
        return preconditioned(x, sigma, condition=condition)

    denoise = classifier_free(over_tiles(evaluate), over_tiles(evaluate, with_context=False), options.guidance)
    if options.consistency and known.agree is not None:
        denoise = projected(denoise, lambda r: (known.agree(y_c + scale * r) - y_c) / scale, below=1.01 * options.stop)  # the last estimate
    walk = getattr(sample, options.sampler)
    if options.sampler == "ancestral":
        walk = partial(walk, noise=noise)
    sigmas = karras(options.steps, options.stop, SIGMA_MAX)
    r = walk(denoise, float(sigmas[0]) * noise(0), sigmas, callback=lambda i, n, denoised: step(i / n))
    return y_c + scale * r


def conditioned(net: Semantic, y_c: torch.Tensor, task: float, values: torch.Tensor, options: Options, label: torch.Tensor | None = None) -> Condition:
    """values (1, D, h/2, w/2): codewords of the hyper tokens (task: a quality level) or a thumbnail (task: an enlargement); label (N, D): tokens of the label."""
    if options.context is not None:
        context = everywhere(options.context.to(y_c)[None])
    else:
        context = (net.hyper if task < net.anchors else net.picture)(values)
    if label is not None:
        context = context.joined(everywhere(label.to(y_c)[None]))
    return Condition(y_c, torch.tensor([float(task)], device=y_c.device), context)


def upscale_task(net: Semantic, factor: int) -> int:
    """Raises CodecError for a factor that was not trained."""
    if factor not in UPSCALES:
        raise CodecError(f"scale {factor} is not one of {', '.join(map(str, UPSCALES))}")
    return net.anchors + UPSCALES.index(factor)


def blend(plain: torch.Tensor, restored: torch.Tensor, realism: float) -> torch.Tensor:
    """uint8 pictures -> (1 - realism) plain + realism restored: the straight line is the best path between least error and realism (Freirich et al. 2021)."""
    return torch.lerp(plain.float(), restored.float(), realism).round().to(torch.uint8)

