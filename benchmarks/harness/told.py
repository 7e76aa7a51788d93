"""Commands that tell in one sentence what they cannot do, and the numbers that they take."""

import functools
import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from benchmarks.harness.errors import BenchmarkError
from codec.told import told as told_of_codec

P = ParamSpec("P")
R = TypeVar("R")


def told(main: Callable[P, R]) -> Callable[P, R]:
    """As ``codec.told``; refusals of the benchmark are sentences too."""

    @functools.wraps(main)
    def command(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return main(*args, **kwargs)
        except BenchmarkError as error:
            raise SystemExit(str(error)) from None

    return told_of_codec(command)


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or (number := int(text)) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1")
    return number


def efforts(text: str) -> list[int]:
    """Whole numbers from 1 to 9 with commas between."""
    return [int(number) for number in _within(text, 1, 9, int)]


def qualities(text: str) -> list[float]:
    """Numbers from 0 to 100 with commas between."""
    return _within(text, 0, 100, float)


def _within(text: str, low: float, high: float, kind: Callable[[str], float]) -> list[float]:
    try:
        numbers = [kind(part) for part in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(low <= number <= high for number in numbers):
        raise ArgumentTypeError(f"{text!r} is not of numbers from {low} to {high} with commas between")
    return numbers
