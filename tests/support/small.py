"""A small untrained model, for tests of what does not depend on training."""

import numpy as np
import torch

from codec import zoo
from codec.api import Codec
from codec.coding.latents import LatentCoder
from codec.coding.model import Base
from codec.coding.stored import hash_arrays
from codec.coding.trellis import TCQ128
from codec.models import integer_export, token_net
from codec.models.config import Group, VQVAEConfig
from codec.models.context import ClassConditioner
from codec.models.denoiser import DenoiserConfig
from codec.models.painter import PainterConfig
from codec.models.restorer import Restorer
from codec.models.token_net import TokenNet
from codec.models.vqvae import VQVAE
from codec.training.base.narrow import Codes, Known, narrowed, with_prior
from codec.training.base.tables import analytic_tables

CONFIG = VQVAEConfig(
    channels=24,
    groups=(Group(0, 16, 3), Group(16, 24, 2)),
    width8=16,
    width16=16,
    enc8=1,
    enc16=1,
    dec8=1,
    dec16=1,
    prior_width=16,
    prior_blocks=1,
    tokens=32,
)
PAINTER = PainterConfig(latent=4, width4=8, blocks4=1, width8=8, blocks8=1, encoder8=1)
SHAPE = DenoiserConfig(latent=16, width=16, blocks=2, attend=1, heads=2, context=8, embedding=16)
RESTORERS = ("ldm", "gan", "perceptual")
CODEWORD = 4 * CONFIG.token_channels


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


def narrow_model(seed: int = 0) -> VQVAE:
    """``small_model`` with the networks of its prior in narrow arithmetic."""
    model, rng = small_model(seed), np.random.default_rng(seed)
    v_hat = rng.normal(0, 3, (6, CONFIG.channels, 6, 8)).astype(np.float32)
    said, level = np.zeros(v_hat.shape, np.float16), np.linspace(0, 7, 6, dtype=np.float32)
    codes = Codes(rng.integers(0, CONFIG.tokens, (6, 3, 4)), v_hat, said, said, level, np.ones(6))
    return with_prior(model, narrowed(model.prior, Known(model, codes)))


def small_coder(model: VQVAE) -> tuple[LatentCoder, dict[str, np.ndarray]]:
    arrays = integer_export.export(model.prior, model.tokens, model.sd, model.log2_gain)
    arrays |= token_net.export(small_token_net(model))
    return LatentCoder(model.config, TCQ128, arrays, analytic_tables()), arrays


def small_token_net(model: VQVAE, seed: int = 0) -> TokenNet:
    """Random weights everywhere."""
    torch.manual_seed(seed)
    net = TokenNet(model.tokens.centroids(model.sd), 16)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return net


def network(seed: int = 1) -> Restorer:
    """Random weights everywhere, also where training starts at 0."""
    torch.manual_seed(seed)
    net = Restorer(PAINTER, SHAPE, CONFIG.anchors, CODEWORD)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p) * 0.1)
        net.scale.uniform_(0.5, 2)
        net.residual.uniform_(0.01, 0.1)
    return net.eval().requires_grad_(False)


def small_codec() -> Codec:
    model = small_model().requires_grad_(False)
    coder, arrays = small_coder(model)
    c = Codec(Base(0, hash_arrays(arrays), CONFIG, model, coder), torch.device("cpu"), 1)
    c._loaded.restorers = {name: network(k) for k, name in enumerate(RESTORERS)}
    c._loaded.labels = zoo.Labels(("cats", "dogs"), ClassConditioner(2, 3, 8).requires_grad_(False))
    c._loaded.labels.conditioner.tokens[1] += 2.0
    return c
