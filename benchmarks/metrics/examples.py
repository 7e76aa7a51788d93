"""Are these the networks that were published? Values from other people's documentation, computed again with a folder.

Noise needs no pictures, so these checks run everywhere. With the authors' example pictures their published values are
checked too; that is the only check of AlexNet beside the hash of its file. EfficientNet has no published example: its
file's hash and strict loading are all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.errors import BenchmarkError
from benchmarks.metrics.networks import hub_folder, load_inception
from benchmarks.metrics.published import Dists, Lpips
from codec._compat import import_torchvision

LPIPS_PAIRS = {"ex_p0.png": 0.722, "ex_p1.png": 0.138}  # LPIPS' own README, to ex_ref.png, AlexNet
DISTS_PAIR = 0.3347  # the authors' DISTS_pt.py, r0.png to r1.png
LPIPS_VGG_NOISE = 0.3494  # lpips and torchmetrics, computed by a user of both
DISTS_NOISE = 0.1882  # documentation of torchmetrics
FID64_NOISE = 12.6388  # the same; older versions of it say 12.7202, of another draw


def _verdict(name: str, found: float, published: float, tolerance: float) -> str:
    if not abs(found - published) <= tolerance:
        raise BenchmarkError(f"{name}: {found:.4f}, published {published}: these are not the published weights")
    return f"{name}: {found:.4f} (published {published})"


def _picture(path: Path) -> Any:
    import torch
    from PIL import Image

    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float().div(255)


def _score(metric: Any, x: Any, y: Any) -> float:
    metric.reference(x)
    return metric.score(y)


def check_lpips() -> Iterator[str]:
    """Ten pairs of NumPy's noise of seed 123 with VGG16 (torchmetrics' documentation: 0.3493 for torch's noise)."""
    import torch

    draw = np.random.RandomState(123)
    x, y = (torch.from_numpy(draw.rand(10, 3, 100, 100)).float() for _ in range(2))
    yield _verdict("LPIPS vgg, ten pairs of noise", _score(Lpips("vgg"), x, y), LPIPS_VGG_NOISE, 6e-5)


def check_dists() -> Iterator[str]:
    """Ten pairs of noise; the documentation names no seed, so the tolerance is the spread over seeds."""
    import torch

    generator = torch.Generator().manual_seed(42)
    x, y = (torch.rand((10, 3, 100, 100), generator=generator) for _ in range(2))
    yield _verdict("DISTS, ten pairs of noise", _score(Dists(), x, y), DISTS_NOISE, 3e-3)


def fid64(network: Any) -> float:
    """FID of the 64 features after the first pooling between two sets of noise, as in torchmetrics' example."""
    import torch

    import_torchvision()
    import piq

    generator = torch.Generator().manual_seed(123)
    sets = [
        torch.randint(low, high, (100, 3, 299, 299), generator=generator, dtype=torch.uint8)
        for low, high in ((0, 200), (100, 255))
    ]
    stem = torch.nn.Sequential(
        network.Conv2d_1a_3x3, network.Conv2d_2a_3x3, network.Conv2d_2b_3x3, torch.nn.MaxPool2d(3, 2)
    )
    features = [torch.cat([stem((x[None].float() - 128) / 128).mean((2, 3)) for x in part]).double() for part in sets]
    return float(piq.FID().compute_metric(*features))


def check_inception(script: Any) -> Iterator[str]:
    """The renamed network against the TorchScript it came from, which is the sharp check, and FID of noise.

    The documentation's draw cannot be repeated: eight of our own give 12.63 to 12.69, standard deviation 0.017, so the
    tolerance is four of them.
    """
    import torch

    from benchmarks.metrics.sets import inception_features

    network = load_inception("fid")
    yield _verdict("FID of 64 features, noise", fid64(network), FID64_NOISE, 0.07)
    x = torch.rand((2, 3, 299, 299), generator=torch.Generator().manual_seed(0))
    expected = script.eval()(2 * x - 1).flatten(1)
    difference = float((inception_features(network, x)[0] - expected).abs().max() / expected.abs().max())
    yield _verdict("Inception renamed, relative difference to its TorchScript", difference, 0, 1e-5)


def check_pictures(folder: Path) -> Iterator[str]:
    """The authors' own pairs."""
    if (reference := folder / "ex_ref.png").is_file():
        lpips = Lpips("alex")
        for name, published in LPIPS_PAIRS.items():
            yield _verdict(
                f"LPIPS alex, {name}", _score(lpips, _picture(reference), _picture(folder / name)), published, 6e-4
            )
    if (reference := folder / "r0.png").is_file():
        yield _verdict(
            "DISTS, r0.png and r1.png",
            _score(Dists(), _picture(reference), _picture(folder / "r1.png")),
            DISTS_PAIR,
            1e-4,
        )


def check(hub: Path, script: Any, examples: Path | None = None) -> Iterator[str]:
    """A line for each network, or an error."""
    import torch

    with hub_folder(hub), torch.inference_mode():
        yield from check_lpips()
        yield from check_dists()
        yield from check_inception(script)
        if examples:
            yield from check_pictures(examples)
