"""Networks of metrics: SqueezeNet, LPIPS, DISTS, Inception, EfficientNet.

Weights come from a path or from torch's checkpoint cache, and are never downloaded here. What cannot be had
raises `MetricAbsent`, whose message is the sentence that the user reads; the column is then left out.

`sqz_dist` and `sqz_kid` use a SqueezeNet 1.1 whose weights are not torchvision's (ONNX model zoo). They are
relative measures of this project only and do not compare with published LPIPS, FID or KID.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from benchmarks.harness.errors import BenchmarkError
from codec._compat import import_torchvision

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SQZ_LAYERS = (1, 4, 7, 9, 10, 11, 12)  # of squeezenet1_1.features, the layers LPIPS uses too
_ALEXNET, _VGG16 = "alexnet-owt-7be5be79.pth", "vgg16-397923af.pth"
_DISTS, _INCEPTION = "dists_weights.pt", "pt_inception-2015-12-05-6726825d.pth"
EFFICIENTNET = "efficientnet_lite0.safetensors"  # beside checkpoints/
_HOW = "python -m benchmarks.metrics.weights --out HUB makes the folder, --weights-cache HUB names it"


class MetricAbsent(BenchmarkError):
    """The metric cannot be computed here; the message says what is missing."""


def _need_cached(metric: str, *files: str) -> None:
    import torch

    folder = Path(torch.hub.get_dir(), "checkpoints")
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise MetricAbsent(
            f"{metric} is left out: {' and '.join(missing)} not found in torch's checkpoint cache ({_HOW})"
        )


def metric_package(module: str, metric: str) -> Any:
    """A module of a package that may not be there."""
    try:
        return import_module(module)
    except ImportError:
        raise MetricAbsent(f"{metric} is left out: the package {module.split('.')[0]} is not installed") from None


class SqueezeFeatures:
    """SqueezeNet 1.1 with weights from a safetensors file, as a fixed feature network."""

    def __init__(self, weights: Path | None, metric: str) -> None:
        if weights is None:
            raise MetricAbsent(f"{metric} is left out: it needs SqueezeNet weights, given with --feature-weights PATH")
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        network = import_torchvision().models.squeezenet1_1()
        try:
            network.load_state_dict(load_file(weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise MetricAbsent(
                f"{metric} is left out: {weights} does not hold SqueezeNet 1.1 weights ({reason})"
            ) from None
        self._layers = network.features.eval().to(memory_format=torch.channels_last)
        self._mean, self._std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))

    def layers(self, x: Any) -> list[Any]:
        """Outputs of the layers in `SQZ_LAYERS`, each B C H W, for pictures in [0, 1]."""
        import torch

        values = ((x - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        outputs = []
        for index, layer in enumerate(self._layers):
            values = layer(values)
            if index in SQZ_LAYERS:
                outputs.append(values)
        return outputs


def unit_features(layers: list[Any]) -> list[Any]:
    """Each position's feature vector scaled to length one (as in LPIPS)."""
    return [layer / (layer.square().sum(1, keepdim=True).sqrt() + 1e-10) for layer in layers]


def load_lpips(trunk: str = "alex") -> Any:
    """LPIPS v0.1 with AlexNet or VGG16: `lpips.LPIPS`, inputs B C H W in [0, 1] with `normalize=True`."""
    name, file = {"alex": ("lpips", _ALEXNET), "vgg": ("lpips_vgg", _VGG16)}[trunk]
    _need_cached(name, file)
    import_torchvision()
    lpips = metric_package("lpips", name)
    with _loading(name):
        return lpips.LPIPS(net=trunk, verbose=False).eval()


def load_dists() -> Any:
    """piq's DISTS, for its features and weights; its own call shrinks pictures, see `published.Dists`."""
    _need_cached("dists", _VGG16, _DISTS)
    import_torchvision()
    piq = metric_package("piq", "dists")
    with _loading("dists"):
        return piq.DISTS().eval()


def load_effnet(metric: str) -> Any:
    """EfficientNet-lite0: `layers` and, called, logits of the 1000 ImageNet labels, for pictures in [0, 1]."""
    import torch

    from benchmarks.metrics.efficientnet import load_efficientnet

    path = Path(torch.hub.get_dir(), EFFICIENTNET)
    if not path.is_file():
        raise MetricAbsent(f"{metric} is left out: {EFFICIENTNET} not found in torch's hub folder ({_HOW})")
    with _loading(metric):
        return load_efficientnet(path).to(memory_format=torch.channels_last)


def empty_inception() -> Any:
    """The Inception network of the original FID with random weights."""
    from unittest.mock import patch

    import_torchvision()
    from piq.feature_extractors import InceptionV3, fid_inception
    from torchvision.models import Inception3

    with (
        _quiet(),
        patch.object(fid_inception, "load_state_dict_from_url", lambda *_, **__: {}),
        patch.object(Inception3, "load_state_dict", lambda *_, **__: None),
    ):
        return InceptionV3.fid_inception_v3().eval()


def load_inception(metric: str) -> Any:
    """The Inception network of the original FID: 2048 features before `avgpool`'s successor, 1008 logits."""
    _need_cached(metric, _INCEPTION)
    import_torchvision()
    InceptionV3 = metric_package("piq.feature_extractors", metric).InceptionV3
    with _loading(metric):
        network = InceptionV3.fid_inception_v3().eval()
    if metric == "is" and not network.fc.weight.any():
        raise MetricAbsent(
            "is is left out: these Inception weights have no last layer, with which alone there is a score; "
            "label_agreement stands in for it"
        )
    return network


@contextmanager
def _loading(metric: str) -> Iterator[None]:
    """Files of weights that are damaged, or another network's, leave the metric out."""
    from safetensors import SafetensorError

    try:
        with _quiet():
            yield
    except (OSError, EOFError, LookupError, RuntimeError, UnpicklingError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise MetricAbsent(f"{metric} is left out: its weights cannot be read ({reason}; {_HOW})") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """torchvision warns about the calls that piq and lpips make."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def hub_folder(folder: Path | None) -> Iterator[None]:
    """`folder` as torch's hub folder for a while; None: torch's own."""
    import torch

    before = torch.hub.get_dir()
    if folder is not None:
        torch.hub.set_dir(str(folder))
    try:
        yield
    finally:
        torch.hub.set_dir(before)
