"""Distances of one picture in features of networks with published weights.

What a network says of the original is kept for all its decoded pictures. lpips, lpips_vgg: LPIPS v0.1 (Zhang et al.
2018). dists: DISTS (Ding et al. 2020) at full size, as published codecs are measured; piq's own call shrinks the short
side to 256. effnet: unit-normalised features of EfficientNet-lite0 at five resolutions, squared difference, mean over
space, sum over layers; own name, no published values, and nothing here is trained against it. label_agreement: how much
of the probability over the 1000 ImageNet labels stays where it was: sum of min(p, q), mean over 256-pixel patches; 1 is
the same. It stands in for Inception scores.
"""

from typing import Any

from benchmarks.metrics.networks import load_dists, load_effnet, load_lpips, unit_features
from benchmarks.metrics.patches import patches
from benchmarks.metrics.record import Metric


class Lpips:
    """LPIPS with AlexNet ("alex") or VGG16 ("vgg")."""

    def __init__(self, trunk: str) -> None:
        self._network = load_lpips(trunk)

    def _features(self, x: Any) -> list[Any]:
        return unit_features(list(self._network.net.forward(self._network.scaling_layer(2 * x - 1))))

    def reference(self, x: Any) -> None:
        """Take the original, 1 C H W in [0, 1]."""
        self._original = self._features(x)

    def score(self, y: Any) -> float:
        """Value for a decoded picture; for a batch its mean."""
        if min(y.shape[2:]) < 64:
            return float("nan")
        pairs = zip(self._network.lins, self._original, self._features(y), strict=True)
        return float(sum(head((a - b).square()).mean() for head, a, b in pairs))


class Dists:
    """DISTS at full size."""

    def __init__(self) -> None:
        self._network = load_dists()

    def reference(self, x: Any) -> None:
        """Take the original, 1 C H W in [0, 1]."""
        self._original = self._network.get_features(x)

    def score(self, y: Any) -> float:
        """Value for a decoded picture; for a batch its mean."""
        if min(y.shape[2:]) < 64:
            return float("nan")
        similarities = self._network.compute_distance(self._original, self._network.get_features(y))
        return float(1 - sum((s * w).sum(1).mean() for s, w in zip(similarities, self._network.weights, strict=True)))


def _whole(x: Any) -> Any:
    """Sides made divisible by 32, which the network's padding needs."""
    import torch

    return torch.nn.functional.pad(x, (0, -x.shape[3] % 32, 0, -x.shape[2] % 32), mode="replicate")


class EfficientDistance:
    """Distance in the features of EfficientNet-lite0."""

    def __init__(self, metric: str = "effnet") -> None:
        self._network = load_effnet(metric)

    def reference(self, x: Any) -> None:
        """Take the original, 1 C H W in [0, 1]."""
        self._original = unit_features(self._network.layers(_whole(x)))

    def score(self, y: Any) -> float:
        """Value for a decoded picture."""
        pairs = zip(self._original, unit_features(self._network.layers(_whole(y))), strict=True)
        return float(sum((a - b).square().sum(1).mean() for a, b in pairs))


class LabelAgreement:
    """Probability over labels that stays where it was."""

    def __init__(self) -> None:
        self._network = load_effnet("label_agreement")

    def _labels(self, x: Any) -> Any:
        import torch

        pieces = [piece.permute(2, 0, 1)[None] for piece in patches(x[0].permute(1, 2, 0))]
        return torch.cat([self._network(_whole(piece)).softmax(1) for piece in pieces])

    def reference(self, x: Any) -> None:
        """Take the original, 1 C H W in [0, 1]."""
        self._original = self._labels(x)

    def score(self, y: Any) -> float:
        """Value for a decoded picture, 0..1."""
        return float(self._original.minimum(self._labels(y)).sum(1).mean())


PUBLISHED = (
    Metric("lpips", "LPIPS (AlexNet, v0.1)", False, 4, lambda options: Lpips("alex"), network=True),
    Metric("lpips_vgg", "LPIPS (VGG16, v0.1)", False, 4, lambda options: Lpips("vgg"), network=True),
    Metric("dists", "DISTS (full size)", False, 4, lambda options: Dists(), network=True),
    Metric(
        "effnet", "EfficientNet-lite0 distance (effnet)", False, 4, lambda options: EfficientDistance(), network=True
    ),
    Metric("label_agreement", "agreement of ImageNet labels", True, 3, lambda options: LabelAgreement(), network=True),
)
