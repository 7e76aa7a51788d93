"""A picture of 12 megapixels is coded in less than 2 GB, interpreter, libraries and weights included."""

import subprocess
import sys
from pathlib import Path

import pytest

import codec

pytestmark = pytest.mark.slow

LIMIT = 2_000_000_000
SIZE = (4000, 3000)


def peak(what: str, path: Path) -> int:
    """Peak memory in bytes of a fresh process."""
    command = [sys.executable, "-m", "tests.support.memory_worker", what, str(path), *map(str, SIZE)]
    done = subprocess.run(command, cwd=Path(codec.__file__).parent.parent, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.fixture(scope="module")
def peaks(tmp_path_factory) -> dict[str, int]:
    path = tmp_path_factory.mktemp("memory") / "large.ldc"
    return {what: peak(what, path) for what in ("encode", "decode")}


@pytest.mark.parametrize("what", ["encode", "decode"])
def test_twelve_megapixels(peaks, what):
    assert (
        4 * SIZE[0] * SIZE[1] < peaks[what] < LIMIT
    )  # from below: what the picture itself takes, so that a broken counter is seen
