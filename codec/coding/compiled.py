"""Which inner loops run: the compiled ones of codec.coding.kernels where they pay, else NumPy. Symbols and bytes are
the same.

To import numba takes half a second, to compile takes seconds, once on a machine: the results are kept beside the
source, or in the user's cache. One small picture is done sooner than that, so a process starts with NumPy and changes
over when it has done so much that what it could have saved is what the change costs. A large picture, and all rounds
of a search, count before they begin.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import numpy as np

from codec.bitstream.entropy import TableSet
from codec.bitstream.reference import MASK
from codec.coding.trellis import CHUNK
from codec.errors import CorruptError

IMPORT = 4 << 20  # latents: NumPy takes half a second longer for them than compiled loops
COMPILE = 48 << 20  # and for these, as long as compiling takes
#: "never", "always" or "auto" (the default): a setting for tests, and for machines where the cache of compiled code
#: is prepared
VARIABLE = "LDC_COMPILED"

_WORST = 24  # bits that one symbol can take


class _Loops:
    """What this process has done so far, and the compiled loops when it has them."""

    def __init__(self) -> None:
        self._latents, self._coming, self._ready = 0, 0, set[str]()
        self._module: ModuleType | None = None
        self._absent = False

    def expect(self, latents: int) -> None:
        """So many latents will be asked for, a part at a time."""
        self._coming += latents

    def ask(self, loop: str, latents: int) -> ModuleType | None:
        """loop: name of the kernel that takes the time; latents: how many come now -> codec.coding.kernels, or None
        for NumPy."""
        wish = os.environ.get(VARIABLE, "auto")
        self._latents += latents
        self._coming = max(0, self._coming - latents)
        known = self._latents + self._coming
        if wish == "never" or self._absent:
            return None
        if wish != "always" and self._module is None and known < IMPORT:
            return None
        module = self._load()
        if module is not None and loop not in self._ready:
            if wish != "always" and known < COMPILE and not _is_cached(module, loop):
                return None
            self._ready.add(loop)
        return module

    def _load(self) -> ModuleType | None:
        if self._module is None:
            try:
                import numba

                if numba.config.DISABLE_JIT:
                    raise ImportError("numba is told not to compile")
                from codec.coding import kernels
            except (ImportError, RuntimeError, OSError):  # not there, not for this NumPy, or no folder for its cache
                self._absent = True
            else:
                self._module = kernels
        return self._module


def _is_cached(module: ModuleType, loop: str) -> bool:
    return any(Path(getattr(module, loop).stats.cache_path).glob(f"kernels.{loop}-*.nbi"))


_loops = _Loops()
kernels, expect = _loops.ask, _loops.expect


class Encoder:
    """codec.bitstream.entropy.Encoder with compiled loops: the same bytes."""

    def __init__(self, loops: ModuleType) -> None:
        self._loops = loops
        self._state, self._words = np.array([0, MASK, 0], np.uint64), np.zeros(256, np.uint32)

    def _room(self, bits: int) -> None:
        need = int(self._state[2]) + bits // 32 + 4
        if need > len(self._words):
            used, before = int(self._state[2]), self._words
            self._words = np.zeros(max(need, 2 * len(before)), np.uint32)  # takes no memory before it is written to
            self._words[:used] = before[:used]

    def latents(
        self, tables: TableSet, limits: np.ndarray, places: np.ndarray, table: np.ndarray, symbols: np.ndarray
    ) -> None:
        """The symbols of a pass, in the order of codec.coding.latents; limits int32, table uint8, symbols int16."""
        escapes = sum(
            int(np.count_nonzero(np.abs(symbols[a : a + CHUNK]) >= limits[table[a : a + CHUNK]]))
            for a in range(0, len(symbols), CHUNK)
        )
        self._room(_WORST * places.size + 2 * 32 * escapes)
        self._loops.encode_pass(self._state, self._words, *tables.intervals, limits, places, table, symbols)

    def finish(self) -> bytes:
        if int(self._state[1]) == MASK:  # nothing was coded
            return b""
        self._room(0)
        self._loops.seal(self._state, self._words)
        return self._words[: int(self._state[2])].astype("<u4").tobytes().rstrip(b"\0")


class Decoder:
    """codec.bitstream.entropy.Decoder with compiled loops."""

    def __init__(self, loops: ModuleType, data: bytes) -> None:
        self._loops = loops
        self._words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        start = [int(w) for w in self._words[:2]] + [0, 0]
        self._state = np.array([0, MASK, start[0] << 32 | start[1], 2], np.uint64)

    def latents(
        self,
        tables: TableSet,
        limits: np.ndarray,
        places: np.ndarray,
        scale: np.ndarray,
        following: np.ndarray,
        kinds: np.ndarray,
        offsets: np.ndarray,
        values: np.ndarray,
    ) -> None:
        """The symbols of a pass, their residuals added to values (n,) int32; scale (n,) uint8."""
        error = self._loops.decode_pass(
            self._state, self._words, *tables.intervals, limits, places, scale, following, kinds, offsets, values
        )
        self._check(error)

    def _check(self, error: int) -> None:
        if error == self._loops.INVALID:
            raise CorruptError("the coded data is not valid")
        if error == self._loops.OUTSIDE:
            raise CorruptError("a latent is outside the range of the format")
