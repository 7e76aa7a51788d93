"""What `python -m codec export` writes, read again with nothing but numpy, json and onnxruntime."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import codec
from codec import light, manifest, zoo
from codec.batch.backend import load_codec
from codec.batch.settings import Settings
from codec.cli import main
from codec.coding.stored import read_stored
from codec.errors import CodecError, UnsupportedError
from codec.export import check
from codec.export import model as exporter
from codec.export.graphs import synthesis
from codec.options import DecodeOptions
from codec.restoration import restore
from tests.support.folder import ID, weights_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return weights_folder(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """The exporter of PyTorch takes seconds, and all exports of this file are of one model."""
    made: list[onnx.ModelProto] = []

    def once(net):
        made.append(made[0] if made else synthesis(net))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "synthesis", once)
        yield


@pytest.fixture(scope="module")
def exported(weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "model"
    assert main(["export", "--format", "onnx", "-o", str(out), *named(weights), "--decoder", "ldm"]) == 0
    return out


def named(weights):
    return ["--weights", str(weights), "--model", str(ID)]


def test_manifest_lists_the_files_with_their_hashes(exported):
    listed = json.loads((exported / "manifest.json").read_text())
    assert {path.name for path in exported.iterdir()} == {"manifest.json", *listed["files"]}
    for name, entry in listed["files"].items():
        data = (exported / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])


def test_integers_are_those_that_decide_what_bits_mean(exported, weights):
    """The table hash, computed as FORMAT.md says from the exported bytes alone, is the model's."""
    listed = json.loads((exported / "manifest.json").read_text())
    data, seen = (exported / listed["arrays"]["file"]).read_bytes(), hashlib.sha256()
    stored = read_stored(weights / "model.safetensors")
    for name, entry in sorted(listed["arrays"]["entries"].items()):
        raw = data[entry["offset"] : entry["offset"] + entry["bytes"]]
        values = np.frombuffer(raw, np.dtype(entry["dtype"]).newbyteorder("<")).reshape(entry["shape"])
        assert np.array_equal(values, stored.integers[name])
        seen.update(f"{name}{values.shape}".encode() + values.astype("<i4").tobytes())
    assert set(listed["arrays"]["entries"]) == set(stored.integers)
    assert int.from_bytes(seen.digest()[:4], "little") == listed["table_hash"] == stored.table_hash


@pytest.mark.parametrize("h, w, level", [(2, 2, 1), (6, 4, 6399), (2, 20, 2500), (14, 10, 777)])
def test_picture_is_within_a_grey_level(exported, weights, h, w, level):
    model = zoo.load(ID, weights=manifest.read(weights))
    rng = np.random.default_rng(h * w)
    v_hat = rng.integers(-400, 400, (model.config.channels, h, w)).astype(np.int32)
    run = onnxruntime.InferenceSession(exported / "synthesis.onnx", providers=["CPUExecutionProvider"])
    (rgb,) = run.run(None, {"v_hat": v_hat[None], "level": np.array([level], np.int32)})
    expected = model.decoded(v_hat, level)
    assert rgb.shape == expected.shape == (16 * h, 16 * w, 3) and rgb.dtype == np.uint8
    assert np.abs(rgb.astype(int) - expected).max() <= 1 and len(np.unique(rgb)) > 20


def test_a_wrong_graph_is_refused(exported, weights):
    graph = onnx.load(exported / "synthesis.onnx")
    for tensor in graph.graph.initializer:
        if tensor.name == "g_s.klt.weight":
            values = onnx.numpy_helper.to_array(tensor) * np.float32(1.1)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    with pytest.raises(CodecError, match="grey levels"):
        check.check_synthesis(graph.SerializeToString(), zoo.load(ID, weights=manifest.read(weights)))


def test_an_export_is_not_overwritten_by_accident(exported, capsys):
    before = (exported / "manifest.json").read_bytes()
    assert main(["export", "--format", "onnx", "-o", str(exported)]) == 1
    assert "-f overwrites" in capsys.readouterr().err and (exported / "manifest.json").read_bytes() == before


def test_networks_of_a_semantic_decoder(exported, weights):
    """Both graphs one after the other make what the decoder makes of the same noise."""
    there = manifest.read(weights)
    base, net = zoo.load(ID, weights=there), zoo.load_restorer(there, "ldm", ID)
    rng, h, w, level = np.random.default_rng(3), 6, 10, 4000
    x_c = rng.random((1, 3, 16 * h, 16 * w), np.float32)
    z = rng.standard_normal((1, len(net.scale), h, w)).astype(np.float32)
    tokens = rng.integers(0, base.config.tokens, (1, h // 2, w // 2)).astype(np.int32)

    def run(name, **inputs):
        graph = onnxruntime.InferenceSession(exported / f"ldm.{name}.onnx", providers=["CPUExecutionProvider"])
        return graph.run(None, {**inputs, "x_c": x_c, "level": np.array([level], np.int32)})[0]

    x_hat = run("paint", s=run("generate", z=z, tokens=tokens))
    with torch.no_grad():
        words = base.vqvae.tokens.centroids(base.vqvae.sd)[torch.from_numpy(tokens[0]).long()].permute(2, 0, 1)[None]
        task = float(base.position(level))
        condition = restore.conditioned(net, torch.from_numpy(x_c), task, words, restore.Options())
        expected = net.paint(net.generate(torch.from_numpy(z), condition), condition).numpy()
        alone = net.paint(net.generate(torch.from_numpy(z), replace(condition, context=None)), condition).numpy()
    assert np.abs(x_hat - expected).max() < 1e-4 < np.abs(alone - expected).max()


@pytest.mark.parametrize(
    "asked, said", [(["onnx", "--decoder", "gan"], "'gan'"), (["graph", "--decoder", "ldm"], "no effect")]
)
def test_decoders_that_cannot_be_exported(weights, tmp_path, capsys, asked, said):
    assert main(["export", "-o", str(tmp_path / "x"), *named(weights), "--format", *asked]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_unknown_models_are_wrong_usage(tmp_path, capsys):
    assert main(["export", "--format", "onnx", "-o", str(tmp_path / "x"), "--model", "77"]) == 2
    assert "model 77" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_a_graph_beside_the_weights_is_used(exported, weights, tmp_path):
    """Without a graph torch decodes; `export` makes the graph."""
    asked = Settings(options=DecodeOptions(), backend=None, weights=str(weights))
    assert not isinstance(load_codec(asked, ID), light.LightCodec)
    with pytest.raises(UnsupportedError, match="model 1000 has no graph"):
        light.load(ID, weights)
    line = ["export", "--format", "graph", "-o", str(weights), *named(weights), "--quiet"]
    assert main(line) == 0
    found, data = load_codec(asked, ID), encoded(weights)
    assert isinstance(found, light.LightCodec) and found.model_id == ID
    asked = replace(asked, backend="torch")
    ours, expected = (np.asarray(one.decode(data), int) for one in (found, load_codec(asked, ID)))
    assert np.abs(ours - expected).max() <= 1 and len(np.unique(ours)) > 5
    assert main(line) == 1  # it is there already


def encoded(weights) -> bytes:
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    return codec.load(ID, weights=weights).encode(picture, quality=80)
