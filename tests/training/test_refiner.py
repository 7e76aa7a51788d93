"""The encoder's other look: what its training follows, and that it can be stopped and shipped."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codec import manifest, zoo
from codec.bitstream.tables import MAX_SYMBOL, UNIT
from codec.coding.model import Base
from codec.coding.ratecontrol import error_weight
from codec.coding.surrogate import Sent
from codec.coding.trellis import reconstruct
from codec.models.refiner import Refiner, RefinerConfig
from codec.training.base import train_refiner
from codec.training.base.gradients import Pulled, Smoothed, answer
from codec.training.base.train_refiner import RefinerTraining, begun, looked, train
from codec.training.data.packs import Mixture, open_packs
from codec.training.losses import rate_distortion
from codec.zoo import write_model
from tests.support.small import CONFIG, small_coder, small_model

SHORT = RefinerTraining(steps=4, seconds=0, batch=2, crop=64, width=16, blocks=1, bf16=False, validate=4, save=2)


@pytest.fixture(scope="module")
def base() -> Base:
    net = small_model().requires_grad_(False)
    return Base(0, 0, CONFIG, net, small_coder(net)[0])


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    import matplotlib.cbook

    folder = tmp_path_factory.mktemp("refiner") / "photos"
    folder.mkdir()
    hopper = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    for k in range(3):
        hopper.rotate(90 * k, expand=True).resize((320, 300)).save(folder / f"{k}.png")
    return folder


def test_smoothed_answers_are_those_of_the_quantiser(base):
    """Of one latent alone the trellis minimises bits and error: so do the answers, at any place."""
    position, group, scale = torch.tensor([4.0]), CONFIG.groups[1], torch.full((1, 40, 8), 50, dtype=torch.uint8)
    weight = error_weight(base.vqvae, position)
    latent = base.coder.latent
    tables = torch.from_numpy(latent.bits()[:, MAX_SYMBOL:]), torch.from_numpy(latent.offsets.astype(np.float32) / UNIT)
    r = torch.linspace(-4, 4, 320).view(1, 40, 8)
    zero, w = torch.zeros(1, 40, 8, dtype=torch.long), torch.from_numpy(weight[None, None, group.start : group.stop])
    value, bits = answer(r, scale.long() * 2 + zero, zero * 0.5, w, *tables)
    costs = []
    for q in range(-6, 7):
        symbol = np.full((1, 40, 8), q, np.int16)
        table = scale.numpy() * np.uint8(2)
        v_hat = torch.from_numpy(reconstruct(symbol, zero.numpy(), table, base.coder.latent.offsets) / 256)
        costs.append(base.coder.latent.bits()[100, 255 + q] + w * (r - v_hat).square())
    assert torch.allclose(bits + w * (r - value).square(), torch.stack(costs).min(0).values.float(), rtol=1e-5)


def test_a_latent_that_stays_at_zero_moves_nothing(base):
    """In the state whose answers are whole steps: around 0 it answers 0, around 1 once 0 and once 1 or more."""
    group, weight = CONFIG.groups[1], error_weight(base.vqvae, torch.tensor([4.0]))
    passes, zero = Smoothed(base, torch.zeros(1, 24, 2, 1), [weight]), torch.zeros(1, 2, 8)
    v = torch.tensor([0.0, 1.0])[None, :, None].expand(1, 2, 8).clone().requires_grad_(True)
    scale = torch.full((1, 2, 8), 24, dtype=torch.uint8)
    sent = Sent(zero.short(), zero.to(torch.uint8), torch.tensor([0.0, 1.0])[None, :, None] + zero)
    path, bits = passes.follow(v, zero, zero, group, scale, sent)
    (moves,) = torch.autograd.grad(path.sum(), v)
    (costs,) = torch.autograd.grad(bits.sum(), v)
    assert not moves[:, 0].any() and not costs[:, 0].any()
    assert moves[:, 1].min() > 0.5 and costs[:, 1].min() > 0.5


def test_a_latent_is_pulled_to_what_was_sent_of_it(base):
    """Without error and contexts the gradient is that of w (v - v_hat)^2, where a latent is coded."""
    net, position = base.vqvae, torch.tensor([3.0])
    v = torch.randn(1, CONFIG.channels, 4, 4, generator=torch.Generator().manual_seed(1)).mul_(3).requires_grad_(True)
    weight = error_weight(net, position)
    passes, group = Pulled(base, v, [weight]), CONFIG.groups[1]
    part, zero = v[:, group.start :], torch.zeros(1, group.stop - group.start, 4, 4)
    v_hat = passes.quantise(part, zero, zero + 1.0, group, torch.ones(1, 1, 4, 4)).detach()
    (gradient,) = torch.autograd.grad(torch.stack(passes.slopes).sum(), v)
    wanted = 2 * torch.from_numpy(weight[group.start :])[:, None, None] * (part.detach() - v_hat)
    assert torch.allclose(gradient[:, group.start :], wanted, rtol=1e-4, atol=1e-6) and wanted.abs().max() > 0.1
    assert not gradient[:, : group.start].any()


def test_what_is_sent_is_what_the_encoder_sends(base):
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)).mul_(255).round_().div_(255)
    state = begun(base, x, base.position(3200))
    asked = base.to_steps(x, 3200)
    sent = base.coder.measure(asked.v[0].numpy(), asked.tokens[0].numpy(), 3200, asked.weight)
    assert state.bits.item() == pytest.approx(sent.bits, rel=0.02)  # the float prior's choices differ, and cost as much
    assert torch.equal(state.v, asked.v) and torch.equal(state.tokens, asked.tokens)


def test_steps_make_what_is_sent_cheaper(base):
    torch.manual_seed(0)
    refiner = Refiner(RefinerConfig(CONFIG.channels, 16, 1))
    x, position = torch.rand(4, 3, 64, 64), torch.full((4,), 4.0)
    lam = torch.full((4,), 0.05)
    before = begun(base, x, position)
    usual = rate_distortion(x, before.x_hat, before.bits, lam)[0].item()
    adam = torch.optim.Adam(refiner.parameters(), 3e-3)
    costs = []
    for _ in range(30):
        after = looked(base, refiner, x, before)
        loss = rate_distortion(x, after.x_hat, after.bits, lam)[0]
        adam.zero_grad(), loss.backward(), adam.step()
        costs.append(loss.item())
    assert min(costs[-5:]) < 0.98 * usual and min(costs[-5:]) < costs[0]


def test_the_gradient_reaches_all_of_the_refiner_and_nothing_of_the_model(base):
    x, refiner = torch.rand(1, 3, 64, 64), Refiner(RefinerConfig(CONFIG.channels, 16, 1))
    torch.nn.init.normal_(refiner.head.weight, 0, 0.1)
    before = begun(base, x, torch.tensor([4.0]))
    after = looked(base, refiner, x, before)
    assert torch.equal(after.tokens, before.tokens) and not torch.equal(after.v, before.v)
    (after.bits.sum() + after.x_hat.square().sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in refiner.parameters())
    assert all(p.grad is None for p in base.vqvae.parameters())


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_in_the_same_state(base, photos, tmp_path):
    torch.set_num_threads(1)
    packs, device = open_packs(photos, None, tmp_path / "cache", Mixture()), torch.device("cpu")
    whole = train(SHORT, base, packs, tmp_path / "whole", device)
    for stop in (2, None):
        parts = train(SHORT, base, packs, tmp_path / "parts", device, stop)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    with open(tmp_path / "whole" / "validation.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 8 and float(rows[-1]["bits_per_dim"]) > float(rows[0]["bits_per_dim"]) > 0


def test_a_run_begins_with_a_network_that_exists(base, photos, tmp_path):
    torch.manual_seed(7)
    given = Refiner(RefinerConfig(CONFIG.channels, 16, 1))
    torch.nn.init.normal_(given.head.weight)
    zoo.write_refiner(tmp_path / "given.safetensors", given)
    stored = zoo.read_refiner(tmp_path / "given.safetensors")
    packs, still = open_packs(photos, None, tmp_path / "cache", Mixture()), replace(SHORT, steps=1, lr=0, lr_muon=0)
    found = train(still, base, packs, tmp_path / "run", torch.device("cpu"), begin=stored)
    assert all(torch.equal(a, b) for a, b in zip(stored.parameters(), found.parameters(), strict=True))
    with pytest.raises(SystemExit, match="another shape"):
        wide = replace(still, width=32)
        train(wide, base, packs, tmp_path / "wide", torch.device("cpu"), begin=stored)


@pytest.mark.slow
def test_the_command_ships_what_encode_uses(base, photos, tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    weights.mkdir()
    net = small_model()
    coder, arrays = small_coder(net)
    tables = {**coder.latent.flat(), **coder.tokens.flat()}
    write_model(weights / "vqvae-1003.safetensors", net, "tcq128", {**arrays, **tables})
    given = ["--data", photos, "--out", tmp_path / "run", "--cache", tmp_path / "cache"]
    given += ["--model", weights / "vqvae-1003.safetensors", "--weights", weights / "refiner-1003.safetensors"]
    settings = ["steps=2", "seconds=0", "batch=2", "crop=64", "width=16", "blocks=1"]
    monkeypatch.setattr("sys.argv", ["train_refiner", *map(str, given), "--id", "1003", *settings])
    train_refiner.main()
    entry = json.loads((weights / "manifest.json").read_text())["refiners"]["refiner-1003"]
    assert entry["model"] == 1003 and entry["stages"][0]["steps"] == 2
    found = zoo.read_refiner(manifest.read(weights).refiners[1003])
    assert found.config == RefinerConfig(CONFIG.channels, 16, 1)
    assert found.head.weight.any()  # it has moved
