"""One command from photographs to weights that the package can use: everything.main with a recipe of a few steps."""

import importlib
import json
import os
import subprocess
import sys

import matplotlib.cbook
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from codec import zoo
from codec._compat import import_torchvision
from codec.training import everything
from codec.training.base.adapt import AdaptConfig
from codec.training.config import TrainConfig, configure
from codec.training.data.photos import Photos
from codec.training.restoration.train_diffusion import DiffusionConfig
from codec.training.restoration.train_gan import GanConfig
from tests.support.tiny import RECIPE


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """Stages run in this process, which has torch already."""

    def run(command, check):
        with monkeypatch.context() as here:
            here.setattr(sys, "argv", command[2:])
            try:
                importlib.import_module(command[2]).main()
            except SystemExit as error:
                print(error, file=sys.stderr)
                raise subprocess.CalledProcessError(1, command) from None

    monkeypatch.setattr(everything.subprocess, "run", run)


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    (tmp_path / "photos").mkdir(), (tmp_path / "recipe").mkdir()
    hopper = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    for k in range(3):
        hopper.rotate(90 * k, expand=True).resize((400, 400)).save(tmp_path / "photos" / f"{k}.png")
    (tmp_path / "subjects.csv").write_text("photograph,subject\n0.png,upright\n1.png,lying\n2.png,upright\n")
    for name, text in RECIPE.items():
        (tmp_path / "recipe" / f"{name}.toml").write_text(text)
    save_file(import_torchvision().models.squeezenet1_1().state_dict(), tmp_path / "squeeze.safetensors")
    given = {"data": "photos", "runs": "runs", "weights": "weights", "recipe": "recipe", "subjects": "subjects.csv", "feature-weights": "squeeze.safetensors"}
    return [word for name, value in given.items() for word in (f"--{name}", str(tmp_path / value))] + ["--id", "1007", "--shards", "1", "--size", "2", "--crops", "2"]


def test_weights_come_out_of_photographs_and_a_second_call_changes_nothing(tmp_path, arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["everything", *arguments])
    everything.main()
    out = tmp_path / "weights"
    model = zoo.read_model(out / "vqvae-1007.safetensors", 1007)
    assert model.vqvae.g_s.filter is not None and model.coder.trellis.name == "tcq4"
    for name in everything.DECODERS:
        assert zoo.read_semantic(out / f"{name}-1007.safetensors").sd.shape == (24,)
    assert zoo.read_labels(out / "label-1007.safetensors").names == ("lying", "upright")
    manifest = json.loads((out / "manifest.json").read_text())
    assert [s["command"].split(".")[-1] for s in manifest["models"]["1007"]["stages"]] == ["train", "adapt"]
    assert [len(manifest["semantic"][f"{name}-1007"]["stages"]) for name in everything.DECODERS] == [1, 1, 2]
    assert manifest["models"]["1007"]["data"].startswith("3 photographs (0.48 megapixels), each also at 0.6")
    assert [len(s["hardware"]) for s in manifest["models"]["1007"]["stages"]] == [1, 1]
    assert "openly licensed" not in json.dumps(manifest)
    before = {p: p.read_bytes() for p in out.iterdir()}
    again = everything.stages(everything.arguments())
    assert [s.command for s in again if not s.finished()] == ["base.train", "base.adapt", *(f"restoration.{name}" for name in ("latents", "train_diffusion", "train_gan", "train_gan", "train_labels"))]
    assert torch.load(tmp_path / "runs" / "gan" / "last.pt", weights_only=True)["step"] == 2
    again[0].run()
    assert before == {p: p.read_bytes() for p in out.iterdir()}
    os.utime(out / "vqvae-1007.safetensors", (0, 0))  # older than what it is made of: to be shipped again
    assert [s.finished() for s in again if s.command == "shipping.ship"] == [False]


def test_a_stage_that_fails_is_named(tmp_path, arguments, monkeypatch, capfd):
    (tmp_path / "recipe" / "train.toml").write_text("stepz = 3\n")
    monkeypatch.setattr(sys, "argv", ["everything", *arguments])
    with pytest.raises(SystemExit, match="codec.training.base.train failed"):
        everything.main()
    assert "unknown setting 'stepz'" in capfd.readouterr().err


def test_crops_larger_than_all_photographs_are_refused(tmp_path, arguments):
    photos = Photos(tmp_path / "photos", tmp_path / "cache")
    assert photos.crops(np.random.default_rng(0), 2, 400).shape == (2, 400, 400, 3)
    with pytest.raises(SystemExit, match="401 pixels"):
        photos.crops(np.random.default_rng(0), 1, 401)


@pytest.mark.parametrize("folder", [everything.RECIPE, everything.RECIPE / "card"])
def test_recipes_of_the_package_name_settings_that_exist(folder):
    configs = {"train": TrainConfig(), "adapt": AdaptConfig(), "ldm": DiffusionConfig(), "perceptual": GanConfig(), "gan": GanConfig()}
    found = {name: configure(config, folder / f"{name}.toml", []) for name, config in configs.items()}
    assert found["train"].model.filter_blocks == 6 and found["train"].lr_muon > 0 and found["ldm"].feature == 0.6
    assert found["gan"].adversarial > 0 == found["perceptual"].adversarial
    assert configure(AdaptConfig(), everything.RECIPE / "core" / "adapt.toml", []).quantizer == "tcq128"
