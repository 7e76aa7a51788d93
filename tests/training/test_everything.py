"""One command from photographs to weights that the package can use: everything.main with a recipe of a few steps."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time

import matplotlib.cbook
import numpy as np
import pytest
import torch
from PIL import Image

from codec import zoo
from codec.training import everything
from codec.training.base.adapt import AdaptConfig
from codec.training.base.narrow import NarrowConfig
from codec.training.base.train_refiner import RefinerTraining
from codec.training.config import TrainConfig, configure
from codec.training.data.photos import Photos
from codec.training.restoration import config as restoration
from codec.training.restoration.labels import LabelConfig
from tests.support.tiny import RECIPE, feature_networks

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """Stages run in this process, which has torch already."""

    def run(command):
        with monkeypatch.context() as here:
            here.setattr(sys, "argv", command[2:])
            try:
                importlib.import_module(command[2]).main()
            except SystemExit as error:
                print(error, file=sys.stderr)
                raise subprocess.CalledProcessError(1, command) from None

    monkeypatch.setattr(everything, "run", run)


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    (tmp_path / "photos").mkdir(), (tmp_path / "recipe").mkdir()
    hopper = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    for k in range(3):
        hopper.rotate(90 * k, expand=True).resize((400, 400)).save(tmp_path / "photos" / f"{k}.png")
    (tmp_path / "subjects.csv").write_text("photograph,subject\n0.png,upright\n1.png,lying\n2.png,upright\n")
    for name, text in RECIPE.items():
        (tmp_path / "recipe" / f"{name}.toml").write_text(text)
    feature_networks(tmp_path)
    given = {
        "data": "photos",
        "runs": "runs",
        "weights": "weights",
        "recipe": "recipe",
        "subjects": "subjects.csv",
        "vgg": "vgg.safetensors",
        "alex": "alex.safetensors",
        "heads": "heads.safetensors",
    }
    return [word for name, value in given.items() for word in (f"--{name}", str(tmp_path / value))] + [
        "--id",
        "1007",
        "--density",
        "20",
        "--crops",
        "2",
    ]


def test_weights_come_out_of_photographs_and_a_second_call_changes_nothing(tmp_path, arguments, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["everything", *arguments])
    everything.main()
    out, said = tmp_path / "weights", capfd.readouterr().err.splitlines()
    trained = [
        k
        for k, line in enumerate(said)
        if line.startswith(("codec.training.restoration.train ", "codec.training.restoration.labels "))
        and " took " not in line
    ]
    assert len(trained) == 5 and all(said[k + 1] == "its settings give it 1 h 0 min" for k in trained)
    model = zoo.read_model(out / "vqvae-1007.safetensors", 1007)
    assert model.vqvae.g_s.filter is not None and model.coder.trellis.name == "tcq4"
    assert model.config.arithmetic == "narrow"
    assert zoo.read_refiner(out / "refiner-1007.safetensors").config.channels == 24
    for name in everything.DECODERS:
        assert zoo.read_restorer(out / f"{name}-1007.safetensors").scale.shape == (16,)
    assert zoo.read_labels(out / "label-1007.safetensors").names == ("lying", "upright")
    manifest = json.loads((out / "manifest.json").read_text())
    assert [s["command"].split(".")[-1] for s in manifest["models"]["1007"]["stages"]] == [
        "train",
        "adapt",
        "narrow",
        "train_tokens",
    ]
    assert [len(manifest["semantic"][f"{name}-1007"]["stages"]) for name in everything.DECODERS] == [2, 3, 3]
    assert manifest["refiners"]["refiner-1007"]["stages"][0]["command"] == "python -m codec.training.base.train_refiner"
    assert manifest["models"]["1007"]["data"].startswith("3 photographs (0.48 megapixels), each also at 0.6")
    assert [len(s["hardware"]) for s in manifest["models"]["1007"]["stages"]] == [1] * 4
    assert "openly licensed" not in json.dumps(manifest)
    before = {p: p.read_bytes() for p in out.iterdir()}
    again = everything.stages(everything.arguments())
    assert [s.module for s in again if not s.finished()] == ["base.train", "base.adapt"]
    assert torch.load(tmp_path / "runs" / "gan" / "last.pt", weights_only=True)["step"] == 2
    again[0].run()
    assert before == {p: p.read_bytes() for p in out.iterdir()}
    os.utime(out / "vqvae-1007.safetensors", (0, 0))  # older than what it is made of: to be shipped again
    assert [s.finished() for s in again if s.module == "shipping.ship"] == [False]


def test_the_prior_may_stay_wide(tmp_path, arguments, monkeypatch):
    (tmp_path / "recipe" / "narrow.toml").unlink()
    monkeypatch.setattr(sys, "argv", ["everything", *arguments])
    with pytest.raises(SystemExit, match="no narrow.toml"):
        everything.check_inputs(everything.arguments())
    monkeypatch.setattr(sys, "argv", ["everything", *arguments, "--prior", "wide"])
    args = everything.arguments()
    everything.check_inputs(args)
    train, adapt, ship, *_ = everything.stages(args)
    assert [s.module for s in (train, adapt, ship)] == ["base.train", "base.adapt", "shipping.ship"]
    assert ship.source == tmp_path / "runs" / "adapted" / "last.pt" in ship.arguments


def test_a_stage_that_fails_is_named(tmp_path, arguments, monkeypatch, capfd):
    recipe = tmp_path / "recipe" / "train.toml"
    recipe.write_text(recipe.read_text().replace("\ncrop = 64", "\ncrop = 4096"))
    monkeypatch.setattr(sys, "argv", ["everything", *arguments])
    with pytest.raises(SystemExit, match="codec.training.base.train did not end"):
        everything.main()
    said = capfd.readouterr().err
    assert "4096 pixels" in said and "Traceback" not in said


def test_ctrl_c_is_for_the_stage_that_runs(tmp_path, arguments):
    """It saves its run, the command says how to go on, and no traceback is shown."""
    recipe = tmp_path / "recipe" / "train.toml"
    recipe.write_text(recipe.read_text().replace("steps = 2", "steps = 100000"))
    command = [sys.executable, "-m", "codec.training", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        log = tmp_path / "runs" / "base" / "log.csv"
        for _ in range(3000):
            if log.exists() or running.poll() is not None:
                break
            time.sleep(0.1)
        os.killpg(running.pid, signal.SIGINT)
        said = running.communicate(timeout=300)[1]
    assert running.returncode == 1 and "Traceback" not in said
    assert (
        "stopped after step" in said
        and "codec.training.base.train did not end, as it says above; started again" in said
    )
    assert (tmp_path / "runs" / "base" / "last.pt").exists()


def test_crops_larger_than_all_photographs_are_refused(tmp_path, arguments):
    photos = Photos(tmp_path / "photos", tmp_path / "cache")
    assert photos.crops(np.random.default_rng(0), 2, 400).shape == (2, 400, 400, 3)
    with pytest.raises(SystemExit, match="401 pixels"):
        photos.crops(np.random.default_rng(0), 1, 401)


@pytest.mark.parametrize("file", sorted(everything.RECIPE.rglob("*.toml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_recipes_of_the_package_name_settings_that_exist(file):
    configs = {"train": TrainConfig(), "adapt": AdaptConfig(), "narrow": NarrowConfig(), "label": LabelConfig()}
    configs["refiner"] = RefinerTraining()
    config = configs.get(file.stem, restoration.RestorationConfig())
    assert configure(config, file, []) != config


@pytest.mark.parametrize(
    "broken, word",
    [
        ("vgg.safetensors", "vgg"),
        ("heads.safetensors", "heads"),
        ("recipe/gan.toml", "gan.toml"),
        ("recipe/tokens.toml", "tokens.toml"),
        ("subjects.csv", "subjects.csv"),
    ],
)
def test_inputs_of_the_last_stages_are_read_before_the_first_begins(tmp_path, arguments, monkeypatch, broken, word):
    path = tmp_path / broken
    path.unlink() if path.suffix == ".toml" else path.write_text("photograph,subject\n")
    monkeypatch.setattr(sys, "argv", ["everything", *arguments])
    with pytest.raises(SystemExit, match=word):
        everything.main()
    assert not (tmp_path / "runs").exists()
