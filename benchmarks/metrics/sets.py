"""Metrics of a whole set of pictures: sqz_kid, fid, kid, is.

Patch protocol (as HiFiC, Mentzer et al. 2020): 256x256 patches of each picture on a regular grid, and on the same grid
shifted by 128 in both directions; smaller pictures count as one patch. Features of every measured picture are kept
under OUT/.features, so that an interrupted run goes on. On the 192 patches of Kodak, FID is far from converged: use it
only to compare codecs on the same set. KID is unbiased and preferred.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from benchmarks.codecs import Image8
from benchmarks.harness.table import Key
from benchmarks.metrics.estimates import Features, Fid, InceptionScore, Kid, interval, resamples
from benchmarks.metrics.networks import MetricAbsent, SqueezeFeatures, load_inception
from benchmarks.metrics.patches import patches
from benchmarks.metrics.pictures import MetricOptions
from benchmarks.metrics.record import Metric

METRICS = (
    Metric("sqz_kid", "KID in SqueezeNet features (sqz_kid)", False, 0, Kid, "squeeze"),
    Metric("fid", "FID (256-pixel patches)", False, 1, Fid, "inception"),
    Metric("kid", "KID (256-pixel patches)", False, 4, Kid, "inception"),
    Metric("is", "Inception score (256-pixel patches)", True, 2, InceptionScore, "logits"),
)
SET_METRICS = tuple(metric.name for metric in METRICS)
_RECORDS = {metric.name: metric for metric in METRICS}


class FeatureExtractor:
    """Features of a picture's patches for the wanted set metrics."""

    def __init__(self, names: Sequence[str], options: MetricOptions) -> None:
        self._squeeze = SqueezeFeatures(options.feature_weights, "sqz_kid") if "sqz_kid" in names else None
        inception = [name for name in names if name != "sqz_kid"]
        self._logits = "is" in names
        self._inception = load_inception("is" if self._logits else ", ".join(inception)) if inception else None

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
                    if self._logits:
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
        """What is stored, or nothing; a damaged file holds nothing, so that its picture is measured again."""
        if not self._path(key).is_file():
            return {}
        try:
            with np.load(self._path(key)) as stored:
                return dict(stored)
        except (ValueError, EOFError, BadZipFile, zlib.error):
            return {}


def _needed(names: Sequence[str]) -> list[str]:
    return [_RECORDS[name].features for name in names]


def estimate(name: str, original: Sequence[Features], decoded: Sequence[Features]) -> Any:
    """A set metric from the features of the originals and of the decoded pictures: call it, or its
    `resampled(draws)`."""
    record = _RECORDS[name]
    return record.maker(original, decoded, record.features)


def set_values(names: Sequence[str], original: Sequence[Features], decoded: Sequence[Features]) -> Mapping[str, float]:
    """The wanted set metrics whose features every picture has, each with its 95 % bootstrap interval over images as
    NAME_low and NAME_high."""
    values = {}
    for name in names:
        if not all(_RECORDS[name].features in item for item in (*original, *decoded)):
            continue
        found = estimate(name, original, decoded)
        values[name] = found()
        values[f"{name}_low"], values[f"{name}_high"] = interval(found.resampled(resamples(len(original))))
    return values
