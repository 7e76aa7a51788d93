"""Weights that are found through manifests: the package's, and those of added folders."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import codec
from codec import cli, manifest
from codec.errors import CodecError, UnknownModelError
from codec.models.context import ClassConditioner
from codec.training.shipping.manifest import check_id, write_manifest
from codec.zoo import Labels, write_labels


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of weights that training could have made: model 1001, the shipped networks under another number."""
    out = tmp_path / "mine"
    out.mkdir()
    for name in ("vqvae", "gan"):
        shutil.copyfile(manifest.package_folder() / f"{name}-6.safetensors", out / f"{name}-1001.safetensors")
    write_labels(out / "label-1001.safetensors", Labels(("people", "sea"), ClassConditioner(2, 3, 64)))
    write_manifest(out / "vqvae-1001.safetensors", "models", "1001", {})
    write_manifest(out / "gan-1001.safetensors", "semantic", "gan-1001", {"model": 1001, "decoder": "gan"})
    write_manifest(out / "label-1001.safetensors", "semantic", "label-1001", {"model": 1001, "labels_of": "ldm"})
    return out


def test_the_package_lists_what_it_has():
    there = manifest.read()
    assert there.default in there.models and there.default < manifest.FIRST_FREE_ID
    paths = [
        *there.models.values(),
        *there.labels.values(),
        *there.refiners.values(),
        *(p for d in there.decoders.values() for p in d.values()),
    ]
    assert {p.name for p in paths} == {p.name for p in manifest.package_folder().glob("*.safetensors")}


def test_a_folder_adds_a_model_its_decoders_and_its_labels(folder, small):
    mine = codec.load(weights=folder, threads=1)
    assert mine.model_id == 1001 and mine.decoders() == ("vq", "gan") and "people" in mine.labels()
    data = mine.encode(small[:64, :64], quality=30)
    assert codec.bitstream.container.read_header(data).header.model_id == 1001
    assert mine.decode(data, decoder="gan").size == (64, 64)
    assert codec.load(6, weights=folder, threads=1).decoders() == ("vq", "ldm", "gan", "perceptual")


def test_the_variable_adds_folders_for_the_plain_functions(folder, small, monkeypatch):
    monkeypatch.setenv(manifest.VARIABLE, str(folder))
    data = codec.encode(small[:64, :64])
    assert codec.bitstream.container.read_header(data).header.model_id == 1001
    assert codec.decode(data).size == (64, 64)
    monkeypatch.delenv(manifest.VARIABLE)
    codec._codec.cache_clear()
    with pytest.raises(UnknownModelError, match="model 1001 is not known here"):
        codec.decode(data)


@pytest.mark.slow
def test_on_the_command_line_a_file_names_its_model(folder, small, tmp_path, capfd):
    from PIL import Image

    picture, file, shipped = tmp_path / "a.png", tmp_path / "a.ldc", tmp_path / "b.ldc"
    Image.fromarray(small[:64, :64]).save(picture)
    assert cli.main(["encode", str(picture), "--weights", str(folder)]) == 0
    assert cli.main(["encode", str(picture), "-o", str(shipped), "--weights", str(folder), "--model", "6"]) == 0
    models = [codec.bitstream.container.read_header(p.read_bytes()).header.model_id for p in (file, shipped)]
    assert models == [1001, 6]
    both = [str(file), str(shipped), "-o", str(tmp_path / "out")]
    assert cli.main(["decode", *both]) == 1  # one of two
    assert "model 1001 is not known here" in capfd.readouterr().err and (tmp_path / "out" / "b.png").exists()
    assert cli.main(["decode", *both, "--weights", str(folder), "-f"]) == 0
    a, b = (np.asarray(Image.open(tmp_path / "out" / f"{n}.png")) for n in "ab")
    assert (a == b).all()
    assert cli.main(["encode", str(picture), "--model", "1001"]) == 2


def test_one_id_of_two_models_is_refused(folder):
    path = folder / "manifest.json"
    found = json.loads(path.read_text())
    found["models"] = {"6": found["models"]["1001"] | {"sha256": "0"}}
    path.write_text(json.dumps(found))
    with pytest.raises(CodecError, match="model 6 of .* is not the one of"):
        manifest.read(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"models": []}', '{"models": {"x": {}}}', '{"models": {"1": {"file": "../a", "sha256": ""}}}']
)
def test_what_is_no_manifest_is_one_sentence(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(CodecError, match="weights"):
        manifest.read(tmp_path)
    with pytest.raises(CodecError, match="is not a folder of weights"):
        manifest.read(tmp_path / "nothing")


def test_low_ids_are_for_the_package(tmp_path):
    check_id(6, manifest.package_folder())
    check_id(1000, tmp_path)
    check_id(0, tmp_path)
    with pytest.raises(SystemExit, match="1000 or more"):
        check_id(6, tmp_path)
