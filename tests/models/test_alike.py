"""Windows that look alike get one answer, others never do."""

import numpy as np

from codec.models.alike import Alike


def window(a: int, b: int) -> tuple[slice, slice]:
    return slice(a, b), slice(0, 4)


def test_equal_windows_of_a_kind_share_an_answer():
    first = np.zeros((12, 4, 2), np.int16)
    second = np.zeros((12, 4, 3))
    known = Alike([first, second])
    assert known.find(window(0, 4), "a", 1) is None
    assert known.find(window(4, 8), "a", 2) == 1
    assert known.find(window(4, 8), "b", 3) is None  # another kind
    assert known.find(window(4, 7), "a", 4) is None  # another shape
    second[9, 3, 2] = 1e-6  # not in the map that is looked at first
    assert known.find(window(8, 12), "a", 5) is None
    second[9, 3, 2] = 0
    assert known.find(window(8, 12), "a", 6) == 1


def test_a_map_without_channels_says_nothing():
    known = Alike([np.zeros((8, 4, 0)), np.arange(32.0).reshape(8, 4, 1)])
    assert known.find(window(0, 4), 0, "x") is None and known.find(window(4, 8), 0, "y") is None
    assert known.find(window(0, 4), 0, "z") == "x"
