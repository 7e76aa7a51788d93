"""Training of the semantic decoders on cached latents of a small untrained model: caching, resuming, learning, shipping."""

import copy
import csv
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from codec import zoo
from codec._compat import import_torchvision
from codec.coding.model import PerceptualModel
from codec.coding.trellis import TCQ128
from codec.diffusion.precondition import Preconditioned
from codec.models.denoiser import DenoiserConfig
from codec.models.discriminator import Discriminator, DiscriminatorConfig
from codec.models.semantic import Semantic
from codec.training.base.adapt import Sender, send
from codec.training.base.tables import analytic_tables
from codec.training.config import configure
from codec.training.data.photos import to_tensor
from codec.training.data.shards import stream
from codec.training.features import FeatureLoss
from codec.training.restoration import latents, nll, refit, ship_semantic, train_diffusion, train_gan, train_labels
from codec.training.restoration.restore import Store, start_from
from tests.support.small import CONFIG, small_coder, small_model

SHAPE = DenoiserConfig(channels=CONFIG.channels, width=16, blocks=2, kernel=3, attend=1, heads=2, context=8, embedding=16)
SHORT = {"steps": 6, "batch": 2, "window": 4, "warmup": 2, "validate": 6, "save": 2, "model": SHAPE}


@pytest.fixture(scope="module")
def model() -> PerceptualModel:
    net = small_model().requires_grad_(False)
    coder, arrays = small_coder(net)
    return PerceptualModel(0, zoo.hash_arrays(arrays), CONFIG, net, coder)


@pytest.fixture(scope="module")
def folder(model, photo, tmp_path_factory):
    """Two shards and a validation file of crops of 128 pixels."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("latents")
    pixels = np.asarray(photo)
    crops = [pixels[i : i + 128, j : j + 128] for i in (0, 150, 300) for j in (0, 120, 240, 360)]
    sender = Sender(TCQ128, analytic_tables())
    for name, at in (("shard-000", slice(0, 5)), ("shard-001", slice(5, 10)), ("validation", slice(10, 12))):
        latents.describe(model.vqvae, sender, np.stack(crops[at]), np.arange(at.start, at.stop) * 0.6, np.arange(at.start, at.stop)).save(out / f"{name}.safetensors")
    return out


@pytest.fixture(scope="module")
def store(folder, model) -> Store:
    return Store(folder, model.vqvae)


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> FeatureLoss:
    """Random weights: what the network knows does not matter here."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeeze.safetensors"
    save_file(import_torchvision().models.squeezenet1_1().state_dict(), path)
    return FeatureLoss(path)


def state(run) -> dict:
    return torch.load(run / "last.pt", weights_only=True)


def same(a: dict, b: dict) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a) and set(a) == set(b)


def test_cached_latents_are_those_of_the_model(folder, model):
    found = latents.Latents.load(folder / "shard-000.safetensors")
    assert found.x.shape == (5, 128, 128, 3) and found.y.shape == found.decoded.shape == found.enlarged.shape == (5, CONFIG.channels, 8, 8)
    top = torch.tensor([CONFIG.anchors - 1.0])
    y = model.vqvae.analyse(to_tensor(found.x[1:2]), top)[0]
    assert np.allclose(found.y[1], y[0].numpy(), atol=2e-2)
    error = [np.square(v[0].astype(float) - found.y[0]).mean() for v in (found.decoded, found.enlarged)]
    assert min(error) > 0 and found.factor.tolist() == [2, 4, 2, 4, 2]


