"""Metrics of a whole set of pictures: sqz_kid, fid, kid, is.

Patch protocol (as HiFiC, Mentzer et al. 2020): 256x256 patches of each picture on a regular grid, and on the same grid
shifted by 128 in both directions; smaller pictures count as one patch. Features of every measured picture are kept
under OUT/.features, so that an interrupted run goes on. On the 192 patches of Kodak, FID is far from converged: use it
only to compare codecs on the same set. KID is unbiased and preferred.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.codecs import Image8
from benchmarks.harness.table import Key
from benchmarks.metrics.networks import MetricAbsent, SqueezeFeatures, load_inception
from benchmarks.metrics.pictures import MetricOptions
from codec._compat import import_torchvision

PATCH = 256
SET_METRICS = ("sqz_kid", "fid", "kid", "is")
Features = dict[str, NDArray[np.float32]]


def patches(image: Image8) -> list[Image8]:
    """256x256 patches of the grid and of the grid shifted by half a patch."""
    height, width = image.shape[:2]
    found = [
        image[top : top + PATCH, left : left + PATCH]
        for shift in (0, PATCH // 2)
        for top in range(shift, height - PATCH + 1, PATCH)
        for left in range(shift, width - PATCH + 1, PATCH)
    ]
    return found or [image]


class FeatureExtractor:
    """Features of a picture's patches for the wanted set metrics."""

    def __init__(self, names: Sequence[str], options: MetricOptions) -> None:
        self._squeeze = SqueezeFeatures(options.feature_weights, "sqz_kid") if "sqz_kid" in names else None
        inception = [name for name in names if name != "sqz_kid"]
        self._inception = load_inception(", ".join(inception)) if inception else None

    def __call__(self, image: Image8) -> Features:
        """`squeeze` (n, 512), `inception` (n, 2048), `logits` (n, 1008), as far as wanted."""
        import torch

        rows: dict[str, list[Any]] = {}
        with torch.inference_mode():
            for patch in patches(image):
                x = torch.from_numpy(patch.copy()).permute(2, 0, 1)[None].float().div(255)
                if self._squeeze:
                    rows.setdefault("squeeze", []).append(self._squeeze.layers(x)[-1].mean((2, 3)))
                if self._inception:
                    pooled, logits = inception_features(self._inception, x)
                    rows.setdefault("inception", []).append(pooled)
                    rows.setdefault("logits", []).append(logits)
        return {name: torch.cat(values).numpy() for name, values in rows.items()}


def inception_features(network: Any, x: Any) -> tuple[Any, Any]:
    """Features after `network.avgpool` and logits, for B C H W in [0, 1]; resized to 299 and scaled to [-1, 1]."""
    import torch

    kept: list[Any] = []
    hook = network.avgpool.register_forward_hook(lambda module, inputs, output: kept.append(output.flatten(1)))
    try:
        resized = torch.nn.functional.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
        logits = network(2 * resized - 1)
    finally:
        hook.remove()
    return kept[0], logits


def usable_sets(names: Sequence[str], options: MetricOptions) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of `names` that can be computed here, and one sentence for each that cannot."""
    usable, sentences = [], []
    for name in names:
        try:
            FeatureExtractor([name], options)
        except MetricAbsent as absent:
            sentences.append(str(absent))
        else:
            usable.append(name)
    return tuple(usable), tuple(sentences)


class FeatureStore:
    """Features on disk, one file per measured picture."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, key: Key) -> Path:
        return self._folder / (hashlib.sha256("\n".join(key).encode()).hexdigest()[:32] + ".npz")

    def has(self, key: Key, names: Sequence[str]) -> bool:
        """Whether everything that `names` need is stored for this picture."""
        return not names or set(_needed(names)) <= set(self.load(key))

    def save(self, key: Key, features: Features) -> None:
        """Store atomically, keeping what was there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(key)
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            np.savez(file, **{**self.load(key), **features})
        temporary.replace(path)

    def load(self, key: Key) -> Features:
        """What is stored, or nothing."""
        if not self._path(key).is_file():
            return {}
        with np.load(self._path(key)) as stored:
            return dict(stored)


def _needed(names: Sequence[str]) -> list[str]:
    kinds = {"sqz_kid": "squeeze", "fid": "inception", "kid": "inception", "is": "logits"}
    return [kinds[name] for name in names]


def set_values(names: Sequence[str], original: Sequence[Features], decoded: Sequence[Features]) -> Mapping[str, float]:
    """The wanted set metrics from the features of the originals and of the decoded pictures."""
    import torch

    import_torchvision()
    import piq

    def stack(features: Sequence[Features], kind: str) -> Any:
        return torch.from_numpy(np.concatenate([item[kind] for item in features])).double()

    values = {}
    for name, kind in zip(names, _needed(names), strict=True):
        y = stack(decoded, kind)
        if name == "is":
            with warnings.catch_warnings():  # piq: softmax without dim, spread of one split
                warnings.simplefilter("ignore", UserWarning)
                values[name] = float(piq.inception_score(y, num_splits=1)[0])
        else:
            metric = piq.FID() if name == "fid" else piq.KID()
            values[name] = float(metric.compute_metric(y, stack(original, kind)))
    return values


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Polynomial kernel of KID (Binkowski et al. 2018): (a.b / d + 1)^3."""
    return (a @ b.T / a.shape[1] + 1) ** 3


class Kid:
    """KID of decoded pictures against originals, also for resampled sets of images.

    Kernels are computed once, and summed for each pair of images.
    """

    def __init__(self, original: Sequence[Features], decoded: Sequence[Features], kind: str = "squeeze") -> None:
        x, y = (np.concatenate([f[kind] for f in features]).astype(np.float64) for features in (original, decoded))
        counts = [len(f[kind]) for f in original]
        member = np.repeat(np.eye(len(counts)), counts, axis=0)
        self._images = len(counts)
        within, between = _kernel(x, x) + _kernel(y, y), _kernel(x, y)
        np.fill_diagonal(within, 0)  # a patch is never paired with itself
        self._within, self._between = member.T @ within @ member, member.T @ between @ member
        self._pairs = np.outer(counts, counts).astype(np.float64)
        self._distinct = self._pairs - np.diag(counts)

    def __call__(self) -> float:
        """The unbiased estimate."""
        return float(self.resampled(np.ones((1, self._images), np.int64))[0])

    def resampled(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """draws (resamples, images): how often each image is drawn -> estimates (resamples,).

        Copies of one image are not paired with one another: patches of one image are alike, and such pairs would raise every
        resampled estimate.
        """

        def total(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            return ((draws @ sums) * draws).sum(1) + (draws - np.square(draws)) @ np.diag(sums)

        with np.errstate(divide="ignore", invalid="ignore"):  # one patch drawn alone has no pair: NaN
            return total(self._within) / total(self._distinct) - 2 * total(self._between) / total(self._pairs)


def resamples(images: int, count: int = 1000) -> NDArray[np.int64]:
    """Draws of a bootstrap over images, always the same ones: (count, images), how often each image is drawn."""
    return np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), count)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of resampled values (NaN values are left out)."""
    kept = values[np.isfinite(values)]
    low, high = np.percentile(kept, (2.5, 97.5)) if len(kept) else (np.nan, np.nan)
    return float(low), float(high)
