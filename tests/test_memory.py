"""Memory of large pictures, interpreter, libraries and weights included, and work on empty ones."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import codec
from codec.bitstream.container import Header, pack
from codec.coding import tiles
from codec.models import exact, integer_prior
from codec.models.alike import Alike

SIZE, LARGE = (3000, 2000), (5000, 3600)
#: bytes; measured 700 to 726 and 912 to 951 million, with kernels for AVX-512 and for AVX2; before the codec saved
#: memory, 916 and 1314 million
LIMITS = {"encode": 830_000_000, "decode": 1_060_000_000}
#: bytes for each further pixel, from a size on at which all tiles are of their full size; measured up to 27 and 10, of
#: which 10 are chance; before, encoding took 62
GROWTH = 50


def peak(what: str, path: Path, size: tuple[int, int] = SIZE) -> int:
    """Peak memory in bytes of a fresh process."""
    command = [sys.executable, "-m", "tests.support.memory_worker", what, str(path), *map(str, size)]
    done = subprocess.run(command, cwd=Path(codec.__file__).parent.parent, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.fixture(scope="module")
def peaks(tmp_path_factory) -> dict[str, int]:
    path = tmp_path_factory.mktemp("memory") / "picture.ldc"
    return {what: peak(what, path) for what in ("encode", "decode")}


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> dict[str, int]:
    path = tmp_path_factory.mktemp("memory") / "large.ldc"
    return {what: peak(what, path, LARGE) for what in ("encode", "decode")}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["encode", "decode"])
def test_six_megapixels(peaks, what):
    # from below: what the picture itself takes, so that a broken counter is seen
    assert 4 * SIZE[0] * SIZE[1] < peaks[what] < LIMITS[what]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["encode", "decode"])
def test_growth_with_the_picture(peaks, large, what):
    growth = large[what] - peaks[what]
    assert growth < GROWTH * (LARGE[0] * LARGE[1] - SIZE[0] * SIZE[1])


def counted(monkeypatch, owner, name: str) -> list[int]:
    """Calls of a method, one entry each."""
    calls, method = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: calls.append(1) or method(*args, **kwargs))
    return calls


def test_what_is_empty_costs_what_is_different_in_it(small_codec, monkeypatch):
    """A forged file of a few bytes that claims a large picture, cut short: the same pixels as by computing all of it,
    at a fraction of the work."""
    monkeypatch.setattr(tiles, "TILE", 8)
    monkeypatch.setattr(integer_prior, "AT_ONCE", 8)
    header = Header(1536, 1280, 0, small_codec.model.table_hash, 3000)
    data = pack(header, [b"", b"abcdef", b"gh"])[:-8]
    nets = counted(monkeypatch, exact.Net, "__call__")
    drawn = counted(monkeypatch, type(small_codec.model.vqvae), "pixels")
    short = small_codec.decode_array(data, allow_truncated=True)
    work = len(nets), len(drawn)
    monkeypatch.setattr(Alike, "find", lambda *arguments: None)
    nets.clear(), drawn.clear()
    whole = small_codec.decode_array(data, allow_truncated=True)
    assert whole.shape == (1280, 1536, 3) and np.array_equal(short, whole) and np.ptp(whole) > 0
    assert work[0] < len(nets) / 2 and work[1] < len(drawn) / 2
    assert len(drawn) == 12 * 10