def test_streams_for_training_are_those_of_the_codec(model, photo):
    """The float prior and the search on tensors against the integer prior and the search of the encoder."""
    pixels = np.asarray(photo)[:128, :192]
    for level in (1000, 3000, 5500):
        sent = stream(model, pixels, level)
        tokens, y_hat, bits = send(model.vqvae, Sender(TCQ128, analytic_tables()), to_tensor(pixels[None].copy()), sent.position)
        assert torch.equal(tokens, sent.tokens) and bits.item() == pytest.approx(sent.bits, rel=0.01)
        y = model.vqvae.analyse(to_tensor(pixels[None].copy()), sent.position)[0]
        ours, theirs = ((other - y).square().mean().item() for other in (y_hat, sent.y_hat))  # other walks of the same cost, where mu is rounded
        assert ours == pytest.approx(theirs, rel=0.05)


def test_windows_of_a_batch_belong_together(store, model):
    config = train_diffusion.DiffusionConfig(**SHORT, upscale=0.0, drop=0.0)
    net = Semantic(SHAPE, CONFIG.anchors, store.vqvae.tokens.codebook.shape[1])
    batch = store.draw(np.random.default_rng(0), config, net)
    assert batch.x.shape == (2, 3, 64, 64) and batch.y.shape == (2, CONFIG.channels, 4, 4) and batch.condition.context.values.shape == (2, 4, 8)
    whole = [latents.Latents.load(p).x for p in store.paths]
    assert any(np.array_equal(crop[i : i + 64, j : j + 64], (batch.x[0].permute(1, 2, 0) * 255).round().byte().numpy())
               for shard in whole for crop in shard for i in range(0, 65, 32) for j in range(0, 65, 32))  # fmt: skip


def test_scales_are_measured(store):
    net = Semantic(SHAPE, CONFIG.anchors, store.vqvae.tokens.codebook.shape[1])
    store.fit(net)
    found = latents.Latents.join([latents.Latents.load(p) for p in store.paths])
    at_two = found.factor == 2
    wanted = np.sqrt(np.square(found.y[at_two].astype(float) - found.enlarged[at_two]).mean((0, 2, 3)))
    assert np.allclose(net.scale[CONFIG.anchors].numpy(), wanted, rtol=1e-3)


@pytest.mark.parametrize("feature", [0.0, 0.5])
def test_diffusion_stopped_and_resumed_ends_in_the_same_state(store, features, tmp_path, feature):
    config = train_diffusion.DiffusionConfig(**SHORT, feature=feature)
    train_diffusion.train(config, store, tmp_path / "whole", features=features)
    for stop in (2, 4, None):
        train_diffusion.train(config, store, tmp_path / "parts", stop, features=features)
    a, b = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert same(a["model"], b["model"]) and all(torch.equal(x, y) for x, y in zip(a["ema"], b["ema"], strict=True))
    assert (tmp_path / "whole" / "validation.csv").read_text().split("\n")[1].split(",")[:-1] == (tmp_path / "parts" / "validation.csv").read_text().split("\n")[1].split(",")[:-1]


def test_diffusion_learns(store, tmp_path):
    config = train_diffusion.DiffusionConfig(**{**SHORT, "steps": 150, "validate": 150, "save": 150, "lr": 3e-3})
    train_diffusion.train(config, store, tmp_path / "run")
    with open(tmp_path / "run" / "log.csv", newline="") as f:
        losses = [float(row["elbo"]) for row in csv.DictReader(f)]
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_gan_stopped_and_resumed_ends_in_the_same_state(store, features, tmp_path, adversarial):
    config = train_gan.GanConfig(**SHORT, adversarial=adversarial, discriminator=DiscriminatorConfig(widths=(8, 8, 8), condition=4))
    train_gan.train(config, store, features, tmp_path / "whole")
    for stop in (2, None):
        train_gan.train(config, store, features, tmp_path / "parts", stop)
    a, b = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert same(a["model"], b["model"]) and same(a["discriminator"], b["discriminator"])
    begun = train_gan.GanConfig(**SHORT).discriminator
    assert begun.widths == (64, 128, 256)


