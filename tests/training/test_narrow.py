"""The prior put into narrow arithmetic: it comes close, learns to come closer, and goes on where it was stopped."""

import csv
import dataclasses

import matplotlib.cbook
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from codec.models.narrow import Layer
from codec.models.prior import Prior
from codec.training.base.adapt import make_sender
from codec.training.base.narrow import (
    Batch,
    Codes,
    Known,
    NarrowConfig,
    excess,
    expect,
    load,
    main,
    narrow,
    usual,
)
from codec.training.data.packs import Mixture, Packs
from codec.training.data.photos import Photos
from codec.training.run import leave
from tests.support.small import CONFIG, small_model

SHORT = NarrowConfig(steps=12, batch=3, crops=6, crop=64, warmup=1, lr=0.02, bf16=False, validate=12, save=4)


@pytest.fixture(scope="module")
def packs(tmp_path_factory) -> Packs:
    folder = tmp_path_factory.mktemp("photos")
    hopper = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    for k in range(3):
        hopper.rotate(90 * k, expand=True).resize((320, 300)).save(folder / f"{k}.png")
    return Packs(Photos(folder, tmp_path_factory.mktemp("cache")), None, Mixture())


def made(packs: Packs, folder, **other) -> tuple[Prior, list[float]]:
    """A run -> its prior, and excess_percent of its last validation."""
    stop_at = other.pop("stop_at", None)
    model = narrow(dataclasses.replace(SHORT, **other), small_model(), make_sender("tcq4"), packs, folder, stop_at)
    rows = folder / "validation.csv"
    found = list(csv.DictReader(rows.open())) if rows.exists() else []
    return model.prior, [float(row["excess_percent"]) for row in found[-8:]]


@pytest.fixture(scope="module")
def whole(packs, tmp_path_factory):
    return made(packs, tmp_path_factory.mktemp("run"))


def test_conversion_is_close_and_training_comes_closer(packs, whole, tmp_path):
    prior, trained = whole
    _, converted = made(packs, tmp_path / "run", steps=1, lr=0.0)
    assert 0 < np.mean(trained) < np.mean(converted) < 20
    layers = [m for m in prior.modules() if isinstance(m, Layer)]
    assert all((m.weight == m.weight.round()).all() and m.weight.abs().max() <= 63 for m in layers)
    assert min(m.weight.abs().max() for m in layers) > 31  # the bits are used


def test_stopped_and_resumed_it_ends_in_the_same_state(packs, whole, tmp_path):
    made(packs, tmp_path / "run", stop_at=5)
    again, shares = made(packs, tmp_path / "run")
    assert shares == whole[1]
    for a, b in zip(whole[0].state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_excess_is_what_another_gaussian_costs():
    """Against the code lengths of samples; of nothing it is nothing."""
    torch.manual_seed(0)
    mu, log2_sigma = torch.randn(1, 4, 50, 50), torch.rand(1, 4, 50, 50) * 3
    rest = (torch.ones(1),) * 4
    said = Batch(mu, mu, log2_sigma, *rest)
    other = dataclasses.replace(said, mu=mu + 0.4, log2_sigma=log2_sigma + 0.3)
    assert excess(said, said).item() == pytest.approx(0, abs=1e-2)
    wide = [(torch.exp2(2 * b.log2_sigma) + 1 / 12).sqrt() for b in (said, other)]
    total = 0.0
    for _ in range(200):
        x = mu + wide[0] * torch.randn_like(mu)
        bits = [
            -torch.distributions.Normal(b.mu, s).log_prob(x) / np.log(2)
            for b, s in zip((said, other), wide, strict=True)
        ]
        total += (bits[1] - bits[0]).sum().item() / 200
    assert excess(said, other).item() == pytest.approx(total, rel=0.02)


def test_usual_bits_are_those_of_the_level():
    level = np.array([0.1, 0.3, 2.0, 2.2], np.float32)
    found = usual(level, np.array([10.0, 30.0, 300.0, 500.0]))
    assert found[0] < 40 and found[0] < found[1] < found[2] and found[3] == pytest.approx(401, abs=1)


def test_the_command_takes_what_an_adaptation_left(packs, tmp_path, monkeypatch):
    sender, settings = make_sender("tcq4"), [f"{k}={v}" for k, v in dataclasses.asdict(SHORT).items() if k != "bf16"]
    leave(tmp_path, "adapted", small_model(), {"quantizer": "tcq4", "sender": sender.state()})
    (tmp_path / "data").mkdir()
    folders = {"--data": tmp_path / "data", "--cache": tmp_path / "cache", "--base": tmp_path / "adapted.pt"}
    monkeypatch.setattr("codec.training.base.narrow.open_packs", lambda data, fine, cache, mixture: packs)
    words = [str(word) for pair in {**folders, "--out": tmp_path / "run"}.items() for word in pair]
    monkeypatch.setattr("sys.argv", ["narrow", *words, *settings, "steps=2"])
    main()
    model, _, quantizer = load(tmp_path / "run" / "narrow.pt", "cpu")
    assert quantizer == "tcq4" and model.config == dataclasses.replace(CONFIG, arithmetic="narrow")
    known = Known(model, Codes(**load_file(tmp_path / "run" / "codes-train.safetensors")))
    with torch.no_grad():
        seen = known.batch(slice(0, 6))
        assert (excess(seen, expect(model.prior, seen)) / seen.bits).mean() < 0.5
    monkeypatch.setattr("sys.argv", ["narrow", *words, *settings, "steps=2", "lr=1"])
    with pytest.raises(SystemExit, match="begun with lr"):
        main()
    with pytest.raises(SystemExit, match="is narrow already"):
        narrow(SHORT, model, sender, packs, tmp_path / "again")
