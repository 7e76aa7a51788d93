"""Which weights each step was last run with, and which model the tables are of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from benchmarks.analysis.models import REGISTER
from benchmarks.harness.errors import BenchmarkError
from benchmarks.renew.steps import RESULTS, Step

DONE = "renewed.json"  # in RESULTS: step -> hashes of the weights


def digests(manifest: dict) -> dict[str, str]:
    """What a step depends on -> first 8 hexadecimal digits of the SHA-256 of its files."""
    number = str(manifest["default"])

    def of(section: str) -> str:
        return " ".join(sorted(e["sha256"][:8] for e in manifest[section].values() if str(e["model"]) == number))

    return {"base": manifest["models"][number]["sha256"][:8], "refiner": of("refiners"), "semantic": of("semantic")}


def mark(step: Step, now: dict[str, str]) -> str:
    """What says that a step is of these weights."""
    return " ".join(now[name] for name in step.of)


def read_marks(path: Path) -> dict[str, str]:
    """Raises BenchmarkError for a file that holds no marks."""
    try:
        marks = json.loads(path.read_text())
    except ValueError:  # no JSON, or no text
        marks = None
    if not isinstance(marks, dict) or not all(isinstance(value, str) for value in marks.values()):
        raise BenchmarkError(f"{path} does not hold what was measured: without it, all is due")
    return marks


class Marks:
    """Step -> mark, in a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.marks: dict[str, str] = read_marks(path) if path.is_file() else {}

    def has(self, step: Step, now: dict[str, str]) -> bool:
        return self.marks.get(step.name) == mark(step, now)

    def put(self, step: Step, now: dict[str, str]) -> None:
        self.marks[step.name] = mark(step, now)
        self._write()

    def drop(self, step: Step) -> None:
        self.marks.pop(step.name, None)
        self._write()

    def _write(self) -> None:
        replace_text(self._path, json.dumps(self.marks, indent=1, sort_keys=True) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Writes all of a file or nothing."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def register(tables: Iterable[str], model: int) -> None:
    """Writes into models.csv that tables are of a model."""
    path, renewed = RESULTS / REGISTER, set(tables)
    lines = [line.split(",", 2) for line in path.read_text().splitlines()]
    replace_text(path, "".join(f"{t},{model if t in renewed else old},{of}\n" for t, old, of in lines))
