"""The filter in the pixel domain: what it may see, what it learns, how it is resumed and shipped."""

import csv
import hashlib
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from codec import zoo
from codec.coding.trellis import TCQ128
from codec.models.filter import Filter
from codec.training.base import decoded, train_filter
from codec.training.base.decoded import Decoded
from codec.training.base.train_filter import FilterConfig, Store
from codec.training.data.shards import networks
from tests.support.small import CONFIG, small_coder, small_model

SHORT = FilterConfig(steps=6, batch=2, crop=32, warmup=2, width=16, blocks=1, validate=6, save=2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A model file without a filter."""
    net = small_model().requires_grad_(False)
    coder, arrays = small_coder(net)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    zoo.write_model(path, net, TCQ128.name, {**arrays, **coder.latent.flat(), **coder.tokens.flat()})
    return path


@pytest.fixture(scope="module")
def made_by(weights) -> str:
    return networks(zoo.load(str(weights)).vqvae)


@pytest.fixture(scope="module")
def folder(weights, made_by, photo, tmp_path_factory):
    """Two shards and a validation file of crops of 64 pixels."""
    torch.set_num_threads(1)
    model, pixels = zoo.load(str(weights)), np.asarray(photo)
    out = tmp_path_factory.mktemp("decoded")
    crops = [pixels[i : i + 64, j : j + 64] for i in (0, 150, 300) for j in (0, 120, 240, 360)]
    described = [decoded.describe(model, c, 800 + 700 * (k % 5)) for k, c in enumerate(crops)]
    for name, part in (("shard-000", described[:5]), ("shard-001", described[5:10]), ("validation", described[10:])):
        Decoded.join(part).save(out / f"{name}.safetensors", made_by)
    return out


@torch.no_grad()
def test_bfloat16_goes_through_all_blocks():
    net, seen = random_filter(), []
    x, features, level = torch.rand(1, 3, 64, 96) - 0.5, torch.rand(1, 16, 8, 12), torch.zeros(1, 3, 1, 1)
    for block in net.body:
        block.register_forward_hook(lambda block, given, made: seen.extend((given[0].dtype, made.dtype)))
    wide = net(x, features, level)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = net(x, features, level)
    assert seen == [torch.float32] * 4 + [torch.bfloat16] * 4
    assert 0 < (wide - narrow).abs().max() < 0.02 * wide.abs().max()


def random_filter(width: int = 16, blocks: int = 2, features: int = CONFIG.width8) -> Filter:
    torch.manual_seed(3)
    net = Filter(width, blocks, features)
    torch.nn.init.normal_(net.head.weight, std=0.01)
    return net.eval().requires_grad_(False)


def test_a_new_filter_changes_nothing_and_a_trained_one_is_the_same_for_every_cell_of_the_grid():
    x, features, level = torch.rand(1, 3, 64, 96) - 0.5, torch.rand(1, 16, 8, 12), torch.zeros(1, 3, 1, 1)
    assert not Filter(16, 2, 16)(x, features, level).any()
    net = random_filter()
    moved = net(x.roll(16, 3), features.roll(2, 3), level)[..., 40:-16]
    assert torch.allclose(moved, net(x, features, level)[..., 24:-32], atol=1e-6)
    beside = net(x.roll(4, 3), features, level)[..., 28:-28]
    assert not torch.allclose(beside, net(x, features, level)[..., 24:-32], atol=1e-4)


def test_shipping_a_filter_keeps_tables_and_files_and_changes_the_picture(weights, photo, tmp_path):
    import codec

    out = tmp_path / "filtered.safetensors"
    zoo.write_filter(weights, out, random_filter())
    plain, filtered = zoo.load(str(weights)), zoo.load(str(out))
    assert plain.table_hash == filtered.table_hash
    picture = np.asarray(photo)[:96, :128]
    a, b = codec.load(str(weights)), codec.load(str(out))
    data = a.encode(picture, quality=60)
    assert data == b.encode(picture, quality=60)
    assert not np.array_equal(a.decode_array(data), b.decode_array(data))
    y = torch.randn(1, CONFIG.channels, 4, 6)
    level = torch.tensor([3.0])
    assert torch.equal(filtered.vqvae.synthesise(y, level, filtered=False), plain.vqvae.synthesise(y, level))
    zoo.write_filter(out, tmp_path / "again.safetensors", random_filter(8, 1))  # another one in its place
    assert zoo.load(str(tmp_path / "again.safetensors")).vqvae.g_s.filter.stem.out_channels == 8


def test_no_seams_with_a_filter(weights, photo, tmp_path, monkeypatch):
    import codec
    from codec.coding import tiles

    out = tmp_path / "filtered.safetensors"
    zoo.write_filter(weights, out, random_filter(16, 6))
    model = codec.load(str(out))
    data = model.encode(np.asarray(photo)[:256, :512], quality=60)
    whole = model.decode_array(data)
    monkeypatch.setattr(tiles, "TILE", 4)
    assert np.abs(model.decode_array(data).astype(int) - whole).max() <= 1
    monkeypatch.setattr(tiles, "HALO", 0)
    assert np.abs(model.decode_array(data).astype(int) - whole).max() > 1


def test_describe_is_what_the_decoder_makes_before_its_filter(weights, photo):
    import codec

    model, pixels = zoo.load(str(weights)), np.asarray(photo)[:64, :64]
    found = decoded.describe(model, pixels, 3000)
    c = codec.load(str(weights))
    x_hat = c.decode_array(c.encode(pixels, quality=3000 / 64))
    assert np.abs(found.x_hat[0].transpose(1, 2, 0).clip(0, 1) * 255 - x_hat).max() < 1
    assert np.array_equal(found.x[0].transpose(1, 2, 0), pixels)


def test_windows_lie_on_the_grid(folder, made_by):
    store = Store(folder, made_by)
    part = store.draw(np.random.default_rng(0), 6, 32)
    shards = [Decoded.load(p, made_by) for p in sorted(folder.glob("shard-*"))]
    for k in range(6):
        places = [(s, n, i, j) for s in shards for n in range(len(s.level)) for i in (0, 16, 32) for j in (0, 16, 32)
                  if np.array_equal(s.x[n, :, i : i + 32, j : j + 32], part.x[k])]  # fmt: skip
        s, n, i, j = places[0]
        assert np.array_equal(s.x_hat[n, :, i : i + 32, j : j + 32], part.x_hat[k])
        assert np.array_equal(s.features[n, :, i // 8 : i // 8 + 4, j // 8 : j // 8 + 4], part.features[k])
        assert s.level[n] == part.level[k]


def test_killed_and_resumed_gives_the_same_weights(folder, made_by, tmp_path):
    whole = train_filter.train(SHORT, Store(folder, made_by), CONFIG.anchors, tmp_path / "whole")
    train_filter.train(SHORT, Store(folder, made_by), CONFIG.anchors, tmp_path / "parts", stop_at=4)
    parts = train_filter.train(SHORT, Store(folder, made_by), CONFIG.anchors, tmp_path / "parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))


def test_it_learns(folder, made_by, tmp_path):
    store = Store(folder, made_by)
    store.validation = Decoded.join(
        [Decoded.load(p, made_by) for p in sorted(folder.glob("shard-*"))]
    )  # ten crops teach nothing of others
    train_filter.train(replace(SHORT, steps=80, warmup=5, batch=4, validate=80), store, CONFIG.anchors, tmp_path)
    with open(tmp_path / "validation.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert float(rows[-1]["all"]) < -3  # percent of squared error


def test_commands_make_pictures_then_weights(weights, folder, tmp_path, monkeypatch, photo):
    photo.save(tmp_path / "photo.png")
    (tmp_path / "photos").mkdir()
    for k in range(2):
        photo.crop((0, 0, 400, 400)).rotate(90 * k).save(tmp_path / "photos" / f"{k}.png")
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "decoded",
            "--data",
            str(tmp_path / "photos"),
            "--out",
            str(tmp_path / "run" / "decoded"),
            "--model",
            str(weights),
            "--shards",
            "1",
            "--size",
            "1",
        ],
    )
    monkeypatch.setattr(decoded, "CROP", 256)
    decoded.main()
    assert sorted(p.name for p in (tmp_path / "run" / "decoded").iterdir()) == [
        "cache",
        "shard-000.safetensors",
        "validation.safetensors",
    ]
    out = tmp_path / "with.safetensors"
    settings = ["steps=2", "crop=32", "batch=1", "width=16", "blocks=1", "validate=2"]
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "train_filter",
            "--decoded",
            str(folder),
            "--out",
            str(tmp_path / "filter"),
            "--model",
            str(weights),
            "--weights",
            str(out),
            *settings,
        ],
    )
    train_filter.main()
    assert zoo.load(str(out)).config.filter_blocks == 1
    (tmp_path / "manifest.json").write_text(
        json.dumps(
            {"models": {"7": {"file": "", "sha256": "", "data": "photographs", "stages": [{"command": "before"}]}}}
        )
    )
    monkeypatch.setattr(sys, "argv", [*sys.argv[: -len(settings)], "--id", "7", *settings])
    for _ in range(2):  # a stage is recorded once
        train_filter.main()
    found = json.loads((tmp_path / "manifest.json").read_text())["models"]["7"]
    assert (
        found["file"] == out.name
        and found["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
        and found["data"] == "photographs"
    )
    assert [s["command"] for s in found["stages"]] == ["before", "python -m codec.training.base.train_filter"]
    assert found["stages"][1]["steps"] == 2 and len(found["stages"][1]["hardware"]) == 1
    with pytest.raises(SystemExit, match="codec.training.base.decoded"):
        Store(tmp_path, made_by)


def test_shards_of_another_model_are_refused(weights, folder, made_by, photo, tmp_path, monkeypatch):
    """Pictures of other networks teach a filter what this model does not do; a filter behind it is no other network."""
    filtered = tmp_path / "filtered.safetensors"
    zoo.write_filter(weights, filtered, random_filter(16, 6))
    assert networks(zoo.load(str(filtered)).vqvae) == made_by
    with pytest.raises(SystemExit, match=r"shard-000\.safetensors, a file of decoded pictures, is of another model"):
        Store(folder, "0" * 8)
    found = dict(load_file(folder / "shard-000.safetensors"))
    save_file(found, tmp_path / "shard-000.safetensors")
    with pytest.raises(SystemExit, match="does not say which model made it"):
        Store(tmp_path, made_by)
    (tmp_path / "photos").mkdir()
    photo.save(tmp_path / "photos" / "0.png")
    words = ["--data", str(tmp_path / "photos"), "--out", str(folder), "--cache", str(tmp_path / "cache")]
    monkeypatch.setattr(sys, "argv", ["decoded", *words])  # the shipped model
    with pytest.raises(SystemExit, match="is of another model"):
        decoded.main()
