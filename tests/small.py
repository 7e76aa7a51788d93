"""A small untrained model, for tests of what does not depend on training."""

import numpy as np
import torch

from codec.latents import LatentCoder
from codec.models import integer_prior
from codec.models.config import Group, VQVAEConfig
from codec.models.trellis import TCQ128
from codec.models.vqvae import VQVAE
from codec.training.tables import analytic_tables, token_classes, token_tables

CONFIG = VQVAEConfig(
    channels=24, groups=(Group(0, 16, 3), Group(16, 24, 2)), width8=16, width16=16, enc8=1, enc16=1, dec8=1, dec16=1,
    prior_width=16, prior_blocks=1, tokens=32,
)


def small_model(seed: int = 0) -> VQVAE:
    """Random weights, some structure in deviations and codebook."""
    torch.manual_seed(seed)
    model = VQVAE(CONFIG)
    with torch.no_grad():
        model.sd.copy_(torch.linspace(2.0, 0.05, CONFIG.channels)[None, :, None, None])
        model.tokens.codebook.normal_()
        for p in model.prior.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return model.eval()


def small_coder(model: VQVAE) -> tuple[LatentCoder, dict[str, np.ndarray]]:
    arrays = integer_prior.export(model.prior, model.tokens, model.sd, model.log2_gain)
    classes = np.sort(token_classes(model.tokens.codebook.double().numpy(), np.random.default_rng(0), 5))
    tokens = token_tables(classes, [np.random.default_rng(1).integers(0, 32, (9, 9))])
    return LatentCoder(CONFIG, TCQ128, arrays, analytic_tables(), tokens), arrays
