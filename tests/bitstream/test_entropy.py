"""Entropy coder and frozen tables: round trips, agreement with the plain Python reference, literal bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.bitstream.entropy import Decoder, Encoder, TableSet
from codec.bitstream.reference import ReferenceDecoder, cumulative
from codec.bitstream.tables import (
    KINDS,
    MAX_SYMBOL,
    SCALES,
    TOTAL,
    LatentTables,
    golomb_bits,
    normalise,
    symbol_limit,
)
from codec.training.base.tables import Counts, analytic_tables

weights = st.lists(st.floats(0, 1e6), min_size=2, max_size=60).filter(lambda w: sum(w) > 0)


@given(weights)
def test_normalised_tables_are_positive_and_sum_to_the_total(w):
    f = normalise(np.array(w))
    assert f.min() >= 1 and f.sum() == TOTAL


@settings(max_examples=60)
@given(st.lists(weights, min_size=1, max_size=4), st.data())
def test_round_trip_and_reference_agree(rows, data):
    tables = tuple(normalise(np.array(r)) for r in rows)
    models, coder, sent = TableSet(tables), Encoder(), []
    for _ in range(data.draw(st.integers(0, 30))):
        k = data.draw(st.integers(0, len(tables) - 1))
        run = data.draw(st.lists(st.integers(0, len(tables[k]) - 1), min_size=1, max_size=5))
        coder.symbols(np.array(run), models, k)
        sent += [(k, s) for s in run]
    stream = coder.finish()
    decoder, reference = Decoder(stream), ReferenceDecoder(stream)
    cdfs = [cumulative(t) for t in tables]
    assert [int(decoder.symbols(1, models, k)[0]) for k, _ in sent] == [s for _, s in sent]
    assert [reference.symbol(cdfs[k]) for k, _ in sent] == [s for _, s in sent]


@given(st.lists(st.integers(0, 2**19), max_size=20))
def test_escapes_round_trip(values):
    coder = Encoder()
    for v in values:
        coder.golomb(v)
    decoder = Decoder(coder.finish())
    assert [decoder.golomb() for _ in values] == values


def test_bytes_of_the_coder_are_part_of_the_format():
    models, coder = TableSet((normalise(np.array([5.0, 2.0, 1.0])), normalise(np.array([1.0, 1.0])))), Encoder()
    coder.symbols(np.array([0, 1, 2, 0, 0, 1, 2, 2, 1]), models, 0)
    coder.golomb(9)
    coder.symbols(np.array([1, 0, 1]), models, 1)
    assert coder.finish().hex() == GOLDEN


GOLDEN = "44cdb488"


def test_a_table_of_one_symbol_takes_no_bits():
    models, coder = TableSet((normalise(np.array([1.0])),)), Encoder()
    coder.symbols(np.zeros(5, int), models, 0)
    stream = coder.finish()
    assert stream == b"" and Decoder(stream).symbols(5, models, 0).tolist() == [0] * 5


def test_forged_bytes_end():
    decoder = Decoder(b"\0" * 3)
    assert decoder.golomb() >= 0


def test_code_length_of_a_long_message_is_the_ideal_one():
    rng = np.random.default_rng(0)
    f = normalise(rng.gamma(0.5, size=40))
    s = rng.choice(40, 20000, p=f / TOTAL)
    coder = Encoder()
    coder.symbols(s, TableSet((f,)), 0)
    ideal = -np.log2(f[s] / TOTAL).sum() / 8
    assert ideal - 1 <= len(coder.finish()) <= ideal * 1.001 + 8


def test_latent_tables_store_and_load():
    tables = analytic_tables()
    again = LatentTables.from_flat(tables.flat())
    assert all((a == b).all() for a, b in zip(tables.frequencies, again.frequencies, strict=True))


@pytest.mark.parametrize("change", ["zero", "sum", "missing"])
def test_invalid_latent_tables_are_refused(change):
    good = analytic_tables()
    rows = [f.copy() for f in good.frequencies]
    if change == "zero":
        rows[7][np.argmax(rows[7])] += rows[7][0]
        rows[7][0] = 0
    elif change == "sum":
        rows[7][0] += 1
    else:
        rows.pop()
    with pytest.raises(ValueError):
        LatentTables(tuple(rows), good.offsets)


def test_costs_match_tables_and_escapes():
    tables = analytic_tables()
    bits, k = tables.bits(), 30 * KINDS + 1
    f, limit = tables.frequencies[k], symbol_limit(30)
    assert bits[k, MAX_SYMBOL] == pytest.approx(-np.log2(f[limit] / TOTAL), abs=1e-4)
    for excess in (0, 1, 5):
        want = -np.log2(f[-1] / TOTAL) + golomb_bits(np.array(excess))
        assert bits[k, MAX_SYMBOL + limit + excess] == pytest.approx(want, abs=1e-3)
    assert bits[0, MAX_SYMBOL] == 0 and bits[0, MAX_SYMBOL + 1] > 1e5


def test_counted_tables_approach_the_counts():
    rng, counts = np.random.default_rng(1), Counts()
    table = np.full(200_000, 40 * KINDS)
    symbols = rng.choice([-1, 0, 1], len(table), p=[0.1, 0.8, 0.1])
    counts.add(table, symbols, symbols * 0.9)
    out = counts.tables()
    f = out.frequencies[40 * KINDS]
    limit = symbol_limit(40)
    assert f[limit] / TOTAL == pytest.approx(0.8, abs=0.01)
    assert f[limit + 1] == pytest.approx(f[limit - 1], abs=2)
    assert out.offsets[40 * KINDS].tolist() == [0, pytest.approx(-26, abs=1), 0]
    assert len(out.frequencies) == SCALES * KINDS
