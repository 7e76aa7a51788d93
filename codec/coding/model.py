"""A loaded base model, and the one way from a picture to latents in steps and back.

picture - pad - analyse - gain - v, tokens          (to_steps)
v_hat - 1 / gain - y_hat - synthesise - picture     (from_steps)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from codec.bitstream.container import MAX_LEVEL
from codec.bitstream.tables import UNIT
from codec.coding import tiles
from codec.coding.latents import LatentCoder
from codec.coding.padding import SIDE
from codec.coding.ratecontrol import RATE_SHARE, error_weight
from codec.models.config import VQVAEConfig
from codec.models.vqvae import VQVAE


@dataclass(frozen=True)
class Steps:
    """What an encoder would send of a picture at a level, before it quantises."""

    position: torch.Tensor  # (1,), of the level among the anchors
    parts: list[torch.Tensor]  # (1, C, h, w) float32, latents in steps; all channels, or those of each group
    tokens: torch.Tensor  # (1, h/2, w/2)
    weight: np.ndarray  # (C,) float32, bits that a squared step of error is worth

    @property
    def v(self) -> torch.Tensor:
        """All channels."""
        return self.parts[0] if len(self.parts) == 1 else torch.cat(self.parts, 1)

    def take(self) -> list[np.ndarray]:
        """The parts (C, h, w), which are then no longer here: who uses them can free them one by one."""
        taken = [part[0].cpu().numpy() for part in self.parts]
        self.parts.clear()
        return taken


def pad(rgb: np.ndarray) -> torch.Tensor:
    """uint8 (H, W, 3) -> (1, 3, H', W') uint8, both sides multiples of SIDE; the border is repeated. A picture of
    that size is not copied."""
    h, w, _ = rgb.shape
    padded = rgb
    if h % SIDE or w % SIDE or not rgb.flags.writeable:  # torch takes no array that must not be written to
        padded = np.pad(rgb, ((0, -h % SIDE), (0, -w % SIDE), (0, 0)), mode="edge")
    return torch.from_numpy(padded).permute(2, 0, 1)[None]


def _window(x: torch.Tensor | np.ndarray, rows: slice, columns: slice) -> torch.Tensor:
    """A tile of a padded picture, or of one that ``pad`` would pad: then no copy of all of it is made."""
    return (pad(x[rows])[:, :, :, columns]) if isinstance(x, np.ndarray) else x[:, :, rows, columns]


def position_of(net: VQVAE, level: int) -> torch.Tensor:
    """Integer level of a file -> position among the anchors, (1,)."""
    return torch.tensor([level / MAX_LEVEL * (net.config.anchors - 1)], device=net.sd.device)


@torch.no_grad()
def to_steps(
    net: VQVAE,
    x: torch.Tensor | np.ndarray,
    level: int,
    share: float = RATE_SHARE,
    progress: Callable[[float], None] = lambda done: None,
    by_group: bool = False,
) -> Steps:
    """x: tensor (1, 3, H, W) uint8, or float in 0..1, padded; or an array uint8 (H, W, 3) of any size. share: of the
    rate in the quantiser's decisions. by_group: a part for each group of channels."""
    position, groups = position_of(net, level), net.config.groups
    h, w = x.shape[:2] if isinstance(x, np.ndarray) else x.shape[2:]

    def found(rows: slice, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
        tile = _window(x, rows, columns)
        scale = 255 if tile.dtype == torch.uint8 else 1
        return net.in_steps(tile.to(net.sd.device).float() / scale, position)[:2]

    size = -(-h // SIDE) * SIDE, -(-w // SIDE) * SIDE
    parts = [g.stop - g.start for g in groups] if by_group else ()
    v, tokens = tiles.analyse(size, found, progress, parts)
    return Steps(position, v, tokens, error_weight(net, position, share))


@torch.no_grad()
def from_steps(net: VQVAE, v_hat: np.ndarray, level: int) -> torch.Tensor:
    """v_hat (C, h, w) int in 1/UNIT step -> y_hat (1, C, h, w), what g_s takes."""
    v = torch.from_numpy(v_hat)[None].to(net.sd.device).float() / UNIT
    return net.from_steps(v, position_of(net, level))


@torch.no_grad()
def decoded(
    net: VQVAE,
    v_hat: np.ndarray,
    level: int,
    progress: Callable[[float], None] = lambda done: None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """v_hat (C, h, w) int in 1/UNIT step -> uint8 (H, W, 3); size: H, W, None: 16 h and 16 w."""
    position = position_of(net, level)

    def pixels(tile: np.ndarray, inner: tuple[slice, slice]) -> np.ndarray:
        x_hat = net.pixels(from_steps(net, tile[0], level), position, inner)[0]
        return x_hat.clamp_(0, 1).mul_(255).round_().to(torch.uint8).permute(1, 2, 0).cpu().numpy()

    return tiles.synthesise(v_hat[None], pixels, progress, size)


@dataclass(frozen=True)
class Base:
    """Everything --decoder vq needs. ``vqvae`` is in eval mode; its prior is the float copy of the integer one."""

    model_id: int
    table_hash: int
    config: VQVAEConfig
    vqvae: VQVAE
    coder: LatentCoder

    def position(self, level: int) -> torch.Tensor:
        """``position_of``."""
        return position_of(self.vqvae, level)

    def to_steps(
        self,
        x: torch.Tensor | np.ndarray,
        level: int,
        share: float = RATE_SHARE,
        progress: Callable[[float], None] = lambda done: None,
        by_group: bool = False,
    ) -> Steps:
        """``to_steps``."""
        return to_steps(self.vqvae, x, level, share, progress, by_group)

    def from_steps(self, v_hat: np.ndarray, level: int) -> torch.Tensor:
        """``from_steps``."""
        return from_steps(self.vqvae, v_hat, level)

    def decoded(
        self,
        v_hat: np.ndarray,
        level: int,
        progress: Callable[[float], None] = lambda done: None,
        size: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """``decoded``."""
        return decoded(self.vqvae, v_hat, level, progress, size)
