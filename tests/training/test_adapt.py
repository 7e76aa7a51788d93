"""The adaptation to what the encoder sends: its decisions are the encoder's, its gradients those of ``smoothed``."""

import dataclasses

import numpy as np
import pytest
import torch

from codec.coding import ratecontrol
from codec.coding.model import Base, position_of
from codec.coding.ratecontrol import SLOPE_SHARE, error_weight, lagrangians
from codec.coding.trellis import TRELLISES
from codec.models.prior import octaves
from codec.models.vqvae import VQVAE
from codec.training.base.adapt import Sender, adapt_step, begin, codes, make_sender, weights
from codec.training.base.asked import ask
from codec.training.base.gradients import Smoothed
from codec.training.base.train import wide
from codec.training.losses import rate_distortion
from codec.zoo import read_model, write_model
from tests.support.small import CONFIG, small_coder, small_model

LEVELS = 100, 900, 3000


@pytest.fixture(scope="module")
def base() -> Base:
    net = small_model().requires_grad_(False)
    return Base(0, 0, CONFIG, net, small_coder(net)[0])


def picture(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)).mul_(255).round_().div_(255)


def test_errors_are_worth_what_they_are_to_the_encoder(base):
    position = torch.cat([position_of(base.vqvae, level) for level in LEVELS])
    found = weights(base.vqvae, position, lagrangians(CONFIG, position).float())
    for one, p in zip(found, position, strict=True):
        np.testing.assert_allclose(one.numpy(), error_weight(base.vqvae, p[None]), rtol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_sent_costs_what_a_file_of_it_costs(base, level):
    x = picture(level)
    sender = Sender(base.coder.trellis, base.coder.latent)
    tokens, _, bits = codes(base.vqvae, sender, x, base.position(level))
    asked = base.to_steps(x, level)
    sent = base.coder.measure(asked.v[0].numpy(), asked.tokens[0].numpy(), level, asked.weight)
    assert torch.equal(tokens, asked.tokens) and bits.item() == pytest.approx(sent.bits, rel=0.02)


def test_a_sender_follows_as_the_encoders_passes_do(base):
    """The same pass through both ways of training: values and gradients are alike."""
    group, position = CONFIG.groups[1], torch.tensor([4.0])
    part, mu, log2_sigma = (
        torch.randn(1, group.stop - group.start, 6, 6, generator=torch.Generator().manual_seed(k)) for k in range(3)
    )
    weight, mask = error_weight(base.vqvae, position), torch.ones(1, 1, 6, 6)
    found = []
    for passes in (True, False):
        given = [
            (2 * part).requires_grad_(True),
            mu.clone().requires_grad_(True),
            (log2_sigma + 1).requires_grad_(True),
        ]
        if passes:
            follower = Smoothed(base, torch.zeros(1, CONFIG.channels, 6, 6), [weight])
            v_hat = follower.quantise(*given, group, mask)
            bits = follower.slopes[0].sum()
        else:
            asked = ask(*given, group, torch.arange(36), torch.from_numpy(weight)[None])
            values, each = Sender(base.coder.trellis, base.coder.latent).follow(asked)
            v_hat, bits = asked.back(values), each.sum()
        gradients = torch.autograd.grad((v_hat * torch.linspace(-1, 1, 36).view(6, 6)).sum() + bits, given)
        found.append((v_hat.detach(), *gradients))
    for a, b in zip(*found, strict=True):
        assert a.abs().max() > 0.1 and torch.allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("quantizer", "at"), [("tcq8", 4.0), ("tcq8", 0.3), ("e8", 4.0)])
def test_a_step_sends_what_is_sent_without_gradients(quantizer, at):
    net, sender = small_model(), make_sender(quantizer)
    x, level = picture(5), torch.tensor([at])
    with torch.no_grad():
        _, out, _ = codes(net, sender, x, level)
        wanted = net.synthesise(net.from_steps(out.v_hat, level), level)
    net.requires_grad_(True)
    loss, bpd, mse = adapt_step(net, sender, x, level, lagrangians(CONFIG, level).float(), bf16=False)
    _, _, plain = rate_distortion(x, wanted, torch.zeros(1), torch.ones(1))
    assert mse.item() == pytest.approx(plain.item(), rel=1e-4)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in net.prior.parameters())
    assert all(p.grad is not None and p.grad.any() for p in net.g_a.head.parameters())
    bits, worth = bpd * x[0].numel(), torch.tensor([3 * ratecontrol.worth(CONFIG, level, SLOPE_SHARE)])
    again = rate_distortion(x, wanted, bits, worth)[0]
    assert loss.item() == pytest.approx(again.item(), rel=1e-3)


def test_an_adaptation_begins_with_a_weights_file_and_its_tables(base, tmp_path):
    coder, arrays = small_coder(base.vqvae)
    write_model(
        tmp_path / "model.safetensors",
        base.vqvae,
        coder.trellis.name,
        {**arrays, **coder.latent.flat(), **coder.tokens.flat()},
    )
    model, tables = begin(tmp_path / "model.safetensors")
    shipped = read_model(tmp_path / "model.safetensors", 0)
    assert tables is not None and np.array_equal(tables.bits(), shipped.coder.latent.bits())
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), shipped.vqvae.state_dict().values(), strict=True)
    )
    sender = make_sender("tcq128", tables=tables)
    assert sender.tables is tables and sender.name in TRELLISES


def test_scale_zero_sends_nothing_and_is_what_was_expected(base):
    group = CONFIG.groups[0]
    shape = (1, group.stop - group.start, 4, 4)
    part, mu = torch.full(shape, 3.0), torch.full(shape, 1.5)
    asked = ask(part, mu, torch.full(shape, -20.0), group, torch.arange(16), torch.ones(1, CONFIG.channels))
    v_hat, _ = Sender(base.coder.trellis, base.coder.latent).follow(asked)
    assert not asked.scale.any() and octaves(asked.log2_sigma).max() < 1 and torch.equal(asked.back(v_hat), mu)


def test_a_narrow_prior_is_refused(tmp_path):
    net = VQVAE(dataclasses.replace(CONFIG, arithmetic="narrow"))
    with pytest.raises(SystemExit, match="narrow arithmetic"):
        wide(tmp_path / "model.safetensors", net)