def test_the_perceptual_decoder_lowers_its_loss(store, features, tmp_path):
    config = train_gan.GanConfig(**{**SHORT, "steps": 60, "validate": 60, "lr": 3e-3, "ema": 0.9})
    net = Semantic(SHAPE, CONFIG.anchors, store.vqvae.tokens.codebook.shape[1])
    store.fit(net)
    generator = train_gan.Generator(net, store.vqvae)
    before = train_gan.validate(generator, store, features, config)
    generator.net = train_gan.train(config, store, features, tmp_path / "run")
    after = train_gan.validate(generator, store, features, config)
    assert before["stream_rmse"] == pytest.approx(before["stream_plain_rmse"])  # it starts as no restoration at all
    assert after["stream_distance"] < before["stream_distance"] or after["stream_rmse"] < before["stream_rmse"]


def test_a_gan_begins_as_the_perceptual_decoder_it_came_from(store, features, tmp_path):
    """Not with the full noise that a decoder trained without any would add."""
    small = {**SHORT, "steps": 60, "validate": 60, "save": 1, "lr": 3e-3, "ema": 0.0}
    perceptual = train_gan.GanConfig(**small)
    before = train_gan.validate(train_gan.Generator(train_gan.train(perceptual, store, features, tmp_path / "p"), store.vqvae), store, features, perceptual)
    gan = train_gan.GanConfig(**{**small, "lr": 0.0}, adversarial=0.1)
    begun = train_gan.train(gan, store, features, tmp_path / "g", 1, begin=tmp_path / "p" / "last.pt")
    after = train_gan.validate(train_gan.Generator(begun, store.vqvae), store, features, gan)
    assert after["stream_rmse"] == pytest.approx(before["stream_rmse"], rel=0.02)


def test_discriminator_looks_at_picture_and_condition():
    torch.manual_seed(0)
    judge = Discriminator(DiscriminatorConfig(channels=24, widths=(8, 16, 16), condition=8)).eval()
    x, y = torch.rand(2, 3, 64, 64), torch.randn(2, 24, 4, 4)
    logits = judge(x, y)
    assert logits.shape == (2, 1, 4, 4)
    assert not torch.allclose(logits, judge(1 - x, y)) and not torch.allclose(logits, judge(x, -y))


def test_a_run_begins_where_another_ended(store, tmp_path):
    train_diffusion.train(train_diffusion.DiffusionConfig(**SHORT), store, tmp_path / "a")
    fresh = Semantic(SHAPE, CONFIG.anchors, store.vqvae.tokens.codebook.shape[1])
    start_from(fresh, tmp_path / "a" / "last.pt", keep_head=True)
    shipped = ship_semantic.averaged(state(tmp_path / "a"))
    assert all(torch.equal(x, y) for x, y in zip(fresh.parameters(), shipped.parameters(), strict=True))
    start_from(fresh, tmp_path / "a" / "last.pt")
    assert not fresh.network.head.weight.any()


def test_shipping_writes_weights_and_their_record(store, tmp_path, monkeypatch):
    config = train_diffusion.DiffusionConfig(**{**SHORT, "steps": 50, "validate": 50, "save": 50, "batch": 1, "window": 2})
    train_diffusion.train(config, store, tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["ship_semantic", "--runs", str(tmp_path / "run"), "--out", str(tmp_path / "ldm-7.safetensors")])
    ship_semantic.main()
    record = json.loads((tmp_path / "manifest.json").read_text())["semantic"]["ldm-7"]
    assert record["stages"][0]["command"].endswith("train_diffusion") and record["file"] == "ldm-7.safetensors" and record["stages"][0]["steps"] == 50 and record["stages"][0]["hardware"][0]["threads"] == 1
    monkeypatch.setattr(sys, "argv", [*sys.argv[:4], str(tmp_path / "ldm-8.safetensors"), "--begun-from", "ldm-7"])
    ship_semantic.main()
    assert json.loads((tmp_path / "manifest.json").read_text())["semantic"]["ldm-8"]["stages"] == 2 * record["stages"]
    assert record["parameters"] == sum(p.numel() for p in zoo.read_semantic(tmp_path / "ldm-7.safetensors").parameters())


