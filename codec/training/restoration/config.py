"""What a run of the semantic stage is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from codec.models.denoiser import DenoiserConfig
from codec.models.painter import PainterConfig
from codec.restoration.restore import SIGMA_MAX, SIGMA_MIN

STAGES = ("autoencoder", "ldm", "perceptual", "gan")
FLOOR = 2e-4  # of the squared error of what is restored, so that nearly perfect pictures do not count most


@dataclass(frozen=True)
class RestorationConfig:
    """One run."""

    seconds: float = 180.0  # of training
    steps: int = 0  # at most so many; 0: the time alone decides
    batch: int = 32  # crops a step
    window: int = 256  # pixels a side of a crop
    lr: float = 3e-4  # of Adam
    lr_discriminator: float = 3e-4  # of its own Adam
    warmup: int = 100  # steps
    hold: float = 0.4  # share of the time after which the learning rate falls
    ema: float = 0.998  # decay of the averaged weights
    clip: float = 1.0  # norm of the gradient
    upscale: float = 0.2  # share of crops that are enlargements
    drop: float = 0.1  # share of crops without context tokens
    mse: float = 0.6  # weight of the relative squared error
    feature: float = 1.0  # of LPIPS
    adversarial: float = 0.15  # of the discriminator's verdict
    adversarial_from: float = 0.5  # share of the time after which it comes in
    noise: float = 0.3  # standard deviation of what is added to s, which has 1, in the autoencoder
    prior: float = 0.02  # weight of the mean square of s there
    elbo: float = 0.3  # weight of the denoiser's loss
    anchored: float = 0.2  # share of crops whose s comes from the encoder, so that the painter stays its inverse
    sigma_mean: float = 0.0  # of ln sigma
    sigma_deviation: float = 1.4
    sigma_min: float = SIGMA_MIN
    sigma_max: float = SIGMA_MAX
    weight_limit: float = 5.0  # largest weight of the denoiser's error
    every: float = 40.0  # seconds between validations
    seed: int = 0
    bf16: bool = True
    record: bool = True  # on a card: the step's kernels once, then replayed
    painter: PainterConfig = field(default_factory=PainterConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
