"""Commands of the semantic stage say in a sentence what they cannot use."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from codec import manifest, zoo
from codec.training.data.shards import VALIDATION
from codec.training.restoration import crops

REFUSALS = [
    ("nll", "--images empty --out new", "there are no pictures in empty"),
    ("nll", "--images bad --out new", "bad/x.png: "),
    ("ship", "--runs missing --out a-6000.safetensors", "there is no run in missing"),
]


@pytest.mark.parametrize(("command", "words", "sentence"), REFUSALS)
def test_refusals(command: str, words: str, sentence: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(bytes(300))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [command, *words.split()])
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"codec.training.restoration.{command}").main()
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder of crops of the shipped model."""
    pixels, number = np.zeros((2, 64, 64, 3), np.uint8), np.zeros(2, np.int32)
    found = crops.Crops(pixels, pixels, number.astype(np.float32), np.zeros((2, 2, 2), np.int16), number)
    (tmp_path / "crops").mkdir()
    for name in ("train.safetensors", VALIDATION):
        found.save(tmp_path / "crops" / name, crops.model_hash("default"))
    return tmp_path / "crops"


def test_crops_say_which_model_made_them(made: Path) -> None:
    paths = sorted(made.iterdir())
    assert [p.name for p in paths] == ["train.safetensors", VALIDATION]
    default = manifest.read().models[manifest.read().default]
    crops.check_model(paths, "default")
    crops.check_model(paths, str(default))  # the same file by its path
    assert crops.model_hash("default") == zoo.file_hash(default)


def test_training_refuses_crops_of_another_model(made: Path, monkeypatch) -> None:
    """Pictures of another model's streams were taken for its own, and nothing told it."""
    other = made.parent / "other.bin"
    other.write_bytes(b"another model")
    words = ["--vgg", "v", "--alex", "a", "--heads", "h", "--out", str(made / "run"), "--model", str(other)]
    monkeypatch.setattr(sys, "argv", ["train", "autoencoder", "--crops", str(made), *words])
    with pytest.raises(SystemExit, match=r"train\.safetensors, a file of crops, is of another model \(\w{8}\)"):
        importlib.import_module("codec.training.restoration.train").main()
    words = ["--data", str(made.parent), "--weights", "w", "--vgg", "v", "--heads", "h", "--out", str(made / "run")]
    monkeypatch.setattr(sys, "argv", ["labels", "--crops", str(made), *words, "--model", str(other)])
    with pytest.raises(SystemExit, match=r"train\.safetensors, a file of crops, is of another model"):
        importlib.import_module("codec.training.restoration.labels").main()
    monkeypatch.setattr(
        sys, "argv", ["crops", "--data", str(made.parent / "photos"), "--out", str(made), "--model", str(other)]
    )
    with pytest.raises(SystemExit, match="is of another model"):
        importlib.import_module("codec.training.restoration.crops").main()
    assert not (made / "run").exists()


def test_crops_without_a_mark_and_files_that_are_none_are_refused(made: Path) -> None:
    path = made / VALIDATION
    save_file(load_file(path), path)
    with pytest.raises(SystemExit, match="does not say which model made it"):
        crops.check_model([path], "default")
    path.write_bytes(b"x")
    for name in (VALIDATION, "missing.safetensors"):
        with pytest.raises(SystemExit, match="is no file of crops"):
            crops.check_model([made / name], "default")
