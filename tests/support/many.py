"""Folders of small pictures, and the command line over the codec without a network, as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, str(ROOT / "tests" / "support" / "fake_cli.py")]


def draw(folder: Path, count: int, colours: dict[int, tuple[int, int, int]] | None = None, side: int = 12) -> Path:
    """Pictures 0000.png ... of noise; colours: those at the top left of some."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    for number in range(count):
        pixels = rng.integers(0, 200, (side, side, 3), dtype=np.uint8)
        pixels[0, 0] = (colours or {}).get(number, (1, 2, 3))
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    return folder


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def start(*args: object, stderr: IO[str] | int = subprocess.PIPE, **more: str) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    command = [*COMMAND, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment(**more))


def run(*args: object, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
    """The same, waited for; no traceback is ever said."""
    process = start(*args, **more)
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    assert "Traceback" not in err and "internal error" not in err, err
    return subprocess.CompletedProcess(process.args, code, out, err)


def objects(result: subprocess.CompletedProcess[str]) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def made(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, hidden files too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def names(count: int, without: Sequence[int] = ()) -> list[str]:
    return [f"{number:04d}.ldc" for number in range(count) if number not in without]
