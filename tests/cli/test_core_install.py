"""What the README does first, in an installation without extras: nothing that is optional may be needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
#: what the extras bring; hidden from the command and from its worker processes
EXTRAS = (
    "onnxruntime", "onnx", "onnxscript", "numba", "pillow_heif", "pillow_jxl", "imagecodecs", "av", "piq", "lpips",
    "fsspec", "s3fs", "imageio", "pyarrow", "ray", "ncnn", "tensorboard", "skimage", "filelock", "shtab",
)  # fmt: skip


@pytest.mark.slow
def test_encode_decode_and_upscale_need_no_extra(photo, tmp_path):
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({EXTRAS!r}))\n")
    small = photo if isinstance(photo, Image.Image) else Image.fromarray(photo)
    (tmp_path / "in").mkdir()
    for k in range(2):
        small.crop((64 * k, 0, 64 * k + 64, 48)).save(tmp_path / "in" / f"{k}.png")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'hide'}{os.pathsep}{ROOT}"}

    def codec(*words: object) -> str:
        command = [sys.executable, "-m", "codec", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stderr

    one = tmp_path / "in" / "0.png"
    assert "PSNR" in codec("encode", one, "-o", tmp_path / "a.ldc", "--verify", "--no-lossless")
    codec("decode", tmp_path / "a.ldc", "-o", tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == (64, 48)
    codec("thumbnail", tmp_path / "a.ldc", "-o", tmp_path / "t.png", "--size", 32)
    assert Image.open(tmp_path / "t.png").size == (32, 24)
    codec("encode", tmp_path / "in", "-o", tmp_path / "many", "--jobs", 2, "--no-lossless")
    codec("decode", tmp_path / "many", "-o", tmp_path / "back", "--jobs", 2)
    assert len(list((tmp_path / "back").iterdir())) == 2
    codec("upscale", one, "-o", tmp_path / "large.png")
    codec("decode", tmp_path / "a.ldc", "--decoder", "ldm", "-o", tmp_path / "b.png")
