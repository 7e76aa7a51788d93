"""Training for a given time: schedule by the clock, averaged weights, a way back from divergence, checkpoints, a log."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from tqdm import tqdm

from codec.training.optim import Ema
from codec.training.run import Run

CHECK = 50  # steps between looks at the loss
RAN_AWAY = 2.5  # times the least mean loss of a run
SNAPSHOT = 200  # steps between states to go back to


def rate(done: float, step: int, warmup: int, hold: float) -> float:
    """done: share of the run's time, 0..1 -> factor of the learning rates: warm-up, constant, then a half cosine to 0 from ``hold`` on."""
    fall = 1.0 if done < hold else 0.5 + 0.5 * math.cos(math.pi * min(1.0, (done - hold) / (1 - hold)))
    return min(1.0, (step + 1) / warmup) * fall


class Loop:
    """``step(rng, done)`` -> {name: scalar tensor}, "loss" among them, and moves the weights by ``optimisers``, whose rates are set here. ``validate()`` -> {name: number}, with the averaged weights in place."""

    def __init__(
        self,
        folder: Path,
        config: Any,
        nets: dict[str, nn.Module],
        optimisers: list[torch.optim.Optimizer],
        averaged: nn.Module,
    ) -> None:
        """config: seconds, steps, warmup, hold, ema and seed are used here."""
        device = next(averaged.parameters()).device
        self.notes = Run(folder, config, True, device)
        self.config, self.nets, self.optimisers, self.averaged = config, nets, optimisers, averaged
        self.spent, self.step_number, self.damping = 0.0, 0, 1.0
        self.ema = Ema(averaged, config.ema)
        for group in (g for o in optimisers for g in o.param_groups):
            group["peak"] = group["lr"]
        if (state := self.notes.load()) is not None:
            self._restore(state)
        self._good = copy.deepcopy(self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step_number, "spent": self.spent, "damping": self.damping, "ema": self.ema.mean,
            "nets": {k: n.state_dict() for k, n in self.nets.items()}, "optimisers": [o.state_dict() for o in self.optimisers],
        }  # fmt: skip

    def _restore(self, state: dict[str, Any], with_time: bool = True) -> None:
        if with_time:
            self.spent, self.step_number, self.damping = state["spent"], state["step"], state["damping"]
        with torch.no_grad():
            for mean, saved in zip(self.ema.mean, state["ema"], strict=True):
                mean.copy_(saved)
        for k, n in self.nets.items():
            n.load_state_dict(state["nets"][k])
        for o, saved in zip(self.optimisers, state["optimisers"], strict=True):
            o.load_state_dict(copy.deepcopy(saved))

    def save(self) -> None:
        self.notes.save(self._state())

    def row(self, name: str, values: dict[str, float]) -> None:
        self.notes.row(name, self.step_number, {**values, "seconds": self.spent})

    def run(
        self,
        step: Callable[[np.random.Generator, float], dict[str, torch.Tensor]],
        validate: Callable[[], dict[str, float]],
        every: float,
    ) -> None:
        """Runs to the end of its time (or of its ``steps``). every: seconds between validations, not counted into the time."""
        device = next(self.averaged.parameters()).device
        seen: list[torch.Tensor] = []
        names: list[str] = []
        least, looked = math.inf, self.spent
        bar = tqdm(total=round(self.config.seconds), initial=round(self.spent), unit="s", disable=None)
        start = time.perf_counter() - self.spent
        while self.spent < self.config.seconds and (not self.config.steps or self.step_number < self.config.steps):
            done = self.spent / self.config.seconds
            factor = rate(done, self.step_number, self.config.warmup, self.config.hold) * self.damping
            for group in (g for o in self.optimisers for g in o.param_groups):
                group["lr"] = group["peak"] * factor
            rng = np.random.default_rng((self.config.seed, self.step_number))
            torch.manual_seed(int(rng.integers(2**62)))
            found = step(rng, done)
            self.ema.update(self.step_number)
            self.step_number += 1
            names = list(found)
            seen.append(torch.stack([v.detach().float() for v in found.values()]))
            if self.step_number % CHECK == 0:
                means = dict(zip(names, torch.stack(seen).mean(0).tolist(), strict=True))  # waits for the device
                seen = []
                self.spent = time.perf_counter() - start
                self.row("log", means | {"rate": factor})
                bar.update(round(self.spent) - bar.n)
                bar.set_postfix(loss=f"{means['loss']:.3f}", step=self.step_number)
                if bar.disable and self.step_number % (4 * CHECK) == 0:
                    print(
                        f"{self.spent:.0f} s, step {self.step_number}: "
                        + ", ".join(f"{k} {v:.4g}" for k, v in means.items()),
                        file=sys.stderr,
                        flush=True,
                    )
                if not math.isfinite(means["loss"]) or means["loss"] > RAN_AWAY * least + 0.5:
                    self._restore(self._good, with_time=False)
                    self.damping *= 0.5
                    print(
                        f"the loss ran away at step {self.step_number}: back to the last good state, at half the learning rate",
                        file=sys.stderr,
                        flush=True,
                    )
                    continue
                least = min(least, means["loss"])
                if self.step_number % SNAPSHOT == 0:
                    self._good = copy.deepcopy(self._state())
                if self.spent - looked >= every:
                    looked = self.spent
                    self.row("validation", self._validated(validate))
                    self.save()
                    start = time.perf_counter() - self.spent
            elif device.type == "cpu":
                self.spent = time.perf_counter() - start
        bar.close()
        if seen:
            self.row("log", dict(zip(names, torch.stack(seen).mean(0).tolist(), strict=True)) | {"rate": factor})
        self.row("validation", self._validated(validate))
        self.save()

    def _validated(self, validate: Callable[[], dict[str, float]]) -> dict[str, float]:
        self.ema.swap()
        found = validate()
        self.ema.swap()
        print(
            f"{self.spent:.0f} s, step {self.step_number}: " + ", ".join(f"{k} {v:.4g}" for k, v in found.items()),
            file=sys.stderr,
            flush=True,
        )
        return found
