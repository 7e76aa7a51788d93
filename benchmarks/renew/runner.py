"""Runs steps, side by side where they take one core."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO

from tqdm import tqdm

from benchmarks.renew.state import DONE, Marks, register
from benchmarks.renew.steps import RESULTS, Step

KEPT = ("rd.csv", "mean.csv", "bd.csv", "run.json")  # of a set of pictures that is measured elsewhere
BEGUN = "begun.json"  # in OUT: steps that have some of their rows


class Stopped(Exception):
    """No command is begun any more."""


class Commands:
    """Python commands of this checkout, all of which can be stopped."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen] = set()
        self._lock, self._stopped = threading.Lock(), False

    def run(self, command: str, inputs: dict[str, str], log: IO[str] | None = None) -> bool:
        """inputs: what its names in braces stand for -> whether it succeeded. Raises Stopped."""
        words = [word.format(**inputs) for word in shlex.split(command)]
        paths = [str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        with self._lock:
            if self._stopped:
                raise Stopped
            child = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log, env=environment)
            self._running.add(child)
        try:
            return child.wait() == 0
        finally:
            with self._lock:
                self._running.discard(child)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for child in self._running:
                child.terminate()


def run(step: Step, commands: Commands, inputs: dict[str, str], out: Path, begun: bool) -> float:
    """Runs a step -> seconds. begun: a part of its rows is of these weights already. Raises RuntimeError for a command
    that fails, OSError for a table that is not there afterwards, Stopped."""
    start = time.perf_counter()
    if not begun:
        for name in step.anew:
            (RESULTS / name).unlink(missing_ok=True)
    with open(out / f"{step.name}.log", "w") as log:
        for command in step.commands:
            if not commands.run(command, inputs, log):
                raise RuntimeError(f"see {out / f'{step.name}.log'}")
    for name in step.gone:
        (RESULTS / name).unlink(missing_ok=True)
    for folder, place in step.copies:
        (RESULTS / place).mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            shutil.copy(Path(folder) / name, RESULTS / place / name)
    return time.perf_counter() - start


def renew(
    steps: list[Step],
    commands: Commands,
    inputs: dict[str, str],
    out: Path,
    now: dict[str, str],
    model: int,
    jobs: int,
) -> list[str]:
    """Runs steps -> names of those that failed, which are told on the way. An interrupt stops all commands."""
    done, begun = Marks(RESULTS / DONE), Marks(out / BEGUN)
    waiting, running, failed = list(steps), dict[Future, Step](), list[str]()
    bar = tqdm(total=round(sum(s.minutes for s in steps)), unit="min", disable=None)
    with bar, ThreadPoolExecutor(jobs) as pool:
        try:
            while waiting or running:
                free = jobs - sum(jobs if s.whole else 1 for s in running.values())
                if fits := [s for s in waiting if (jobs if s.whole else 1) <= free]:
                    step = fits[0]
                    waiting.remove(step)
                    going_on = begun.has(step, now)
                    begun.put(step, now)
                    running[pool.submit(run, step, commands, inputs, out, going_on)] = step
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    step = running.pop(future)
                    try:
                        tqdm.write(f"{step.name}: {future.result() / 60:.1f} min", file=sys.stderr)
                    except (RuntimeError, OSError) as error:
                        failed.append(step.name)
                        tqdm.write(f"{step.name} failed: {error}", file=sys.stderr)
                    else:
                        register(step.tables, model)
                        done.put(step, now)
                        begun.drop(step)
                    bar.update(round(step.minutes))
        except BaseException:
            commands.stop()
            raise
    return failed
