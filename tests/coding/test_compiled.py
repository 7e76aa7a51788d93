"""Compiled loops against the NumPy code: the same symbols, bytes and refusals; and when they are taken."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import codec
from codec.bitstream.entropy import Decoder, Encoder, TableSet
from codec.bitstream.reference import cumulative
from codec.bitstream.tables import MAX_ESCAPE, UNIT, normalise
from codec.coding import compiled
from codec.coding.compiled import COMPILE, IMPORT, VARIABLE
from codec.coding.latents import LatentCoder
from codec.coding.trellis import TRELLISES, assign, walks
from codec.errors import CorruptError
from codec.training.base.tables import analytic_tables
from tests.support.small import CONFIG, small_coder, small_model

TABLES = analytic_tables()


@pytest.fixture(scope="module")
def loops():
    pytest.importorskip("numba")
    from codec.coding import kernels

    return kernels


@pytest.fixture(scope="module")
def coder():
    return small_coder(small_model())[0]


def latents(seed: int, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    v = rng.laplace(0, 3, (CONFIG.channels, h, w)).astype(np.float32)
    v[rng.random(v.shape) < 0.01] *= 300
    return v, rng.integers(0, CONFIG.tokens, (h // 2, w // 2))


def both(monkeypatch, function):
    """Results with NumPy and with compiled loops."""
    found = []
    for wish in ("never", "always"):
        monkeypatch.setenv(VARIABLE, wish)
        try:
            found.append(function())
        except CorruptError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("trellis", TRELLISES.values(), ids=TRELLISES)
@pytest.mark.parametrize("shape", [(1, 1), (9, 7), (160, 90), (700, 48)])
@pytest.mark.slow
def test_same_walks(loops, trellis, shape):
    rng = np.random.default_rng(shape[0])
    r = rng.laplace(0, 3, shape).astype(np.float32)
    r[rng.random(shape) < 0.02] *= 400  # escapes, and what must be clipped
    r[rng.random(shape) < 0.05] = np.rint(r[0, 0] * 2) / 2  # ties
    scale = rng.integers(0, 80, shape).astype(np.int16)
    scale[rng.random(shape) < 0.3] = 0
    weight = rng.uniform(1, 20, shape[1]).astype(np.float32)
    wanted = assign(trellis, r, scale, weight, TABLES.bits(), TABLES.offsets)
    symbols, kinds = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    loops.assign(
        r.ravel(), scale.ravel(), weight, TABLES.bits(), TABLES.offsets.astype(np.float32) / UNIT, TABLES.limits, walks(scale),
        trellis.next_array, trellis.kind_array, max(trellis.kind) + 1, symbols.ravel(), kinds.ravel(),
    )  # fmt: skip
    assert (symbols == wanted[0]).all() and (kinds == wanted[1]).all()


@pytest.mark.parametrize(("level", "h", "w"), [(0, 2, 2), (3000, 8, 6), (6400, 24, 30), (6720, 10, 6)])
@pytest.mark.slow
def test_same_bytes_and_codes(loops, coder, monkeypatch, level, h, w):
    v, tokens = latents(level, h, w)
    weight = np.full(CONFIG.channels, 8, np.float32)
    a, b = both(monkeypatch, lambda: coder.encode(v, tokens, level, weight))
    assert a.sections == b.sections and (a.v_hat == b.v_hat).all() and a.bits == b.bits
    a, b = both(monkeypatch, lambda: coder.measure(v, tokens, level, weight))
    assert a.bits == b.bits and all(
        (getattr(a, name) == getattr(b, name)).all() for name in ("v_hat", "symbols", "kinds")
    )
    sections = tuple(coder.encode(v, tokens, level, weight).sections)
    for given in (sections, (sections[0], sections[1], None)):
        a, b = both(monkeypatch, lambda given=given: coder.decode(given, h, w, level))
        assert (a[0] == b[0]).all() and (a[1] == b[1]).all()


def test_forged_sections_get_the_same_answer(loops, coder, monkeypatch):
    rng, refused = np.random.default_rng(7), 0
    for n in range(60):
        sections = tuple(
            rng.bytes(int(rng.integers(0, 90))) if n % 3 else bytes([255] * int(rng.integers(0, 40))) for _ in range(3)
        )
        a, b = both(monkeypatch, lambda sections=sections: coder.decode(sections, 6, 4, 6000))
        assert a == b if isinstance(a, str) else (a[0] == b[0]).all() and (a[1] == b[1]).all()
        refused += isinstance(a, str)
    assert 0 < refused < 60


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("beyond", [0, 1, 1000])
def test_a_latent_outside_the_range_is_refused(beyond, sign, loops, coder, monkeypatch):
    """The last symbol of a stream, on which nothing else depends, is made larger than an encoder makes any."""
    write, passes = LatentCoder._encode_pass, []

    def forging(self, out, places, symbols, table):
        passes.append(len(places))
        if len(passes) == count:
            symbols = symbols.astype(np.int64)
            symbols[places[-1][places[-1] >= 0][-1]] = sign * (MAX_ESCAPE + beyond)
        write(self, out, places, symbols, table)

    monkeypatch.setenv(VARIABLE, "never")
    monkeypatch.setattr(LatentCoder, "_encode_pass", forging)
    (v, tokens), weight, count = latents(4, 8, 6), np.full(CONFIG.channels, 8, np.float32), 0
    sections = [coder.encode(v, tokens, 6000, weight).sections]
    count = len(passes)
    passes.clear()
    sections.append(coder.encode(v, tokens, 6000, weight).sections)
    assert sections[0] != sections[1]
    a, b = both(monkeypatch, lambda: coder.decode(tuple(sections[1]), 8, 6, 6000))
    if beyond:
        assert a == b == "a latent is outside the range of the format"
    else:
        assert (a[1] == b[1]).all() and np.abs(a[1]).max() > (MAX_ESCAPE - 9) * UNIT


def send(coder: compiled.Encoder, loops: ModuleType, values: np.ndarray, tables: TableSet, table: int) -> None:
    """Values of one table, by the loop that a pass has inside."""
    (cdf, first), words = tables.intervals, np.zeros(len(coder._words) + len(values), np.uint32)
    words[: len(coder._words)] = coder._words
    coder._words = words
    begin, end = int(first[table]), int(first[table + 1])
    for value in values.tolist():
        loops.encode_symbol(coder._state, coder._words, cdf, begin, end - begin - 1, value)


def test_same_bytes_of_the_range_coder(loops):
    """Also where a carry runs through words that are written: tables that leave one symbol nearly all of the range."""
    rng = np.random.default_rng(9)
    for _ in range(300):
        n = int(rng.integers(1, 9))
        tables = TableSet(tuple(normalise(rng.dirichlet(np.full(int(rng.integers(1, 40)), 0.05))) for _ in range(n)))
        plain, fast, sent = Encoder(), compiled.Encoder(loops), []
        for _ in range(int(rng.integers(0, 60))):
            k = int(rng.integers(n))
            size = len(tables.intervals[0][tables.intervals[1][k] : tables.intervals[1][k + 1]]) - 1
            values = np.where(rng.random(int(rng.integers(1, 30))) < 0.7, size - 1, rng.integers(0, size)).astype(
                np.int32
            )
            sent.append((k, values))
            plain.symbols(values, tables, k)
            send(fast, loops, values, tables, k)
        data = plain.finish()
        assert fast.finish() == data
        decoder = Decoder(data)
        assert all((decoder.symbols(len(values), tables, k) == values).all() for k, values in sent)


def test_carry_through_full_words(loops):
    state, words = (
        np.array([(1 << 64) - 5, (1 << 64) - 1, 3], np.uint64),
        np.array([7, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0], np.uint32),
    )
    loops.encode_symbol(state, words, np.array([0, 1 << 23, 1 << 24], np.uint32), 0, 2, 1)
    assert words[:3].tolist() == [8, 0, 0]


def test_intervals_are_those_of_the_reference():
    tables = (*TABLES.frequencies[::7], np.array([1 << 16], np.int32))
    row, first = TableSet(tables).intervals
    assert [row[a:b].tolist() for a, b in zip(first[:-1], first[1:], strict=True)] == [cumulative(t) for t in tables]


def asked(monkeypatch, there: bool, cached: bool, amounts) -> list[bool]:
    monkeypatch.delenv(VARIABLE, raising=False)
    choice, module = compiled._Loops(), sys
    monkeypatch.setattr(compiled, "_is_cached", lambda module, loop: cached)
    if there:
        monkeypatch.setattr(choice, "_load", lambda: module)
    else:
        monkeypatch.setitem(sys.modules, "numba", None)  # importing it fails
    return [choice.ask("assign", n) is not None for n in amounts]


def test_a_small_picture_is_left_to_numpy_and_much_work_is_not(monkeypatch):
    assert asked(monkeypatch, True, True, [IMPORT // 2, IMPORT // 4, IMPORT // 4, 1]) == [False, False, True, True]
    assert asked(monkeypatch, True, True, [IMPORT]) == [True]
    assert asked(monkeypatch, True, False, [IMPORT, COMPILE - IMPORT, 1]) == [False, True, True]


def test_what_is_to_come_counts(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    choice = compiled._Loops()
    monkeypatch.setattr(compiled, "_is_cached", lambda module, loop: True)
    monkeypatch.setattr(choice, "_load", lambda: sys)
    choice.expect(IMPORT - 2)
    assert choice.ask("assign", 1) is None  # one of those that were announced
    choice.expect(2)
    assert choice.ask("assign", 1) is sys


def test_without_numba_all_is_numpy(monkeypatch):
    assert asked(monkeypatch, False, True, [COMPILE, COMPILE]) == [False, False]


def test_the_setting_wins(monkeypatch):
    choice = compiled._Loops()
    monkeypatch.setattr(choice, "_load", lambda: sys)
    monkeypatch.setenv(VARIABLE, "never")
    assert choice.ask("assign", COMPILE) is None
    monkeypatch.setenv(VARIABLE, "always")
    assert choice.ask("assign", 1) is sys


@pytest.mark.slow
def test_one_small_picture_does_not_import_numba():
    program = "import sys, numpy as np, codec\nx = np.zeros((40, 50, 3), np.uint8)\ncodec.decode(codec.encode(x, lossless=False))\nprint('numba' in sys.modules)"
    env = {k: v for k, v in os.environ.items() if k != VARIABLE}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(codec.__file__).parent.parent,
        env=env,
    )
    assert ran.stdout.strip() == "False"


def test_the_tables_fit(loops):
    assert len(TABLES.frequencies) + 1 < loops._TABLES and max(len(t.kind) for t in TRELLISES.values()) <= 256
