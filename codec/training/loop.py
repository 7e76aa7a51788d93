"""The training loop: a stage says what a step and a validation are, everything else is here, once."""

from __future__ import annotations

import copy
import math
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from codec.training.moving import Mover
from codec.training.optim import Ema
from codec.training.processes import Clock, average, rank_and_world
from codec.training.run import Run

GOOD = 4  # rows of the log between states to go back to
RETURNS = 5  # times that a run goes back before it gives up
LINES = 30.0  # seconds between lines where there is no terminal
WARM, TIMED = 3, 10  # of its first steps a run times those between
SHORT = 30.0  # seconds: no estimate is said of what takes less


@dataclass(frozen=True)
class Done:
    """How far a run is: steps, and its share, 0..1, of the steps or of the time, whichever ends it."""

    steps: int
    share: float


@dataclass(frozen=True)
class Every:
    """How often something happens: every so many steps, or seconds of training; 0: only at the end."""

    steps: int = 0
    seconds: float = 0.0


def warm_hold_fall(done: Done, warmup: int, hold: float) -> float:
    """Factor of the rates: warm-up in steps, constant, then a half cosine to 0 from the share ``hold`` on."""
    fall = 0.0 if done.share < hold else min(1.0, (done.share - hold) / max(1 - hold, 1e-9))
    return min(1.0, (done.steps + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * fall))


