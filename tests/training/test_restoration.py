"""Training of the semantic stage on a small network: crops, resuming, learning, going back, shipping."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch

from codec.coding.trellis import TCQ128
from codec.models.denoiser import DenoiserConfig
from codec.models.painter import PainterConfig
from codec.models.restorer import UPSCALES
from codec.training.base.adapt import Sender
from codec.training.base.tables import analytic_tables
from codec.training.restoration import crops, ship
from codec.training.restoration.batches import Store, enlarge
from codec.training.restoration.config import STAGES, RestorationConfig
from codec.training.restoration.labels import LabelConfig, LabelStage, subjects
from codec.training.restoration.parts import load_parts
from codec.training.restoration.perception import ALEXNET, VGG16, Perception
from codec.training.restoration.train import RestorationStage
from tests.support.small import CONFIG, PAINTER, SHAPE, small_model
from tests.support.tiny import feature_networks

pytestmark = pytest.mark.slow

SHORT = RestorationConfig(
    seconds=3600, steps=3, batch=2, window=64, warmup=1, bf16=False, painter=PAINTER, denoiser=SHAPE
)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    feature_networks(folder)
    return tuple(
        Perception(t, folder / f"{t.name}.safetensors", folder / "heads.safetensors") for t in (VGG16, ALEXNET)
    )


@pytest.fixture(scope="module")
def model():
    return small_model().requires_grad_(False)


@pytest.fixture(scope="module")
def stores(model, photo, tmp_path_factory):
    """Training and validation crops of 128 pixels."""
    torch.set_num_threads(1)
    out, pixels = tmp_path_factory.mktemp("crops"), np.asarray(photo)
    tiles = np.stack([pixels[i : i + 128, j : j + 128] for i in (0, 150, 300) for j in (0, 120, 240, 360)])
    sender = Sender(TCQ128, analytic_tables())
    for name, at in (("train", slice(0, 9)), ("validation", slice(9, 12))):
        numbers = np.arange(at.start, at.stop)
        crops.describe(model, sender, tiles[at], numbers * 0.6, numbers, 4).save(out / f"{name}.safetensors", "")
    return tuple(Store([out / f"{name}.safetensors"], CONFIG.anchors, "cpu") for name in ("train", "validation"))


def trainer(stage, config, stores, networks, model, folder, begin=None) -> RestorationStage:
    return RestorationStage(
        stage, config, *stores, *networks, CONFIG.anchors, model.tokens.centroids(model.sd).float(), folder, begin
    )


@pytest.fixture(scope="module")
def autoencoder(stores, networks, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder")
    trainer("autoencoder", SHORT, stores, networks, model, folder).run()
    return folder


def test_crops_are_what_the_stream_leaves(stores, model):
    store = stores[0]
    assert store.x.shape == store.x_c.shape == (9, 128, 128, 3) and store.tokens.shape == (9, 4, 4)
    again = model.tokens.assign(model.g_a.linear(store.x.permute(0, 3, 1, 2).float() / 255 - 0.5), model.sd)
    assert torch.equal(again, store.tokens.long())
    error = (store.x.float() - store.x_c.float()).square().mean((1, 2, 3))
    assert (error > 0).all()


def test_windows_fit_their_tokens_and_enlargements_are_marked(stores):
    rng = np.random.default_rng(0)
    batch = stores[0].draw(rng, 8, 64, 0.5)
    assert batch.x.shape == batch.x_c.shape == (8, 3, 64, 64) and batch.tokens.shape == (8, 2, 2)
    assert batch.enlarged.tolist() == [True] * 4 + [False] * 4
    assert sorted(batch.task[:4].tolist()) == [CONFIG.anchors + k for k in (0, 0, 1, 1)]
    assert torch.equal(batch.x_c[0], enlarge(batch.x[:1], UPSCALES[0])[0])


def test_every_stage_trains_what_it_should(stores, networks, model, autoencoder, tmp_path):
    begun = load_parts(autoencoder)
    for stage in STAGES[1:]:
        t = trainer(stage, SHORT, stores, networks, model, tmp_path / stage, autoencoder)
        t.run()
        after = load_parts(tmp_path / stage)
        moved = {
            name.split(".")[1]
            for name, value in after.items()
            if name.startswith("net.") and not torch.equal(value, begun[name])
        }
        assert {"denoiser", "painter"} <= moved and "encoder" not in moved and "scale" not in moved, stage
        assert set(ship.meta(tmp_path / stage)) >= {"stage", "config", "step", "seconds", "anchors"}


def test_the_autoencoder_begins_at_the_klt_and_learns(stores, networks, model, tmp_path):
    config = dataclasses.replace(SHORT, steps=25, batch=4, lr=2e-3, adversarial_from=2.0)
    t = trainer("autoencoder", config, stores, networks, model, tmp_path / "run")
    residual = (stores[0].x.float() - stores[0].x_c.float()).div(255).square().mean().sqrt()
    assert 0.3 * residual < t.net.residual[:8].max() < 3 * residual
    batch = stores[1].whole(0, 3)

    def error() -> float:
        return (t.restored(batch) - batch.x).square().mean().item()

    before = error()
    assert before < 0.9 * (batch.x_c - batch.x).square().mean().item()  # the KLT alone restores something
    t.run()
    assert error() < before


def test_stopped_and_started_again_it_ends_where_it_would_have(stores, networks, model, autoencoder, tmp_path):
    config = dataclasses.replace(SHORT, seconds=1e9, steps=4, adversarial_from=-1.0)

    def run(name, stop_at):
        t = trainer("gan", config, stores, networks, model, tmp_path / name, autoencoder)
        t.run(stop_at)
        return t

    whole = run("whole", None)
    run("part", 2)
    again = run("part", None)
    assert again.loop.steps == 4
    for a, b in ((again.net, whole.net), (again.judge, whole.judge)):
        after, wanted = a.state_dict(), b.state_dict()
        assert all(torch.equal(after[k], wanted[k]) for k in wanted)


def test_what_has_to_begin_with_another_run_says_so(stores, networks, model, tmp_path):
    with pytest.raises(SystemExit, match="ldm begins with the weights of another run"):
        trainer("ldm", SHORT, stores, networks, model, tmp_path / "ldm")


def test_a_run_becomes_a_weights_file_with_its_record(autoencoder, stores, networks, model, tmp_path, monkeypatch):
    trainer("ldm", SHORT, stores, networks, model, tmp_path / "ldm", autoencoder).run()
    out = tmp_path / "w" / "ldm-1007.safetensors"
    monkeypatch.setattr("sys.argv", ["ship", "--runs", str(autoencoder), str(tmp_path / "ldm"), "--out", str(out)])
    ship.main()
    entry = json.loads((out.parent / "manifest.json").read_text())["semantic"]["ldm-1007"]
    assert entry["decoder"] == "ldm" and [s["command"].split()[-1] for s in entry["stages"]] == ["autoencoder", "ldm"]
    assert [s["steps"] for s in entry["stages"]] == [3, 3] and entry["stages"][0]["hardware"]


def test_labels_of_photographs(tmp_path):
    (tmp_path / "s.csv").write_text("photograph,subject\na.tar/1.png,sea\na.tar/2.png,cat\n")
    names, label = subjects(tmp_path / "s.csv", ["2.png", "1.png", "9.png"])
    assert names == ("cat", "sea") and label.tolist() == [0, 1, -1]
    with pytest.raises(SystemExit, match="says nothing"):
        subjects(tmp_path / "s.csv", ["9.png"])


def test_labels_move_and_the_network_does_not(stores, networks, model, autoencoder, tmp_path):
    net = ship.restorer(autoencoder)
    torch.manual_seed(0)
    for attention in net.denoiser.attention:
        attention.out.weight.normal_(std=0.5)
    net.denoiser.head.weight.normal_(std=0.5)
    before, label = copy.deepcopy(net.state_dict()), torch.arange(12) % 2
    config = LabelConfig(seconds=3600, steps=3, batch=2, window=64, tokens=2)
    t = LabelStage(
        config, net, *stores, label, 2, networks[0], model.tokens.centroids(model.sd).float(), tmp_path / "run"
    )
    first = t.conditioner.tokens.detach().clone()
    t.run(("a", "b"))
    found = ship.labels(tmp_path / "run")
    assert found.names == ("a", "b") and not torch.equal(found.conditioner.tokens, first)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_shapes_of_the_package_fit_each_other():
    assert DenoiserConfig().latent == 4 * PainterConfig().latent
