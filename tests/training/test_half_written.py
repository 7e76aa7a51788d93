"""What a kill or a full disk leaves of the files of training: what was there, and nothing that is in the way."""

import os

import pytest
from PIL import Image

from codec.training.data.photos import Photos
from codec.training.shipping.manifest import write_manifest


def test_the_list_of_weights_is_whole_or_as_it_was(tmp_path, monkeypatch):
    weights = tmp_path / "a.safetensors"
    weights.write_bytes(b"weights")
    write_manifest(weights, "models", "1000", {"note": "x"})
    before = (tmp_path / "manifest.json").read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as here:
        here.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_manifest(weights, "models", "1001", {"note": "y"})
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "manifest.json"]


def test_photographs_that_were_half_decoded_are_no_reason_to_refuse_a_folder(tmp_path):
    (tmp_path / "data").mkdir()
    for k in range(2):
        Image.new("RGB", (300, 300)).save(tmp_path / "data" / f"{k}.png")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / ".photos.u8.123.part").write_bytes(b"of a kill")
    assert len(Photos(tmp_path / "data", cache).entries) > 0
    (tmp_path / "small").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "small" / "0.png")
    with pytest.raises(SystemExit, match="no photographs"):
        Photos(tmp_path / "small", tmp_path / "other")
    assert os.listdir(tmp_path / "other") == []
