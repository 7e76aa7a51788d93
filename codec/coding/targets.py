"""The search for the level that meets a target: so many bytes, or so good a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codec.bitstream.container import MAX_LEVEL
from codec.errors import RateError

#: Level, effort and what is called with 0..1 -> the file.
Encode = Callable[[int, int, Callable[[float], None]], bytes]


class TooSmall(RateError):
    """No file has so few bytes."""

    def __init__(self, least: int, target: int) -> None:
        super().__init__(f"the smallest file of this picture has {least} bytes, more than the {target} wanted")
        self.least, self.target = least, target

    def __reduce__(self) -> tuple[Any, ...]:
        return TooSmall, (self.least, self.target)


class OutOfReach(RateError):
    """No quality is good enough."""


def largest_below(target: int, at: Encode, effort: int, step: Callable[[float], None]) -> bytes:
    """Bisection over levels for the largest file of at most ``target`` bytes; probes are made at effort 1, the last
    ones at ``effort``."""
    low = at(0, 1, _ignore)
    if len(low) > target:
        raise TooSmall(len(low), target)
    best, a, b, turn = low, 0, MAX_LEVEL + 1, 0
    while b - a > 1 and len(best) < target * 0.998:
        middle = (a + b) // 2
        data = at(middle, 1, _ignore)
        if len(data) <= target:
            a, best = middle, data
        else:
            b = middle
        turn += 1
        step(min(1.0, turn / 14))
    for level in () if effort == 1 else range(a, -1, -max(1, a // 64)):
        data = at(level, effort, step)
        if len(data) <= target:
            return data
    return best


def smallest_reaching(
    reached: Callable[[bytes], bool],
    at: Encode,
    effort: int,
    step: Callable[[float], None],
) -> bytes:
    """Bisection over levels for the lowest one that is good enough; probes are made at effort 1, the last one at
    ``effort``, whose picture is seldom worse."""
    best = at(MAX_LEVEL, 1, _ignore)
    if not reached(best):
        raise OutOfReach("the best quality does not reach the PSNR that is wanted")
    low, high, turn = -1, MAX_LEVEL, 0
    while high - low > 1:
        middle = (low + high) // 2
        data = at(middle, 1, _ignore)
        if reached(data):
            high, best = middle, data
        else:
            low = middle
        turn += 1
        step(min(1.0, turn / 14))
    if effort > 1 and reached(searched := at(high, effort, step)):
        return searched
    return best


def _ignore(done: float) -> None:
    pass