@pytest.fixture(scope="module")
def diffusion(store, tmp_path_factory):
    """A network whose attention is not zero any more."""
    config = train_diffusion.DiffusionConfig(**{**SHORT, "steps": 30, "validate": 30, "save": 30, "lr": 3e-3})
    net = train_diffusion.train(config, store, tmp_path_factory.mktemp("ldm")).eval().requires_grad_(False)
    for layer in net.network.attention:
        torch.nn.init.normal_(layer.out.weight, std=0.1)
    return net


def test_labels_stopped_and_resumed_are_the_same_and_the_network_stays(store, features, diffusion, tmp_path, monkeypatch):
    config, label = train_labels.LabelConfig(**SHORT, tokens=3, feature=0.5), torch.arange(12) % 2
    before = [p.clone() for p in diffusion.parameters()]
    whole = train_labels.train(config, diffusion, store, ("even", "odd"), label, tmp_path / "whole", features=features)
    for stop in (2, None):
        parts = train_labels.train(config, diffusion, store, ("even", "odd"), label, tmp_path / "parts", stop, features=features)
    assert torch.equal(whole.conditioner.tokens, parts.conditioner.tokens) and whole.conditioner.tokens.shape == (2, 3, 8)
    assert all(torch.equal(a, b) for a, b in zip(before, diffusion.parameters(), strict=True))
    monkeypatch.setattr(sys, "argv", ["ship_semantic", "--runs", str(tmp_path / "whole"), "--out", str(tmp_path / "label-7.safetensors")])
    ship_semantic.main()
    shipped = zoo.read_labels(tmp_path / "label-7.safetensors")
    assert shipped.names == ("even", "odd") and torch.allclose(shipped.conditioner.tokens, whole.conditioner.tokens, atol=1e-3)
    record = json.loads((tmp_path / "manifest.json").read_text())["semantic"]["label-7"]
    assert record["parameters"] == 48 and record["stages"][0]["command"].endswith("train_labels")


def test_refitting_measures_the_scales_and_keeps_the_network(store, folder, diffusion, tmp_path, monkeypatch):
    old = copy.deepcopy(diffusion)
    old.scale.mul_(3), old.sd.mul_(0.5)  # those of another model's latents
    zoo.write_semantic(tmp_path / "ldm-7.safetensors", old)
    (tmp_path / "label-7.safetensors").write_bytes(b"labels")
    stages = [{"command": "python -m codec.training.restoration.train_diffusion", "steps": 30}]
    record = {"semantic": {f"{name}-7": {"file": f"{name}-7.safetensors", "hardware": "a test", "stages": stages, **kind} for name, kind in (("ldm", {"decoder": "ldm"}), ("label", {"labels_of": "ldm"}))}}
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    monkeypatch.setattr(refit, "load_adapted", lambda path: (store.vqvae, None))
    for name in ("ldm", "label"):
        monkeypatch.setattr(sys, "argv", ["refit", "--latents", str(folder), "--base", "x", "--weights", str(tmp_path / f"{name}-7.safetensors"), "--out", str(tmp_path / f"{name}-8.safetensors")])
        refit.main()
        entry = json.loads((tmp_path / "manifest.json").read_text())["semantic"][f"{name}-8"]
        assert entry["hardware"] == "a test" and entry["stages"] == stages and entry["refitted_from"] == f"{name}-7" and entry["model"] == 8
    before, after = (zoo.read_semantic(tmp_path / f"ldm-{k}.safetensors") for k in (7, 8))
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    assert torch.allclose(after.scale, diffusion.scale, rtol=1e-2) and torch.allclose(after.sd, diffusion.sd, rtol=1e-2) and not torch.allclose(before.sd, after.sd, rtol=0.1)
    assert (tmp_path / "label-8.safetensors").read_bytes() == b"labels"
    other = Semantic(diffusion.network.config, store.anchors + 1, store.vqvae.tokens.codebook.shape[1])
    with pytest.raises(SystemExit, match="another shape"):
        refit.refit(other, store)


