"""What an engine is: it calls one function for many items, here one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Attempt(Generic[T]):
    """One try at an item. number: how many went before it; granted: megapixels it may have."""

    item: T
    number: int = 0
    granted: float = float("inf")


class Died:
    """In place of a result: the processes that did the item died of it."""


#: Does one item; the second argument is called with 0..1 as it goes on.
Do = Callable[[Attempt[T], Callable[[float], None] | None], R]


def here(do: Do[T, R], items: Iterable[T], progress: Callable[[float], None] | None = None) -> Iterator[tuple[int, R]]:
    """Number and result of each item, in order."""
    for number, item in enumerate(items):
        yield number, do(Attempt(item), progress)
