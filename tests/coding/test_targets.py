"""The search for a level that meets a target."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.container import MAX_LEVEL
from codec.coding.targets import GAIN, NEAR, OutOfReach, TooSmall, crossing, largest_below, smallest_reaching

RESULTS = Path(__file__).parents[2] / "results"


def nothing(done: float) -> None:
    assert 0 <= done <= 1


@pytest.fixture(scope="module")
def curves() -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each picture of Kodak, at every level: bytes and PSNR, between those that were measured."""
    with open(RESULTS / "kodak" / "rd.csv", newline="") as f:
        rows = [row for row in csv.DictReader(f) if row["codec"] == "ours-vq"]
    found = []
    for image in sorted({row["image"] for row in rows}):
        at = sorted(
            (float(r["setting"]) * 64, float(r["bytes"]), float(r["psnr"])) for r in rows if r["image"] == image
        )
        level, size, psnr = np.array(at).T
        every = np.arange(MAX_LEVEL + 1)
        found.append((np.exp(np.interp(every, level, np.log(size))).astype(int), np.interp(every, level, psnr)))
    assert len(found) == 24
    return found


def bisection(size: np.ndarray, target: int) -> int:
    """Encodes until a file is as near."""
    low, high, turns = 0, len(size), 1
    while high - low > 1 and size[low] < NEAR * target:
        middle, turns = (low + high) // 2, turns + 1
        low, high = (middle, high) if size[middle] <= target else (low, middle)
    return turns


def test_photographs_take_few_encodes(curves):
    """Little more than half of what bisection takes."""
    turns: dict[str, list[int]] = {"bytes": [], "psnr": [], "halves": []}
    for size, psnr in curves:
        calls: list[int] = []

        def at(level, effort, step, size=size, calls=calls):
            calls.append(level)
            return bytes(size[level])

        for target in (1200, 4000, 15_000, 30_000):
            calls.clear()
            data = largest_below(target, at, 1, nothing)
            fits = size[size <= target].max()
            assert 0.998 * min(target, fits) <= len(data) <= target
            turns["bytes"].append(len(calls))
            turns["halves"].append(bisection(size, target))
        for wanted in (26, 30, 34):
            calls.clear()
            data = smallest_reaching(lambda data, psnr=psnr, w=wanted, c=calls: psnr[c[-1]] - w, at, 1, nothing)
            assert len(data) == size[np.flatnonzero(psnr >= wanted)[0]]
            turns["psnr"].append(len(calls))
    assert np.mean(turns["bytes"]) < 0.55 * np.mean(turns["halves"]) and max(turns["bytes"]) <= 10
    every = math.ceil(math.log2(MAX_LEVEL + 2))  # of bisection that goes to the end
    assert np.mean(turns["psnr"]) < 0.6 * every and max(turns["psnr"]) < every


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=200).map(sorted), st.booleans())
def test_any_rising_function_is_crossed_where_it_passes_0(values, known):
    asked: list[int] = []

    def value(k: int) -> float:
        asked.append(k)
        return values[k]

    found = crossing(value, (-1, len(values)), -1.0 if known else None, 0.01)
    first = int(np.searchsorted(values, 0.0))
    assert found == (first - 1, first)
    assert len(set(asked)) == len(asked) <= 2 * math.ceil(math.log2(len(values) + 1)) + 2


@pytest.mark.parametrize(("worse", "wanted"), [(0, b"2 100"), (1, b"1 100")])
def test_a_search_that_misses_the_psnr_is_not_taken(worse, wanted):
    def margin(data: bytes) -> float:
        effort, level = map(int, data.split())
        return (level - worse * (effort > 1) - 100) * GAIN

    found = smallest_reaching(margin, lambda level, effort, step: b"%d %d" % (effort, level), 2, nothing)
    assert found == wanted


def test_a_search_of_more_bytes_goes_to_lower_levels():
    def at(level, effort, step):
        return bytes(100 + level + 50 * (effort > 1))

    assert 1100 * 0.97 < len(largest_below(1100, at, 3, nothing)) <= 1100
    assert len(largest_below(120, at, 3, nothing)) <= 120  # none of that effort is as small


def test_what_no_level_gives_is_told():
    with pytest.raises(TooSmall, match="100 bytes, more than the 99 wanted"):
        largest_below(99, lambda level, effort, step: bytes(100 + level), 1, nothing)
    assert len(largest_below(10**6, lambda level, effort, step: bytes(100 + level), 1, nothing)) == 100 + MAX_LEVEL
    with pytest.raises(OutOfReach):
        smallest_reaching(lambda data: -1.0, lambda level, effort, step: b"", 1, nothing)
    assert smallest_reaching(lambda data: 1.0, lambda level, effort, step: b"%d" % level, 1, nothing) == b"0"
