"""A run over many files: an engine does them, the manifest gets their rows, and the reports come in the order of the
files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from codec.batch import files
from codec.batch.engine import Died
from codec.batch.files import said, shown
from codec.batch.ledger import DONE, FAILED, Ledger
from codec.batch.outcome import Done, Failure, Needs
from codec.batch.plan import Task
from codec.batch.settings import Settings
from codec.batch.totals import Tally

_DIED = "the process that worked on it died twice, most likely for want of memory"
Engine = Callable[[Sequence[Task]], Iterator[tuple[int, "list[Done] | Needs | Died"]]]


class Listener(Protocol):
    """Is told what happens."""

    def finished(self, task: Task) -> None:
        """A file is done with; in any order."""

    def tell(self, done: Done) -> None:
        """What came of a file or a member of a shard; in the order of the tasks."""


@dataclass
class Summary:
    """What came of a run. files: that were tried; failed: their names, also of members of shards; counted: what the
    outcomes add up to."""

    files: int = 0
    failed: list[str] = field(default_factory=list)
    counted: Tally = field(default_factory=Tally)


def run(
    tasks: Sequence[Task], engine: Engine, settings: Settings, listener: Listener, ledger: Ledger | None
) -> Summary:
    """Do the tasks. What was done before an exception or Ctrl-C is in the manifest, and told."""
    summary = Summary()
    early: dict[int, list[Done]] = {}  # that wait for an earlier one to be told
    told = 0
    try:
        for number, result in engine(tasks):
            task = tasks[number]
            if isinstance(result, Died):
                result = [Done(Failure(settings.command, said(task.source, ""), _DIED), *files.facts(task.source))]
            assert not isinstance(result, Needs)  # engines that grant less than everything ask again
            if ledger is not None:
                ledger.append(result)
            summary.files += 1
            listener.finished(task)
            early[number] = result
            while told in early:
                _tell(early.pop(told), summary, listener)
                told += 1
    finally:
        for number in sorted(early):
            _tell(early[number], summary, listener)
    return summary


def _tell(result: Sequence[Done], summary: Summary, listener: Listener) -> None:
    summary.failed += [done.outcome.input for done in result if isinstance(done.outcome, Failure)]
    for done in result:
        summary.counted.add(done.outcome)
        listener.tell(done)


@dataclass(frozen=True)
class Left:
    """What a run that goes on has left to do. failed: sources that failed before, and are not tried again."""

    tasks: list[Task]
    done: int
    failed: list[str]


def left_of(tasks: Sequence[Task], ledger: Ledger, retry: bool) -> Left:
    """Compare the manifest with what there is: a source that changed, or was done with other settings, or whose output
    is not there as it was, is done again. What the run itself has made is no source."""
    left = Left([], 0, [])
    done = 0
    for task in tasks:
        if task.listed and ledger.made(task.source):
            continue
        name = said(task.source, "")
        known = (task.size, task.stamp) if task.stamp else files.facts(task.source)
        status = ledger.status(name, *known, shown(task.target))
        if status == DONE and not ledger.output_of(task):
            done += 1
        elif status == FAILED and not retry:
            left.failed.append(name)
        else:
            left.tasks.append(ledger.owned(task))
    return Left(left.tasks, done, left.failed)


def cores() -> int:
    """That this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


_PER_MEGAPIXEL = 160e6  # bytes that a picture takes in work, at most
_PER_PROCESS = 500e6  # torch, the weights and the interpreter


def megapixels(processes: int) -> float:
    """That may be in work at one time, by the memory of this machine, of which a fifth stays free."""
    memory = _memory()
    if memory is None:
        return 64.0 * processes
    return max(1.0, (0.8 * memory - processes * _PER_PROCESS) / _PER_MEGAPIXEL)


def _memory() -> float | None:
    """Bytes that are available, within the limit of the container."""
    found: list[float] = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    except (OSError, ValueError):
        try:
            found.append(float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, OSError, ValueError):
            return None
    with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
        found.append(float(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)
