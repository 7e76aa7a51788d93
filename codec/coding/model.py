"""A loaded base model: all that the decoder vq needs."""

from __future__ import annotations

from dataclasses import dataclass

from codec.coding.latents import LatentCoder
from codec.models.config import VQVAEConfig
from codec.models.vqvae import VQVAE


@dataclass(frozen=True)
class PerceptualModel:
    """Everything --decoder vq needs. ``vqvae`` is in eval mode; its prior is the float copy of the integer one."""

    model_id: int
    table_hash: int
    config: VQVAEConfig
    vqvae: VQVAE
    coder: LatentCoder
