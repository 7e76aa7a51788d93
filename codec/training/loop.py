"""The training loop: a stage says what a step and a validation are, everything else is here, once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from codec.training.optim import Ema
from codec.training.processes import Clock, rank_and_world
from codec.training.run import Run

DIVERGED = 50.0  # a run ends when its mean loss is more than so many times the least


class Stage(ABC):
    """What one kind of training is. The optimisers' groups have their highest rate as "peak".

    Every step has a generator of its own, made of seed, number and process, and torch's is seeded from it: a run that was
    stopped goes on with the same numbers.
    """

    module: nn.Module  # what is trained, averaged and saved
    optimisers: list[torch.optim.Optimizer]
    clip: tuple[list[nn.Parameter], float] | None = None  # whose gradients are clipped, and their largest norm
    facts: dict[str, Any] = {}  # noqa: RUF012  for the checkpoint: what is needed to read it

    @abstractmethod
    def rate(self, step: int) -> float:
        """Factor of the peak rates."""

    @abstractmethod
    def step(self, step: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Leaves gradients, the same in all processes -> what the log shows the means of, the loss first."""

    @abstractmethod
    def validate(self) -> Iterable[dict[str, float]]:
        """Rows for validation.csv, of the averaged weights; only the first process asks."""

    def after(self, done: int) -> None:  # noqa: B027  a hook
        """Called when the weights have moved."""

    def logged(self, done: int) -> bool:
        """Whether the log has a row for this step; the last one has."""
        return done % 50 == 0

    def state(self) -> dict[str, Any]:
        """More to keep in a checkpoint."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027  a hook
        """Takes it back."""


def run_stage(
    stage: Stage,
    run: Run,
    config: Any,
    device: torch.device | str,
    stop_at: int | None = None,
    keep: Callable[[int, float], None] | None = None,
) -> None:
    """Begins or resumes a training, up to ``config.steps`` or ``stop_at``; the module has the averaged weights then.

    config: steps, ema, seed, validate, save. keep(step, seconds): called before a validation. Raises SystemExit where the
    loss runs away: what a checkpoint has from before that is kept.
    """
    (rank, _), module, state = rank_and_world(), stage.module, run.load()
    ema = Ema(module, config.ema)
    if state is not None:
        module.load_state_dict(state["model"])
        for opt, saved in zip(stage.optimisers, state["optimisers"], strict=True):
            opt.load_state_dict(saved)
        for mean, saved in zip(ema.mean, state["ema"], strict=True):
            mean.copy_(saved)
        stage.restore(state)
    first, last = 0 if state is None else state["step"], min(config.steps, stop_at or config.steps)
    clock, least = Clock(device, 0.0 if state is None else state["seconds"]), np.inf
    seen: list[torch.Tensor] = []
    bar = tqdm(range(first, last), initial=first, total=last, disable=None if rank == 0 else True)
    for step in bar:
        rng = np.random.default_rng((config.seed, step, rank))
        torch.manual_seed(int(rng.integers(2**62)))
        found = stage.step(step, rng)
        if stage.clip is not None:
            found = {**found, "grad_norm": torch.nn.utils.clip_grad_norm_(*stage.clip)}
        for opt in stage.optimisers:
            for group in opt.param_groups:
                group["lr"] = group["peak"] * stage.rate(step)
            opt.step()
        ema.update(step)
        seen.append(torch.stack([value.detach().mean() for value in found.values()]))
        done = step + 1
        stage.after(done)
        if stage.logged(done) or done == last:
            means = dict(zip(found, torch.stack(seen).mean(0).tolist(), strict=True))
            run.row("log", done, {**means, "seconds": clock.seconds()})
            loss = next(iter(means.values()))
            bar.set_postfix(loss=f"{loss:.3f}")
            seen, least = [], min(least, loss)
            if not loss <= DIVERGED * least:  # also for NaN
                raise SystemExit(
                    f"the loss ran away, from {least:.3g} to {loss:.3g}, before step {done}: begin again with lower rates"
                )
        if done % config.validate == 0 or done == config.steps:
            ema.swap()
            if rank == 0:
                if keep is not None:
                    keep(done, clock.seconds())
                for row in stage.validate():
                    run.row("validation", done, {**row, "seconds": clock.seconds()})
            ema.swap()
        if done % config.save == 0 or done == last:
            kept = {"step": done, "seconds": clock.seconds(), "model": module.state_dict(), "ema": ema.mean}
            optimisers = [opt.state_dict() for opt in stage.optimisers]
            run.save({**stage.facts, **kept, "optimisers": optimisers, **stage.state()})
    ema.swap()
