"""Training: start values, data, resuming, several processes, the later stages, all with a model of a few thousand
weights."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.studies import held_out
from benchmarks.studies.ablations import measure as ablate
from benchmarks.studies.training_curve import measure as curve
from codec import zoo
from codec.coding.stored import hash_arrays
from codec.layers.lapped import Lapped, lapped_matrix
from codec.models.vqvae import VQVAE
from codec.training.base import start
from codec.training.base.adapt import AdaptConfig, adapt
from codec.training.base.train import begin_with, load_base, load_begin, load_kept, train
from codec.training.config import TrainConfig, configure
from codec.training.data.packs import Mixture, open_packs
from codec.training.data.photos import Photos, cut, drawn, to_tensor
from codec.training.losses import rate_distortion
from codec.training.shipping.ship import ship
from tests.support.tiny import CONFIG, TOKENS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """photos/ with pictures from an installed package, config.toml."""
    import matplotlib.cbook

    base = tmp_path_factory.mktemp("training")
    (base / "photos").mkdir()
    hopper = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    for k in range(4):
        hopper.rotate(90 * k, expand=True).resize((320 + 16 * k, 300)).save(base / "photos" / f"{k}.png")
    (base / "config.toml").write_text(CONFIG)
    return base


@pytest.fixture(scope="module")
def whole(folder) -> Path:
    """A run of 6 steps without a break."""
    torch.set_num_threads(1)
    train(configure(TrainConfig(), folder / "config.toml", []), folder / "photos", folder / "whole")
    return folder / "whole"


def state(run: Path) -> dict:
    return torch.load(run / "last.pt", weights_only=True, map_location="cpu")


def test_a_run_that_was_stopped_ends_in_the_same_state(folder, whole):
    config = configure(TrainConfig(), folder / "config.toml", [])
    for stop in (2, 4, None):
        train(config, folder / "photos", folder / "parts", stop)
    a, b = state(whole), state(folder / "parts")
    assert a["step"] == b["step"] == 6
    for name, value in a["model"].items():
        assert torch.equal(value, b["model"][name]), name
    assert all(torch.equal(x, y) for x, y in zip(a["ema"], b["ema"], strict=True))


def test_logs_and_validation_are_written(whole):
    with open(whole / "validation.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    rates = [float(r["bits_per_dim"]) for r in rows]
    assert len(rows) == 8 and rates == sorted(rates)
    assert json.loads((whole / "config.json").read_text())["batch"] == 4


def test_kept_weights_are_the_averaged_ones_and_give_a_curve(folder, tmp_path, monkeypatch):
    config = configure(TrainConfig(), folder / "config.toml", ["validate=3", "keep=3", "lr_muon=0.01"])
    model = train(config, folder / "photos", folder / "kept")
    kept, facts = load_kept(folder / "kept" / "step-000006.pt")
    assert facts["step"] == 6 and facts["seconds"] > 0
    for name, value in model.state_dict().items():
        assert torch.equal(kept.state_dict()[name], value.half().float() if value.is_floating_point() else value), name
    command = [
        "curve",
        "--run",
        folder / "kept",
        "--images",
        folder / "photos",
        "--every",
        "2",
        "--out",
        tmp_path / "points.csv",
    ]
    monkeypatch.setattr("sys.argv", [str(word) for word in command])
    curve.main()
    text = (tmp_path / "points.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 2 * 2 * 8 and {int(r["step"]) for r in rows} == {3, 6}
    for name in {r["image"] for r in rows}:
        rates = [float(r["bits_per_dim"]) for r in rows if r["image"] == name and r["step"] == "6"]
        assert rates == sorted(rates) and rates[0] > 0
    monkeypatch.setattr(curve, "measure", lambda *_: pytest.fail("measured again"))
    curve.main()
    assert (tmp_path / "points.csv").read_text() == text


def test_two_processes_train_one_model(folder, whole):
    two = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m"]
    trained = [
        "--data",
        folder / "photos",
        "--cache",
        whole / "cache",
        "--out",
        folder / "ddp" / "run",
        "--config",
        folder / "config.toml",
        "lr_muon=0.01",
    ]
    on_cpu = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*two, "codec.training.base.train", *trained], capture_output=True, text=True, timeout=600, env=on_cpu
    )
    assert done.returncode == 0, done.stderr[-2000:]
    got = state(folder / "ddp" / "run")
    assert got["step"] == 6
    alone = state(whole)
    adapted = [
        "--data",
        folder / "photos",
        "--cache",
        whole / "cache",
        "--base",
        folder / "ddp" / "run" / "last.pt",
        "--out",
        folder / "ddp" / "adapted",
        "steps=2",
        "batch=2",
        "crop=64",
        "refresh=1",
        "bf16=false",
    ]
    done = subprocess.run(
        [*two, "codec.training.base.adapt", *adapted], capture_output=True, text=True, timeout=600, env=on_cpu
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert state(folder / "ddp" / "adapted")["step"] == 2
    moved = [n for n, v in got["model"].items() if "body" in n and not torch.equal(v, alone["model"][n])]
    assert moved and all(v.isfinite().all() for v in got["model"].values() if v.is_floating_point())


def test_adapt_and_ship_give_a_model_that_codes(folder, whole, tmp_path):
    model, _ = load_base(whole / "last.pt")
    packs = open_packs(folder / "photos", None, whole / "cache", Mixture())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    adapt(AdaptConfig(steps=3, batch=2, crop=64, refresh=2, save=3, quantizer="tcq4"), model, packs, folder / "adapted")
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert {"g_a.stem.weight", "g_s.stem.weight", "prior.nets.0.stem.weight", "log2_igain"} <= moved
    assert not moved & {"g_a.lapped.weight", "g_a.klt.weight", "log2_gain"}  # the tokens are of the linear part
    rows = (folder / "adapted" / "validation.csv").read_text().splitlines()
    assert rows[0] == "step,level,bits_per_dim,rmse,seconds" and len(rows) == 9
    out = tmp_path / "model.safetensors"
    shipped = ship(
        folder / "adapted" / "last.pt", folder / "photos", whole / "cache", out, crops=3, rounds=1, tokens=TOKENS
    )
    again = zoo.read_model(out, 0)
    assert again.table_hash == shipped.table_hash and again.coder.trellis.name == "tcq4"
    rng = np.random.default_rng(0)
    v, tokens = rng.normal(0, 2, (24, 4, 6)).astype(np.float32), rng.integers(0, 32, (2, 3))
    sent = again.coder.encode(v, tokens, 3000, np.full(24, 8, np.float32))
    assert (shipped.coder.decode(tuple(sent.sections), 4, 6, 3000)[1] == sent.v_hat).all()
    begun = train(
        replace(configure(TrainConfig(), folder / "config.toml", []), lr=0.0),
        folder / "photos",
        folder / "begun",
        stop_at=1,
        begin=partial(begin_with, load_begin(out)),
    )
    for name, p in begun.named_parameters():
        assert torch.equal(p, dict(shipped.vqvae.named_parameters())[name]), name


def test_weights_for_a_lattice_are_not_shipped(folder, whole, tmp_path):
    packs = open_packs(folder / "photos", None, whole / "cache", Mixture())
    adapt(
        AdaptConfig(steps=2, batch=2, crop=64, refresh=1, quantizer="e8"),
        load_base(whole / "last.pt")[0],
        packs,
        folder / "adapted-e8",
    )
    with pytest.raises(SystemExit, match="no file holds latents of the quantiser e8"):
        ship(folder / "adapted-e8" / "last.pt", folder / "photos", whole / "cache", tmp_path / "model.safetensors")
    with pytest.raises(SystemExit, match="there is no quantiser 'leech'"):
        adapt(AdaptConfig(quantizer="leech"), load_base(whole / "last.pt")[0], packs, folder / "adapted-leech")


def test_step_sizes_of_another_range_of_qualities(whole):
    given, _ = load_base(whole / "last.pt")
    wider = VQVAE(replace(given.config, lambda_max=given.config.lambda_max * 2))
    begin_with(given, wider, None, None)
    old, new = (np.log(m.config.lambdas()) for m in (given, wider))
    table = given.log2_gain.detach().numpy()
    for k in range(len(new) - 1):
        expected = [np.interp(new[k], old, column) for column in table.T]
        assert np.allclose(wider.log2_gain[k].detach(), expected, atol=1e-5)
    slope = (table[-1] - table[-2]) / (old[-1] - old[-2])
    assert np.allclose(wider.log2_gain[-1].detach(), table[-1] + slope * (new[-1] - old[-1]), atol=1e-5)


def test_a_model_begins_with_another_that_has_another_filter_and_no_scales(whole):
    given, _ = load_base(whole / "last.pt")
    shape = replace(given.config, filter_width=8, filter_blocks=1, scales=True)
    model = VQVAE(shape)
    begin_with(given, model, None, None)
    x, level = torch.rand(1, 3, 64, 64), torch.tensor([2.0])
    with torch.no_grad():
        y = torch.randn(1, shape.channels, 4, 4)
        torch.testing.assert_close(model.in_steps(x, level)[0], given.in_steps(x, level)[0])
        torch.testing.assert_close(model.synthesise(y, level), given.synthesise(y, level, filtered=False))
        model.g_s.scale8.weight.add_(0.3), model.g_s.filter.head.weight.add_(0.1)
        assert not torch.equal(
            model.g_s.features(y, torch.ones(1, 3, 1, 1)), given.g_s.features(y, torch.ones(1, 3, 1, 1))
        )
    again = VQVAE(shape)
    begin_with(model, again, None, None)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    with pytest.raises(SystemExit, match="another shape: g_a.stem"):
        begin_with(given, VQVAE(replace(shape, width8=given.config.width8 * 2)), None, None)


def test_drawn_pictures_are_flat_or_have_two_colours():
    pictures = drawn(np.random.default_rng(3), 60, 32)
    colours = [len(np.unique(p.reshape(-1, 3), axis=0)) for p in pictures]
    assert 6 < colours.count(1) < 40 and max(colours) > 20
    ends = np.stack([pictures[:, ::31, ::31].min((1, 2)), pictures[:, ::31, ::31].max((1, 2))])
    assert np.isin(ends, (0, 255)).mean() > 0.5  # saturated, most of them


@pytest.mark.parametrize("quantizer", ["tcq4", "e8"])
def test_adapting_stopped_and_resumed_ends_in_the_same_state(folder, whole, quantizer):
    config = AdaptConfig(
        steps=4, batch=2, crop=64, refresh=2, save=1, bf16=False, quantizer=quantizer, lr_muon=0.004, drawn=0.3
    )
    for name, stops in (("once", (None,)), ("twice", (1, 3, None))):
        for stop in stops:
            adapt(
                config,
                load_base(whole / "last.pt")[0],
                open_packs(folder / "photos", None, whole / "cache", Mixture()),
                folder / (quantizer + name),
                stop,
            )
    a, b = state(folder / (quantizer + "once")), state(folder / (quantizer + "twice"))
    assert a["step"] == b["step"] == 4
    for part in ("model", "sender"):
        assert all(torch.equal(value, b[part][name]) for name, value in a[part].items())
    assert all(torch.equal(x, y) for x, y in zip(a["ema"], b["ema"], strict=True))


def test_muon_moves_the_inner_matrices_and_a_run_with_it_resumes(folder, whole):
    config = configure(TrainConfig(), folder / "config.toml", ["lr_muon=0.01"])
    for name, stops in (("muon", (None,)), ("muon-parts", (3, None))):
        for stop in stops:
            train(config, folder / "photos", folder / name, stop)
    a, b, adam = (state(folder / name)["model"] for name in ("muon", "muon-parts", "whole"))
    assert all(torch.equal(value, b[name]) for name, value in a.items())
    assert not torch.equal(a["g_a.body8.0.f.weight"], adam["g_a.body8.0.f.weight"])


def test_changed_tables_change_the_hash(folder, whole, tmp_path):
    arrays = {"a": np.arange(5, dtype=np.int32), "b": np.zeros((2, 2), np.int32)}
    first = hash_arrays(arrays)
    assert hash_arrays({**arrays, "b": np.eye(2, dtype=np.int32)}) != first
    assert hash_arrays({"a": arrays["a"], "b": arrays["b"].reshape(4)}) != first


def test_shards_and_folders_give_the_same_pictures(folder, tmp_path):
    import tarfile

    shards = tmp_path / "photos"
    shards.mkdir()
    with tarfile.open(shards / "photos-00.tar", "w") as tar:
        for p in sorted((folder / "photos").glob("*.png")):
            tar.add(p, p.name)
    a, b = Photos(folder / "photos", tmp_path / "a"), Photos(shards, tmp_path / "b")
    assert [e.photo for e in a.entries] == [e.photo for e in b.entries]
    assert all((a.pixels(x) == b.pixels(y)).all() for x, y in zip(a.entries, b.entries, strict=True))
    assert not {e.photo for e in a.train} & {e.photo for e in a.validation}


def test_crops_are_cut_on_a_card_as_on_disk(folder, whole):
    photos = Photos(folder / "photos", whole / "cache")
    on_disk = to_tensor(photos.crops(np.random.default_rng(3), 5, 64))
    places = photos.places(np.random.default_rng(3), 5, 64)
    assert {mirrored for *_, mirrored in places} == {False, True}
    assert torch.equal(cut(torch.from_numpy(np.array(photos._bytes)), places, 64), on_disk)


def test_a_cache_of_other_photographs_is_refused(folder, tmp_path):
    Photos(folder / "photos", tmp_path / "cache")
    with pytest.raises(SystemExit, match="photos"):
        Photos(tmp_path / "elsewhere", tmp_path / "cache")


def test_unknown_settings_are_refused(folder):
    with pytest.raises(SystemExit, match="unknown setting 'stepz'"):
        configure(TrainConfig(), folder / "config.toml", ["stepz=3"])


def test_lapped_filter_is_undone_by_the_inverse_matrix():
    rng = np.random.default_rng(0)
    forward, back = Lapped(16), Lapped(16)
    with torch.no_grad():
        forward.v.copy_(torch.eye(8) + torch.from_numpy(rng.normal(0, 0.2, (8, 8))).float())
        back.v.copy_(torch.linalg.inv(forward.v))
    x = torch.from_numpy(rng.normal(size=(2, 3, 48, 32))).float()
    assert torch.allclose(back(forward(x)), x, atol=1e-4)
    assert torch.allclose(lapped_matrix(torch.eye(8)), torch.eye(16), atol=1e-6)


def test_fitted_lapped_filter_beats_plain_blocks():
    """Coding gain on an AR(1) source: more than 0.15 dB over the 16-point DCT."""
    rho = 0.95 ** np.arange(48.0)
    v = start.fit_lapped(rho, 16)

    def gain(v):
        import scipy.fft

        dct = scipy.fft.dct(np.eye(16), norm="ortho", axis=0)
        p = lapped_matrix(v).double().numpy()
        both = np.kron(np.eye(2), p)
        cov = rho[np.abs(np.subtract.outer(np.arange(32), np.arange(32)))]
        a, s = dct @ both[8:24], np.linalg.inv(both)[:, 8:24] @ dct.T
        return -10 * np.log10(np.exp(np.log(np.diag(a @ cov @ a.T) * (s**2).sum(0)).mean()))

    assert gain(v) > gain(torch.eye(8).double()) + 0.15


def test_loss_weighs_rate_against_error():
    x = torch.zeros(2, 3, 8, 8)
    bits = torch.tensor([192.0, 384.0])
    loss, bpd, mse = rate_distortion(x, x + 0.1, bits, torch.tensor([0.01, 0.01]))
    assert bpd.tolist() == [1.0, 2.0] and mse[0].item() == pytest.approx(650.25, rel=1e-4)
    assert loss.item() == pytest.approx(4.5 + 6.5025, rel=1e-4)


def test_overrides_are_typed(folder):
    config = configure(TrainConfig(), folder / "config.toml", ["lr=0.5", "bf16=false"])
    assert config == replace(configure(TrainConfig(), folder / "config.toml", []), lr=0.5, bf16=False)


def test_every_ablation_is_a_model_that_trains():
    base, names = TrainConfig(), [(v.factor, v.name) for v in ablate.VARIANTS]
    assert len(set(names)) == len(names) and ablate.VARIANTS[0].change(base) == base
    for v in ablate.VARIANTS:
        config = v.change(base).model
        with torch.device("meta"):
            model = VQVAE(config)
        assert config.groups[-1].stop == config.channels and model.g_s.klt.weight.shape[1] == config.channels, v.name


def test_ablations_are_measured_once(folder):
    config = configure(TrainConfig(), folder / "config.toml", ["start_crops=60"])
    tiny = [v for v in ablate.VARIANTS if v.name in (ablate.BASELINE, "random transforms", "KLT of plain blocks")]
    for _ in range(2):
        ablate.run(tiny, config, 6, folder / "photos", folder, folder / "out", 1)
    with open(folder / "out" / "ablation_points.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 3 * 8 and not any(folder.glob("ablate*"))
    assert {r["steps"] for r in rows} == {"6"}  # all three have the same networks
    mean = {
        v.name: [
            np.mean([float(r["rmse"]) for r in rows if r["variant"] == v.name and float(r["level"]) == k])
            for k in range(8)
        ]
        for v in tiny
    }
    assert mean[ablate.BASELINE][0] > mean[ablate.BASELINE][4]
    assert min(mean["random transforms"]) > 2 * min(mean[ablate.BASELINE])  # a KLT needs no training, random weights do
    assert mean["KLT of plain blocks"] != mean[ablate.BASELINE]


def test_held_out_photographs_become_files(folder, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "sys.argv",
        [
            "held_out",
            "--data",
            str(folder / "photos"),
            "--out",
            str(tmp_path),
            *("--width", "256", "--height", "256", "--minimum", "256"),
        ],
    )
    held_out.main()
    (path,) = tmp_path.iterdir()
    assert np.array_equal(
        np.asarray(Image.open(path)), Photos(folder / "photos", whole / "cache").validation_crops(1, 256)[0]
    )


def test_a_setting_has_the_type_of_its_field():
    assert configure(TrainConfig(), None, ["late=.5", "lr=1"]) == replace(TrainConfig(), late=0.5, lr=1.0)
    for wrong in ("late=soon", "steps=2.5", "bf16=1"):
        with pytest.raises(SystemExit, match=wrong.split("=")[0] + ": .* is not a value like"):
            configure(TrainConfig(), None, [wrong])
