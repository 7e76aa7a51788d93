"""Training of the network that hyper tokens are known by."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from codec import zoo
from codec.api import Codec
from codec.coding.tokens import TokenCoder
from codec.models import integer_export, token_net
from codec.training.base import train_tokens
from codec.training.data.photos import Photos
from codec.training.shipping.manifest import write_manifest
from tests.support.small import small_coder, small_model
from tests.support.tiny import TOKENS


@pytest.fixture(scope="module")
def photos(photo, tmp_path_factory) -> Photos:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "photos").mkdir()
    for k in range(3):
        photo.rotate(90 * k, expand=True).save(folder / "photos" / f"{k}.png")
    return Photos(folder / "photos", folder / "cache")


def test_a_run_that_was_stopped_ends_in_the_same_state(photos, tmp_path):
    torch.set_num_threads(1)
    model, short = small_model(), replace(TOKENS, steps=6, save=2, validate=3)
    whole = train_tokens.train(short, model, [photos], tmp_path / "whole")
    for stop in (2, None):
        parts = train_tokens.train(short, model, [photos], tmp_path / "parts", stop_at=stop)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    with open(tmp_path / "whole" / "validation.csv", newline="") as f:
        assert [int(row["step"]) for row in csv.DictReader(f)] == [3, 6]


def test_it_learns_that_tokens_go_on(monkeypatch, photos, tmp_path):
    """Stripes: the token to the left says all but at borders."""
    model = small_model()
    rows = np.random.default_rng(0).integers(0, 32, (40, 12, 1)) * np.ones((1, 1, 16), np.int64)
    monkeypatch.setattr(train_tokens, "pictures", lambda *a, **k: list(rows))
    net = train_tokens.train(
        replace(TOKENS, steps=400, batch=256, width=32, lr=0.01, ema=0.9), model, [photos], tmp_path / "run"
    )
    arrays = integer_export.export(model.prior, model.tokens, model.sd, model.log2_gain) | token_net.export(net)
    new = np.random.default_rng(1).integers(0, 32, (12, 1)) * np.ones((1, 16), np.int64)
    assert 12 * 5 < TokenCoder(arrays).encode(new)[1] < 5 * new.size / 3  # 5 bits or more for each first one


def test_the_command_gives_smaller_files_of_the_same_picture(photos, photo, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    model = small_model()
    coder, arrays = small_coder(model)
    path = tmp_path / "weights" / "vqvae-1003.safetensors"
    path.parent.mkdir()
    zoo.write_model(path, model, "tcq128", {**arrays, **coder.latent.flat()})
    write_manifest(path, "models", "1003", {"stages": [{"command": "before"}]})
    before = Codec(zoo.read_model(path, 1003), torch.device("cpu"), 1)
    data = before.encode(photo, quality=5)
    words = ["--data", tmp_path / "photos", "--out", tmp_path / "run", "--model", path, "--weights", path]
    (tmp_path / "photos").mkdir()
    for k in range(3):
        photo.rotate(90 * k, expand=True).save(tmp_path / "photos" / f"{k}.png")
    settings = ["--id", "1003", "steps=200", "batch=64", "width=32", "turns=1", "lr=0.01", "ema=0.9"]
    monkeypatch.setattr(sys, "argv", ["train_tokens", *map(str, words), *settings])
    train_tokens.main()
    after = Codec(zoo.read_model(path, 1003), torch.device("cpu"), 1)
    smaller = after.encode(photo, quality=5)
    assert len(smaller) < len(data) - 20
    assert np.array_equal(np.asarray(after.decode(smaller)), np.asarray(before.decode(data)))
    with pytest.raises(Exception, match="other tables"):
        after.decode(data)
    entry = json.loads((path.parent / "manifest.json").read_text())["models"]["1003"]
    stages = [stage["command"] for stage in entry["stages"]]
    assert stages == ["before", "python -m codec.training.base.train_tokens"]
    monkeypatch.setattr(sys, "argv", ["train_tokens", *map(str, words), "--id", "1004", "steps=2"])
    held = path.read_bytes()
    with pytest.raises(SystemExit, match="lists no model 1004"):
        train_tokens.main()
    assert path.read_bytes() == held
