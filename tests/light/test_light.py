"""The decoder without torch beside the one with it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codec
from codec import light, manifest
from codec.batch.backend import load_codec
from codec.batch.settings import Settings
from codec.cli import main
from codec.coding import tiles
from codec.errors import CodecError, CorruptError, UnsupportedError
from codec.options import DecodeOptions
from tests.support.codes import decoded_codes, digest
from tests.support.folder import ID, weights_folder

GOLDEN = Path(__file__).parents[1] / "golden"
PLAIN = Settings(options=DecodeOptions(), backend=None)

#: decodes files with everything forbidden that is not needed, and prints the digests of their codes
PROGRAM = """
import json, sys
from pathlib import Path
for name in ("torch", "torchvision", "compressai", "scipy", "pandas", "matplotlib"):
    sys.modules[name] = None
from codec import light
from codec.cli import main
from tests.support.codes import digest
out, *files = sys.argv[1:]
one = light.load()
print(json.dumps({Path(f).stem: digest(*one.codes(Path(f).read_bytes())) for f in files}))
sys.exit(main(["decode", *files, "-o", out, "--quiet"]))
"""


@pytest.fixture(scope="module")
def one():
    return light.load()


def apart(a: Image.Image, b: Image.Image) -> int:
    assert (a.mode, a.size) == (b.mode, b.size)
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


@pytest.mark.slow
def test_golden_files_without_torch(tmp_path):
    """Codes are those that were kept, pictures within a grey level, in a process in which torch cannot be imported."""
    files = sorted(GOLDEN.glob("model6-*.ldc"))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), *map(str, files)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=GOLDEN.parents[1])
    assert (result.returncode, result.stderr) == (0, "")
    kept = json.loads((GOLDEN / "codes.json").read_text())
    assert json.loads(result.stdout) == {file.stem: kept[file.stem][0] for file in files} and len(files) > 8
    for file in files:
        assert apart(Image.open(tmp_path / f"{file.stem}.png"), Image.open(file.with_suffix(".png"))) <= 1


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_cut_files(shipped, one, part):
    data = (GOLDEN / "model6-photo-q50.ldc").read_bytes()
    size = int(len(data) * part)
    with pytest.raises(CorruptError, match="cut short"):
        one.decode(data[:size])
    cut = {"data": data[:size], "allow_truncated": True}
    assert digest(*one.codes(**cut)) == digest(*decoded_codes(shipped, **cut))
    assert apart(one.decode(**cut), shipped.decode(**cut)) <= 1
    assert apart(one.decode(data, max_bytes=size), one.decode(**cut)) == 0


def test_tiles_have_no_seams(one, monkeypatch):
    data = (GOLDEN / "model6-photo-q95.ldc").read_bytes()
    whole = one.decode(data)
    monkeypatch.setattr(tiles, "TILE", 2)
    assert apart(one.decode(data), whole) <= 1
    monkeypatch.setattr(tiles, "HALO", 0)
    assert apart(one.decode(data), whole) > 1  # so the comparison above sees seams


def test_what_is_refused(one):
    data = (GOLDEN / "model6-photo-q50.ldc").read_bytes()
    with pytest.raises(CorruptError):
        one.decode(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UnsupportedError, match="the file was made with model 5, this is model 6"):
        one.decode((GOLDEN / "dropped-model5.ldc").read_bytes())
    for model in ("x", "²", 5.5, None):
        with pytest.raises(UnsupportedError, match=f"model {model} is not known here"):
            light.load(model)


def test_progress_is_told(one):
    seen: list[float] = []
    one.decode((GOLDEN / "model6-pixel.ldc").read_bytes(), progress=seen.append)
    assert seen[-1] == 1.0


def test_who_decodes():
    """onnxruntime by itself for what it can do, torch for the rest."""
    for asked in ({}, {"backend": "onnx"}):
        assert isinstance(load_codec(replace(PLAIN, **asked), 6), light.LightCodec)
    semantic = {"options": DecodeOptions(decoder="ldm")}
    for asked in ({"backend": "torch"}, semantic, {"threads": 1}, {"precision": "auto"}):
        assert not isinstance(load_codec(replace(PLAIN, **asked), 6), light.LightCodec)


def test_a_missing_torch_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert isinstance(load_codec(PLAIN, 6), light.LightCodec)
    with pytest.raises(CodecError, match="torch is not installed"):
        load_codec(replace(PLAIN, options=DecodeOptions(decoder="ldm")), 6)


@pytest.mark.parametrize(
    "asked", [["--decoder", "gan"], ["--threads", "1"], ["--precision", "auto"], ["--device", "cuda"]]
)
def test_what_onnxruntime_cannot_do_is_wrong_usage(tmp_path, capsys, asked):
    source = str(GOLDEN / "model6-pixel.ldc")
    assert main(["decode", source, "-o", str(tmp_path / "x.png"), "--backend", "onnx", *asked]) == 2
    assert f"{asked[0]} {asked[1]} is not possible with --backend onnx" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_graph_of_another_model_is_refused(tmp_path):
    folder = weights_folder(tmp_path)
    graph = light.graph_of(manifest.read(), 6)
    (folder / "model.onnx").write_bytes(graph.read_bytes())
    with pytest.raises(CodecError, match="does not fit the weights"):
        light.load(ID, folder)


def test_a_lossless_file_gives_its_picture_and_has_no_codes():
    data = (GOLDEN / "lossless-alpha.ldc").read_bytes()
    found = light.load().decode(data)
    assert found.mode == "RGBA" and np.array_equal(np.asarray(found), np.asarray(codec.decode(data)))
    with pytest.raises(UnsupportedError, match="the file is coded without loss"):
        light.load().codes(data)
