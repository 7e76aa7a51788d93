"""The commands of the README run as they are pasted, in order, in an empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


def blocks_of(section: str, language: str = "sh") -> list[str]:
    """The blocks of code below a heading of the README."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## )", (ROOT / "README.md").read_text(), re.S | re.M)[1]
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def test_the_commands_of_use_run_in_order(tmp_path: Path, small: np.ndarray) -> None:
    work, programs = tmp_path / "work", tmp_path / "programs"
    (work / "holiday").mkdir(parents=True)
    programs.mkdir()
    Image.fromarray(small[::4, ::4]).save(work / "photo.jpg")
    Image.fromarray(small[:24, :32]).save(work / "holiday" / "beach.png")
    python = programs / "python"  # the one of these tests, whatever its name
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    blocks = blocks_of("Use")
    commands = [line for block in blocks for line in block.splitlines() if line]
    assert len(commands) >= 10 and all(line.startswith("python -m codec ") for line in commands)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        ["bash", "-e"], input="\n".join(blocks), cwd=work, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    made = {str(file.relative_to(work)) for file in work.rglob("*") if file.is_file()}
    assert {"photo.ldc", "small.ldc", "compressed/beach.ldc", "small.png", "large.png"} <= made
    assert {re.search(r"-o (\S+\.\w+)", line)[1] for line in commands if re.search(r"-o \S+\.\w+", line)} <= made
    with Image.open(work / "small.png") as decoded, Image.open(work / "large.png") as large:
        assert decoded.size == (64, 75) and large.size == (128, 150)


def test_the_first_commands_name_what_there_is() -> None:
    first, second = blocks_of("Two commands")
    for block in (first, second):
        lines = block.splitlines()
        assert all(len(line) <= 110 for line in lines)
        assert lines[0] == "python3.11 -m venv .venv" and lines[1].startswith(
            ".venv/bin/pip install -c constraints.txt -e "
        )
    assert (ROOT / "constraints.txt").is_file()
    photo = re.search(r"site-packages/(\S+)", first)[1]
    import matplotlib

    assert (Path(matplotlib.__file__).parents[1] / photo).is_file()


def test_the_lines_of_python_run(tmp_path: Path, small: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(small[::4, ::4]).save("photo.jpg")
    made: dict[str, Any] = {}
    exec(blocks_of("Use", "python")[0], made)
    assert made["image"].size == (64, 75) and made["large"].size == (128, 150)
