"""The search for the level that meets a target: so many bytes, or so good a picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from codec.bitstream.container import MAX_LEVEL
from codec.errors import RateError

#: Level, effort and what is called with 0..1 -> the file.
Encode = Callable[[int, int, Callable[[float], None]], bytes]
#: what photographs gain from one level to the next, about: logarithm of bytes, and dB
GROWTH, GAIN = 0.05 / 64, 0.2 / 64
NEAR = 0.998  # of the bytes that are wanted: to come nearer is not worth an encode
USUAL = 10  # encodes of a search, for its progress


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
    """The largest file of at most ``target`` bytes, or one that is near; probes are made at effort 1, the last ones at
    ``effort``."""
    best, turns = at(0, 1, _ignore), 0
    if len(best) > target:
        raise TooSmall(len(best), target)

    def excess(data: bytes) -> float:
        return math.log(len(data) / (target + 0.5))

    def probe(level: int) -> float:
        nonlocal best, turns
        data, turns = at(level, 1, _ignore), turns + 1
        best = data if len(data) <= target else best
        step(min(1.0, turns / USUAL))
        return excess(data)

    level, _ = crossing(probe, (0, MAX_LEVEL + 1), excess(best), GROWTH, -math.log(NEAR))
    for lower in () if effort == 1 else range(level, -1, -max(1, level // 64)):
        data = at(lower, effort, step)
        if len(data) <= target:
            return data
    return best


def smallest_reaching(
    margin: Callable[[bytes], float],
    at: Encode,
    effort: int,
    step: Callable[[float], None],
) -> bytes:
    """The file of the lowest level that is good enough. margin: dB that a file has more than are wanted, negative
    where it has less. Probes are made at effort 1, the last one at ``effort``, whose picture is seldom worse."""
    best, turns = b"", 0

    def probe(level: int) -> float:
        nonlocal best, turns
        data, turns = at(level, 1, _ignore), turns + 1
        found = margin(data)
        best = data if found >= 0 else best
        step(min(1.0, turns / USUAL))
        return found

    _, level = crossing(probe, (-1, MAX_LEVEL + 1), None, GAIN)
    if level > MAX_LEVEL:
        raise OutOfReach("the best quality does not reach the PSNR that is wanted")
    if effort > 1 and margin(searched := at(level, effort, step)) >= 0:
        return searched
    return best


def crossing(
    value: Callable[[int], float],
    ends: tuple[int, int],
    at_low: float | None,
    slope: float,
    near: float = 0.0,
) -> tuple[int, int]:
    """Where a function of integers that grows by about ``slope`` passes 0: neighbours, of which the first has a
    negative value and the second none, or is the upper end. ends: the lower has a negative value, at_low if it is
    known; neither is asked for. Ends sooner at a negative value of at least -near.

    Asks where the line through what is known passes 0, a little to the side of the longer part, so that either part is
    cut off in turn; or, if there is something near, the middle of that. Where two turns leave more than half, the
    middle of all is next.
    """
    (low, high), at_high = ends, None
    widths = [high - low]
    while high - low > 1 and not (at_low is not None and at_low >= -near):
        if at_low is not None and at_high is not None:
            guess = low + (high - low) * (at_low + near / 2) / (at_low - at_high)
        elif at_low is not None:
            guess = low - (at_low + near / 2) / slope
        elif at_high is not None:
            guess = high - (at_high + near / 2) / slope
        else:
            guess = (low + high) / 2
        if not near:
            room = max(1.0, (high - low) / 32)
            guess += room if high - guess > guess - low else -room
        slow = len(widths) > 2 and 2 * widths[-1] > widths[-3]
        place = (low + high) // 2 if slow else min(max(round(guess), low + 1), high - 1)
        found = value(place)
        if found < 0:
            low, at_low = place, found
        else:
            high, at_high = place, found
        widths.append(high - low)
    return low, high


def _ignore(done: float) -> None:
    pass
