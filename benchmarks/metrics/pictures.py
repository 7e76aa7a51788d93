"""Per-image metrics on the 8-bit RGB pixels a user gets.

rmse: root mean squared error over all samples, 0..255. psnr: 20 log10(255 / rmse), dB. ms_ssim: pytorch-msssim,
RGB, data range 255, its five default scales (needs sides over 160). gmsd (Xue et al. 2014), mdsi (Nafchi et al.
2016), vif (pixel domain, Sheikh and Bovik 2006), haarpsi (Reisenhofer et al. 2018): piq, on [0, 1]. texture: how far
the energy of the finest detail is from the original's, in octaves. sqz_dist: see `networks`. lpips and others in
features of published networks: see `published`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.codecs import Image8
from benchmarks.harness.errors import BenchmarkError
from benchmarks.metrics.networks import MetricAbsent, SqueezeFeatures, metric_package, unit_features
from benchmarks.metrics.published import PUBLISHED
from benchmarks.metrics.record import Metric
from codec._compat import import_torchvision


@dataclass(frozen=True)
class MetricOptions:
    """Where the weights of network metrics are."""

    feature_weights: Path | None = None  # SqueezeNet 1.1, safetensors
    weights_cache: Path | None = None  # a torch hub folder (with checkpoints/ in it); None: torch's own


class ImageMetric(Protocol):
    """A full-reference metric: the reference is set once, then many pictures are scored against it."""

    def reference(self, x: Any) -> None:
        """Take the original, 1 C H W in [0, 1]."""

    def score(self, y: Any) -> float:
        """Value for a decoded picture of the same shape."""


class _Plain:
    """A metric that is a function of both pictures."""

    def __init__(self, function: Callable[[Any, Any], Any], min_side: int) -> None:
        self._function, self._min_side = function, min_side

    def reference(self, x: Any) -> None:
        self._x = x

    def score(self, y: Any) -> float:
        if min(y.shape[2:]) < self._min_side:
            return float("nan")
        return float(self._function(self._x, y))


class _Texture:
    """|log2| of the ratio of energies in the finest band of a Laplacian pyramid (Burt and Adelson 1983) of the luma;
    a band without energy counts as one of FLOOR. 0.32 is 25 % more."""

    FLOOR = (0.5 / 255) ** 2

    def __init__(self, options: MetricOptions) -> None:
        self._energy = 0.0

    @classmethod
    def energy(cls, x: Any) -> float:
        """x (1, 3, H, W) in 0..1 -> mean square of the band, at least FLOOR."""
        import torch
        import torch.nn.functional as F

        luma = x.mul(torch.tensor([0.299, 0.587, 0.114], device=x.device)[None, :, None, None]).sum(1, keepdim=True)
        taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=x.device) / 16
        coarse = F.conv2d(F.pad(luma, (2, 2, 2, 2), mode="replicate"), torch.outer(taps, taps)[None, None])
        return max(float((luma - coarse).square().mean()), cls.FLOOR)

    def reference(self, x: Any) -> None:
        self._energy = self.energy(x)

    def score(self, y: Any) -> float:
        return abs(math.log2(self.energy(y) / self._energy))


class _SqueezeDistance:
    """Squared difference of unit-normalised features, mean over space, sum over channels and layers."""

    def __init__(self, options: MetricOptions) -> None:
        self._network = SqueezeFeatures(options.feature_weights, "sqz_dist")

    def reference(self, x: Any) -> None:
        self._features = unit_features(self._network.layers(x))

    def score(self, y: Any) -> float:
        features = unit_features(self._network.layers(y))
        pairs = zip(self._features, features, strict=True)
        return float(sum((a - b).square().sum(1).mean() for a, b in pairs))


def _ms_ssim(options: MetricOptions) -> ImageMetric:
    ms_ssim = metric_package("pytorch_msssim", "ms_ssim").ms_ssim
    return _Plain(lambda x, y: ms_ssim(255 * x, 255 * y, data_range=255), 161)


def _piq(name: str, min_side: int) -> Callable[[MetricOptions], ImageMetric]:
    def make(options: MetricOptions) -> ImageMetric:
        import_torchvision()
        piq = metric_package("piq", name)
        return _Plain(lambda x, y: getattr(piq, name)(x, y, data_range=1.0), min_side)

    return make


METRICS = (
    Metric("ms_ssim", "MS-SSIM", True, 4, _ms_ssim),
    Metric("gmsd", "GMSD", False, 4, _piq("gmsd", 16)),
    Metric("mdsi", "MDSI", False, 4, _piq("mdsi", 16)),
    Metric("vif", "VIF (pixel domain)", True, 4, _piq("vif_p", 41)),
    Metric("haarpsi", "HaarPSI", True, 4, _piq("haarpsi", 16)),
    Metric("texture", "texture energy off by, octaves", False, 3, _Texture),
    Metric("sqz_dist", "SqueezeNet distance (sqz_dist, not LPIPS)", False, 3, _SqueezeDistance),
    *PUBLISHED,
)
_MAKERS: dict[str, Callable[[MetricOptions], ImageMetric]] = {metric.name: metric.maker for metric in METRICS}
IMAGE_METRICS = tuple(_MAKERS)
NETWORK_METRICS = tuple(metric.name for metric in METRICS if metric.network)
HIGHER_IS_BETTER = frozenset({"psnr", *(metric.name for metric in METRICS if metric.higher_is_better)})
DEFAULT_METRICS = ("ms_ssim", "gmsd", "mdsi")


def rmse(a: Image8, b: Image8) -> float:
    """Root mean squared error over all 8-bit samples."""
    difference = a.astype(np.int32) - b.astype(np.int32)
    return float(np.sqrt(np.mean(np.square(difference), dtype=np.float64)))


def psnr(value: float) -> float:
    """Peak signal-to-noise ratio in dB for an RMSE on the 0..255 scale (infinite for 0)."""
    return float("inf") if value == 0 else float(20 * np.log10(255 / value))


def usable_metrics(names: Sequence[str], options: MetricOptions) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of `names` that can be computed here, and one sentence for each that cannot."""
    usable, sentences = [], []
    for name in names:
        try:
            _MAKERS[name](options)
        except MetricAbsent as absent:
            sentences.append(str(absent))
        else:
            usable.append(name)
    return tuple(usable), tuple(sentences)


class Scorer:
    """All wanted metrics of decoded pictures against one original at a time."""

    def __init__(self, names: Sequence[str], options: MetricOptions) -> None:
        self._metrics = {name: _MAKERS[name](options) for name in names}
        self._original: Image8 | None = None

    def reference(self, original: Image8) -> None:
        """Set the original, uint8 HWC."""
        self._original = original
        if not self._metrics:
            return
        import torch

        with torch.inference_mode():
            for metric in self._metrics.values():
                metric.reference(_tensor(original))

    def score(self, decoded: Image8) -> dict[str, float]:
        """rmse, psnr and the wanted metrics."""
        if self._original is None:
            raise RuntimeError("set the reference first")
        if decoded.shape != self._original.shape or decoded.dtype != np.uint8:
            raise BenchmarkError(f"the decoder gave {decoded.shape} {decoded.dtype} for {self._original.shape} uint8")
        error = rmse(self._original, decoded)
        values = {"rmse": error, "psnr": psnr(error)}
        if self._metrics:
            import torch

            with torch.inference_mode():
                y = _tensor(decoded)
                values |= {name: metric.score(y) for name, metric in self._metrics.items()}
        return values


def _tensor(image: Image8) -> Any:
    """1 C H W float in [0, 1]."""
    import torch

    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float().div(255)