def test_labels_learn_what_tells_pictures_apart(store, diffusion, tmp_path):
    """Every photograph has a label of its own here, so that a label can say much of it; that of another photograph says less."""
    config, own = train_labels.LabelConfig(**{**SHORT, "steps": 200, "validate": 200, "save": 200, "warmup": 5, "upscale": 0.0}, lr=0.03, sigma_mean=1.5), torch.arange(12)
    found = train_labels.train(config, diffusion, store, tuple(map(str, range(12))), own, tmp_path / "run").conditioner

    def loss(label: torch.Tensor) -> float:
        total = 0.0
        for k in range(60):
            batch, g = store.draw(np.random.default_rng(k), config, diffusion), torch.Generator().manual_seed(k)
            given = train_labels.labelled(batch, found, label[batch.photo])
            total += train_diffusion.losses(Preconditioned(diffusion), diffusion, store.vqvae, given, torch.randn(batch.y.shape, generator=g), torch.full((2,), 4.0), None, config)[0].sum().item()
        return total

    with torch.no_grad():
        assert loss(own) < 0.99 * loss((own + 3) % 10)
    with open(tmp_path / "run" / "validation.csv", newline="") as f:
        assert set(next(csv.DictReader(f))) == {"step", "seconds", *(f"{k}_{s:g}" for k in ("right", "wrong") for s in train_diffusion.VALIDATION_SIGMAS)}


def test_subjects_are_read_by_the_names_of_photographs(tmp_path):
    from codec.training.data.photos import Photos

    source = tmp_path / "photographs"
    source.mkdir()
    Image.new("RGB", (300, 300)).save(source / "a.png"), Image.new("RGB", (300, 300), "red").save(source / "b.png")
    photos = Photos(source, tmp_path / "cache")
    (tmp_path / "s.csv").write_text("photograph,subject\nb.png,sky\na.png,land\n")
    names, label = train_labels.read_subjects(tmp_path / "s.csv", photos)
    assert names == ("land", "sky") and label.tolist() == [0, 1]
    (tmp_path / "s.csv").write_text("photograph,subject\nb.png,sky\n")
    with pytest.raises(SystemExit, match=r"nothing of a\.png \(1 photographs are missing\)"):
        train_labels.read_subjects(tmp_path / "s.csv", photos)


def test_missing_files_are_one_sentence(tmp_path, model):
    with pytest.raises(SystemExit, match="no shards of latents"):
        Store(tmp_path, model.vqvae)
    with pytest.raises(SystemExit, match="SqueezeNet"):
        FeatureLoss(tmp_path / "none.safetensors")
    (tmp_path / "wrong.safetensors").write_bytes(b"wrong")
    with pytest.raises(SystemExit, match="SqueezeNet"):
        FeatureLoss(tmp_path / "wrong.safetensors")


def test_settings_by_name():
    config = configure(train_diffusion.DiffusionConfig(), None, ["steps=7", "sigma_max=30.5"])
    assert (config.steps, config.sigma_max) == (7, 30.5)
    with pytest.raises(SystemExit, match="nonsense"):
        configure(config, None, ["nonsense=1"])


@pytest.mark.parametrize("command", [latents, nll, refit, ship_semantic, train_diffusion, train_gan])
def test_commands_say_how_they_are_used(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    with pytest.raises(SystemExit) as exit:
        command.main()
    assert exit.value.code == 0 and "--out" in capsys.readouterr().out


def test_enlarging_loses_detail(photo):
    pixels = np.asarray(photo)[:64, :96]
    bigger = latents.enlarge(pixels, 4)
    assert bigger.shape == pixels.shape
    small = Image.fromarray(pixels).resize((24, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(bigger, np.asarray(small.resize((96, 64), Image.Resampling.BICUBIC)))
