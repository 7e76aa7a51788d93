"""What a metric is: one record beside its maker, from which lists, axes, directions and digits of tables come."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """A metric of decoded pictures.

    A metric of one picture has a maker that takes `MetricOptions` and gives an `ImageMetric`. A metric of a set has
    `features`, the kind that `FeatureExtractor` keeps; its maker takes the features of originals, those of decoded
    pictures and the kind, and gives an estimate: called, it is the value; `resampled(draws)` is for resampled pictures.
    """

    name: str
    axis: str  # text at an axis
    higher_is_better: bool
    digits: int  # in tables
    maker: Callable[..., Any]
    features: str = ""  # of a metric of a set
    network: bool = False  # of features of a network with published weights: means come with their intervals
