"""A small coverage-guided fuzzer: a mutant that reaches new lines of the package joins the corpus."""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import codec
from codec.errors import CodecError

PACKAGE = str(Path(codec.__file__).parent)
SLOW = 1.0  # seconds
MEMORY = 500 * 2**20
INTERESTING = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 127, 128, 254, 255)


@dataclass
class Target:
    """What is fuzzed. run: takes a case, may raise CodecError. mend: makes the checksums of a case right again.

    seeds: sound cases. unchanged: whether what came out of an accepted case is right, for cases whose checksums stay.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: list[bytes]
    mend: Callable[[bytes], bytes] | None = None
    unchanged: Callable[[bytes, object], bool] | None = None


@dataclass
class Result:
    """cases: how many were run. accepted: those that gave something. faults: what went wrong, with the case."""

    cases: int = 0
    accepted: int = 0
    slowest: float = 0.0
    faults: list[tuple[str, bytes]] = field(default_factory=list)


class _Lines:
    """The lines of the package that were run since `clear`, as pairs of a code object and a line."""

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int, int]] = set()
        self.new = False

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        last = 0

        def line(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal last
            if event == "line":
                edge = (code, last, frame.f_lineno)
                last = frame.f_lineno
                if edge not in self.seen:
                    self.seen.add(edge)
                    self.new = True
            return line

        return line


def mutate(data: bytes, corpus: list[bytes], rng: random.Random) -> bytes:
    """A few of the usual changes: bits, bytes, numbers, cuts, copies, and a splice with another case."""
    out = bytearray(data)
    for _ in range(1 + min(7, int(rng.expovariate(0.8)))):
        at = rng.randrange(len(out)) if out else 0
        kind = rng.randrange(9)
        if not out or kind == 0:
            out[at:at] = rng.randbytes(rng.randint(1, 8))
        elif kind == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            out[at] = rng.choice(INTERESTING)
        elif kind == 3:
            size = rng.choice((1, 2, 4))
            out[at : at + size] = rng.choice((0, 1, 2**31, 2 ** (8 * size) - 1, rng.getrandbits(31))).to_bytes(
                8, "big"
            )[-size:]
        elif kind == 4:
            del out[at : at + rng.randint(1, 16)]
        elif kind == 5:
            del out[at:]
        elif kind == 6:
            end = at + rng.randint(1, 32)
            other = rng.randrange(len(out))
            out[other:other] = out[at:end]
        elif kind == 7:
            out[at] = (out[at] + rng.randint(-8, 8)) % 256
        else:
            other_case = rng.choice(corpus)
            out[at:] = other_case[rng.randrange(len(other_case) + 1) :]
    return bytes(out[: 2**16])


def fuzz(target: Target, seconds: float = 1e9, cases: int = 10**9, seed: int = 0) -> Result:
    """Run mutants until the time or the number of cases is up."""
    rng, lines, result = random.Random(seed), _Lines(), Result()
    corpus = list(target.seeds)
    start = time.monotonic()
    queue = list(corpus)
    while result.cases < cases and time.monotonic() - start < seconds:
        case = queue.pop() if queue else mutate(rng.choice(corpus), corpus, rng)
        if target.mend is not None and rng.random() < 0.9:
            case = target.mend(case)
        result.cases += 1
        lines.new = False
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.process_time()
        sys.settrace(lines.trace)
        try:
            made = target.run(case)
            sys.settrace(None)
            result.accepted += 1
            if target.unchanged is not None and not target.unchanged(case, made):
                result.faults.append(("damage was accepted", case))
        except CodecError as error:
            sys.settrace(None)
            if "\n" in str(error) or not str(error):
                result.faults.append(("the refusal is no sentence", case))
        except Exception as error:  # anything else is a fault
            sys.settrace(None)
            result.faults.append((f"{type(error).__name__}: {error}", case))
        finally:
            sys.settrace(None)
        took = time.process_time() - begin
        result.slowest = max(result.slowest, took)
        if took > SLOW:
            result.faults.append((f"{took:.1f} s", case))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if grown > MEMORY:
            result.faults.append((f"{grown / 2**20:.0f} MB", case))
        if lines.new and len(corpus) < 3000:
            corpus.append(case)
    return result
