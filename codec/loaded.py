"""The networks beside the base model. Each is loaded at its first use, and kept."""

from __future__ import annotations

from functools import cached_property

import torch

from codec import zoo
from codec.coding.sealed import building
from codec.manifest import Weights
from codec.models.refiner import Refiner
from codec.models.restorer import Restorer


class Loaded:
    """Of one base model, on one device. Raises UnsupportedError for what has no weights there."""

    def __init__(self, weights: Weights, model_id: int, device: torch.device, threads: int | None) -> None:
        self._weights, self._model_id, self._device, self._threads = weights, model_id, device, threads
        self.restorers: dict[str, Restorer] = {}

    def restorer(self, name: str) -> Restorer:
        """Of a decoder: ldm, perceptual or gan."""
        if name not in self.restorers:
            with building(self._threads):
                self.restorers[name] = zoo.load_restorer(self._weights, name, self._model_id, self._device)
        return self.restorers[name]

    @cached_property
    def labels(self) -> zoo.Labels:
        with building(self._threads):
            return zoo.load_labels(self._weights, self._model_id, self._device)

    @cached_property
    def refiner(self) -> Refiner:
        with building(self._threads):
            return zoo.read_refiner(self._weights.refiners[self._model_id], self._device)
