"""What the command line says: one line per file, a progress bar, JSON objects, and errors as one sentence."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict

from codec.batch import files
from codec.batch.outcome import Done, Failure, Outcome
from codec.batch.plan import Task
from codec.batch.totals import Totals
from codec.cli import PROGRAM


class Terminal:
    """Everything said during a run over files: standard error, and JSON lines on standard output.

    tasks: the files. as_json: JSON objects instead of summary lines. quiet: nothing but errors. debug: tracebacks too.
    """

    def __init__(
        self, *, tasks: Sequence[Task] = (), as_json: bool = False, quiet: bool = False, debug: bool = False
    ) -> None:
        self._as_json = as_json
        self._quiet = quiet
        self._debug = debug
        self._tasks = tasks
        self._files = len(tasks)
        self._bytes = 0
        self.done = 0
        self._bar = None
        if not quiet and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self._weights = {task.source: _weight(task) for task in tasks}
            layout = "{desc}{percentage:3.0f}% |{bar}| {elapsed} < {remaining}"
            self._bar = tqdm(total=sum(self._weights.values()), file=sys.stderr, leave=False, bar_format=layout)
            self._count()

    def progress(self, fraction: float) -> None:
        """Show that a fraction (0..1) of the current file is done, where they are done one after another."""
        if self._bar is not None and self.done < self._files:
            now = self._weights[self._tasks[self.done].source] * fraction
            self._bar.update(self._bytes + now - self._bar.n)

    def finished(self, task: Task) -> None:
        """A file is done with."""
        self.done += 1
        if self._bar is not None:
            self._bytes += self._weights[task.source]
            self._count()
            self._bar.update(self._bytes - self._bar.n)

    def _count(self) -> None:
        if self._bar is not None and self._files > 1:
            sizes = f"{self._bytes / 1e6:.1f} of {self._bar.total / 1e6:.1f} MB"
            self._bar.set_description_str(f"{self.done} of {self._files} files, {sizes} ", refresh=False)

    def tell(self, done: Done) -> None:
        """What came of a file."""
        outcome = done.outcome
        if isinstance(outcome, Failure):
            self.failure(outcome, done.trace)
            return
        if not self._quiet:
            for note in getattr(outcome, "notes", ()):
                self._say(f"{outcome.input}: note: {note}")
        if self._as_json:
            self._print_json(outcome)
        elif not self._quiet:
            self._say(outcome.line())

    def failure(self, failure: Failure, trace: str) -> None:
        self._say(f"{PROGRAM}: error: {failure.input}: {failure.error}")
        if self._as_json:
            self._print_json(failure)
        if self._debug:
            for line in trace.rstrip().splitlines():
                self._say(line)

    def totals(self, totals: Totals) -> None:
        """What all files came to."""
        if self._as_json:
            self._print_json(totals)
        elif not self._quiet:
            self._say(f"{PROGRAM}: {totals.line()}")

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        say(text)
        if self._bar is not None:
            self._bar.refresh()

    def _print_json(self, value: Outcome | Totals) -> None:
        print(json.dumps(asdict(value)), flush=True)


def _weight(task: Task) -> int:
    """Bytes of the source, at least 1."""
    size = task.size
    if size is None and not files.is_url(task.source):
        size = files.facts(task.source)[0]
    return max(1, size or 0)


def say(text: str) -> None:
    """Print one line on standard error, if it is open."""
    if sys.stderr is not None:  # print() would take standard output instead, and with it perhaps a picture
        print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` on one line that cannot steer a terminal: file names may hold anything."""
    return "".join(c.encode("unicode_escape").decode() if _steers(c) else c for c in text)


def _steers(c: str) -> bool:
    """Controls, ends of lines, turns of the direction of writing, and bytes that are no text."""
    return unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069"
