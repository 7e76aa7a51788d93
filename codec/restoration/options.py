"""Options of the semantic decoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.errors import CodecError

if TYPE_CHECKING:
    import torch

SAMPLERS = ("dpmpp_2m", "heun", "ancestral")
STEPS = 1  # default: the step that was trained to be the only one


@dataclass(frozen=True)
class Options:
    """How a picture is restored. ``steps`` 1 goes from noise to s at once; more of them follow the reverse process of the diffusion model."""

    realism: float = 1.0  # 0 (the picture without restoration, exactly) .. 1 (all of the restored one)
    steps: int = STEPS  # of the ldm decoder, 1..1000
    sampler: str = "dpmpp_2m"  # one of SAMPLERS, where there is more than one step
    guidance: float = 1.0  # classifier-free scale of the context, 0..20; 1 is none
    consistency: bool = True  # make the picture agree with what was sent
    seed: int | None = None  # of the noise, 0..2**32-1; None: the one in the file
    context: torch.Tensor | None = None  # (N, D) tokens for cross-attention instead of the hyper tokens of the file
    label: str | None = None  # what the picture shows, one of ``codec.api.Codec.labels``, beside the other context

    def check(self, dim: int) -> None:
        """dim: size of a context token. Raises CodecError with one sentence for a value that cannot be."""
        if not 0 <= self.realism <= 1:
            raise CodecError(f"realism {self.realism:g} is outside 0..1")
        if not 1 <= self.steps <= 1000:
            raise CodecError(f"{self.steps} steps are outside 1..1000")
        if self.sampler not in SAMPLERS:
            raise CodecError(f"there is no sampler {self.sampler!r} (there is: {', '.join(SAMPLERS)})")
        if not 0 <= self.guidance <= 20:
            raise CodecError(f"guidance {self.guidance:g} is outside 0..20")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise CodecError(f"seed {self.seed} is outside 0..2**32-1")
        if self.context is not None and (self.context.ndim != 2 or self.context.shape[1] != dim or not len(self.context)):
            raise CodecError(f"a context has shape (tokens, {dim}), not {tuple(self.context.shape)}")
