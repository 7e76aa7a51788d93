"""What an AV1 stream says of its colours: the sequence header of the AV1 specification, section 5.5."""

from __future__ import annotations

_SEQUENCE_HEADER = 1


class _End(Exception):
    """The data ends too early."""


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise _End
        return self._value >> self._left & ((1 << count) - 1)

    def skip_uvlc(self) -> None:
        zeros = 0
        while not self.take(1):
            zeros += 1
        self.take(min(zeros, 32) if zeros < 32 else 0)


def colours(data: bytes) -> tuple[int, int] | None:
    """From the start of a stream: (primaries, transfer) of ITU-T H.273, None where they are not said."""
    at = 0
    while len(data) - at >= 2:
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        size = len(data) - at
        if sized:
            size = shift = 0
            while True:
                if at >= len(data) or shift > 28:
                    return None
                byte = data[at]
                size |= (byte & 127) << shift
                at, shift = at + 1, shift + 7
                if byte < 128:
                    break
        if kind == _SEQUENCE_HEADER:
            try:
                return _sequence_header(_Bits(data[at : at + min(size, 256)]))
            except _End:
                return None
        at += size
    return None


def _sequence_header(bits: _Bits) -> tuple[int, int] | None:
    take = bits.take
    profile, _, reduced = take(3), take(1), take(1)
    if reduced:
        take(5)
    else:
        _operating_points(bits)
    width, height = take(4) + 1, take(4) + 1
    take(width), take(height)
    if not reduced and take(1):
        take(7)
    take(3)
    if not reduced:
        take(4)
        ordered = take(1)
        if ordered:
            take(2)
        screen = 2 if take(1) else take(1)
        if screen and not take(1):
            take(1)
        if ordered:
            take(3)
    take(3)
    deep = take(1)
    if profile == 2 and deep:
        take(1)
    if profile != 1:
        take(1)
    return (take(8), take(8)) if take(1) else None


def _operating_points(bits: _Bits) -> None:
    take = bits.take
    model = delay = 0
    if take(1):  # times
        take(64)
        if take(1):
            bits.skip_uvlc()
        model = take(1)
        if model:
            delay = take(5) + 1
            take(42)
    shown = take(1)
    for _ in range(take(5) + 1):
        take(12)
        if take(5) > 7:
            take(1)
        if model and take(1):
            take(2 * delay + 1)
        if shown and take(1):
            take(4)