class Stage(ABC):
    """What one kind of training is. The optimisers' groups have their highest rate as "peak".

    Every step has a generator of its own, made of seed, number and process, and torch's is seeded from it: a run that
    was stopped goes on with the same numbers.
    """

    module: nn.Module  # what is trained, averaged and saved
    optimisers: list[torch.optim.Optimizer]
    clip: tuple[list[nn.Parameter], float] | None = None  # whose gradients are clipped, and their largest norm
    facts: dict[str, Any] = {}  # noqa: RUF012  for the checkpoint: what is needed to read it
    moves = False  # whether ``step`` calls ``mover`` too, which the loop gives it, so that all of it can be recorded
    mover: Mover
    away = 10.0  # a loss of more than so many times the least means that the run diverges

    @abstractmethod
    def rate(self, done: Done) -> float:
        """Factor of the peak rates."""

    @abstractmethod
    def step(self, done: Done, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Leaves gradients, the same in all processes -> what the log shows the means of, the loss first."""

    @abstractmethod
    def validate(self) -> Iterable[dict[str, float]]:
        """Rows for validation.csv, of the averaged weights; only the first process asks."""

    def moving(self) -> list[torch.optim.Optimizer]:
        """The optimisers that have gradients after a step."""
        return self.optimisers

    def after(self, steps: int) -> None:  # noqa: B027  a hook
        """Called when the weights have moved."""

    def logged(self, steps: int) -> bool:
        """Whether the log has a row for this step; the last one has."""
        return steps % 50 == 0

    def keep(self, steps: int, seconds: float) -> None:  # noqa: B027  a hook
        """Called before a validation, with the averaged weights in place."""

    def state(self) -> dict[str, Any]:
        """More to keep in a checkpoint."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027  a hook
        """Takes it back."""

    def forget(self) -> None:  # noqa: B027  a hook
        """Called when tensors that were moved have been replaced by others: a recording of the step is void."""


class Loop:
    """A training that begins, or goes on from its folder.

    config: steps (at most; 0: time alone decides), seconds (of training, 0: steps alone decide), ema, seed. After
    ``run`` the module has the averaged weights.
    """

    def __init__(self, stage: Stage, run: Run, config: Any, device: torch.device | str) -> None:
        self.stage, self.notes, self.config, self.device = stage, run, config, torch.device(device)
        self.steps, self.spent, self.damping, self._returns = 0, 0.0, 1.0, 0
        self.ema = Ema(stage.module, config.ema)
        self.mover = stage.mover = Mover(stage.optimisers, stage.clip, self.ema)
        self._rows = 0
        state = run.load()
        if state is not None:
            self.steps, self.spent = state["step"], state.get("spent", 0.0)
            self._take(state)
        self.clock = Clock(device, 0.0 if state is None else state["seconds"])
        self._good = self._kept()

    def _kept(self) -> dict[str, Any]:
        """A copy of all that the next step depends on."""
        stage = self.stage
        found = {"model": stage.module.state_dict(), "ema": self.ema.mean, "damping": self.damping}
        return copy.deepcopy({**found, "optimisers": [o.state_dict() for o in stage.optimisers], **stage.state()})

    def _take(self, state: dict[str, Any]) -> None:
        stage, self.damping = self.stage, state.get("damping", 1.0)
        stage.module.load_state_dict(state["model"])
        self.mover.load(copy.deepcopy(state["optimisers"]))
        stage.forget()
        with torch.no_grad():
            for mean, saved in zip(self.ema.mean, state["ema"], strict=True):
                mean.copy_(saved)
        stage.restore(state)

    def save(self) -> None:
        at = {"step": self.steps, "seconds": self.clock.seconds(), "spent": self.spent}
        self.notes.save({**self.stage.facts, **at, **self._kept()})

    def _share(self) -> float:
        """Of the run, 0..1, the same in all processes."""
        by_time = torch.tensor([self.spent / self.config.seconds if self.config.seconds else 0.0])
        if rank_and_world()[1] > 1:
            by_time = by_time.to(self.device)
            average([by_time])
        return max(float(by_time), self.steps / self.config.steps if self.config.steps else 0.0)

    def run(self, validate: Every, save: Every, stop_at: int | None = None) -> None:
        """Runs to the end, or up to ``stop_at`` steps. Raises SystemExit where the loss keeps running away, and after
        an interrupt, which saves the run."""
        rank, world = rank_and_world()
        last = min(self.config.steps or sys.maxsize, stop_at or sys.maxsize)
        total, unit = (round(self.config.seconds), "s") if self.config.seconds else (last, "step")
        seen: list[torch.Tensor] = []
        validated = saved = said = self.spent
        least, began, share = math.inf, time.perf_counter() - self.spent, self._share()
        first, warm = self.steps, 0.0
        bar = tqdm(total=total, unit=unit, disable=None if rank == 0 else True)
        with bar, interrupts(world == 1) as asked:
            while share < 1 and self.steps < last and not asked.is_set():
                found = self.step(Done(self.steps, share), rank)
                seen.append(torch.stack([value.detach().float().mean() for value in found.values()]))
                self.steps += 1
                if self.device.type == "cpu":
                    self.spent = time.perf_counter() - began
                if rank == 0 and not self.config.seconds and self.steps - first in (WARM, TIMED):
                    timed = self._now() - began - warm
                    if warm:
                        tell(last - self.steps, timed / (TIMED - WARM))
                    warm = timed
                share = self._share() if world == 1 else share
                if share >= 1 or self.steps >= last or self.stage.logged(self.steps):
                    means = torch.stack(seen).mean(0)
                    average([means])
                    row, seen = dict(zip(found, means.tolist(), strict=True)), []  # waits for the device
                    self.spent = time.perf_counter() - began
                    seconds = self.clock.seconds()
                    self.notes.row("log", self.steps, {**row, "seconds": seconds})
                    least, said = self._look(row, least, said, bar)
                    share = self._share()
                if due(validate, self.steps, self.spent - validated, share >= 1):
                    validated = self.spent
                    self._validate(rank)
                    began = time.perf_counter() - self.spent
                if due(save, self.steps, self.spent - saved, share >= 1 or self.steps >= last):
                    saved = self.spent
                    self.save()
                    began = time.perf_counter() - self.spent
                bar.update(min(total, round(self.spent) if unit == "s" else self.steps) - bar.n)
            if asked.is_set():
                self.save()
        if asked.is_set():
            raise SystemExit(f"stopped after step {self.steps}; the same command goes on from there")
        self.ema.swap()

    def _now(self) -> float:
        """The clock, once the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def step(self, done: Done, rank: int = 0) -> dict[str, torch.Tensor]:
        """One step of the run -> what the log shows the means of."""
        stage, rng = self.stage, np.random.default_rng((self.config.seed, done.steps, rank))
        torch.manual_seed(int(rng.integers(2**62)))
        self.mover.set(stage.rate(done) * self.damping, done.steps)
        found = stage.step(done, rng)
        if not stage.moves:
            found = {**found, **self.mover(stage.moving())}
        stage.after(done.steps + 1)
        return found

    def _look(self, row: dict[str, float], least: float, said: float, bar: tqdm) -> tuple[float, float]:
        """Goes back if the loss ran away, keeps a state to go back to now and then -> the least loss, and when a line
        was last printed."""
        loss = next(iter(row.values()))
        if bar.disable and self.spent - said >= LINES and rank_and_world()[0] == 0:
            said = self.spent
            values = ", ".join(f"{k} {v:.4g}" for k, v in row.items())
            print(f"step {self.steps}, {self.spent:.0f} s: {values}", file=sys.stderr, flush=True)
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if not loss <= self.stage.away * least:  # also for NaN
            self._returns += 1
            if self._returns > RETURNS:
                raise SystemExit(
                    f"the loss ran away {self._returns} times, the last time from {least:.3g} to {loss:.3g} before step "
                    f"{self.steps}: begin again with lower rates"
                )
            damping = self.damping / 2
            self._take(self._good)
            self.damping = damping
            tqdm.write(
                f"the loss ran away before step {self.steps}: back to the last good state, at {damping:g} of the rates",
                file=sys.stderr,
            )
            return least, said
        self._rows += 1
        if self._rows % GOOD == 0:
            self._good = self._kept()
        return min(least, loss), said

    def _validate(self, rank: int) -> None:
        self.ema.swap()
        if rank == 0:
            self.stage.keep(self.steps, self.clock.seconds())
            for row in self.stage.validate():
                self.notes.row("validation", self.steps, {**row, "seconds": self.clock.seconds()})
        self.ema.swap()


def tell(steps: int, seconds: float) -> None:
    """Says how long the steps that are left take, at so many seconds each."""
    if steps * seconds >= SHORT:
        said = f"the {steps} steps that are left take about {duration(steps * seconds)} here, {seconds:.2g} s each"
        tqdm.write(f"{said}; validations come on top", file=sys.stderr)


def duration(seconds: float) -> str:
    """In words: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def due(every: Every, steps: int, seconds: float, ended: bool) -> bool:
    """seconds: since the last time."""
    return ended or bool(every.steps and steps % every.steps == 0) or bool(every.seconds and seconds >= every.seconds)


@contextmanager
def interrupts(wanted: bool) -> Iterator[threading.Event]:
    """Within it Ctrl-C sets the event instead of raising; the second one raises. Outside the main thread, and if not
    ``wanted``, nothing changes."""
    asked = threading.Event()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield asked
        return
    held = signal.getsignal(signal.SIGINT)

    def handle(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, held)

    signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, held)
