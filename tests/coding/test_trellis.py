"""Trellis quantisers: the Viterbi walk against brute force, decoding by states, gains on a uniform source."""

import functools
import itertools

import numpy as np
import pytest

from codec.bitstream.tables import KINDS, MAX_SYMBOL, UNIT, excess_bits, golomb_bits, symbol_limit
from codec.coding.trellis import (
    MAX_MAGNITUDE,
    SCALAR,
    STEPS,
    TCQ4,
    TCQ8,
    TCQ32,
    TCQ128,
    TCQ256,
    TRELLISES,
    assign,
    reconstruct,
    walks,
)
from codec.training.base.tables import analytic_tables

TABLES = analytic_tables()
BITS = TABLES.bits()


def follow(trellis, scale, symbols):
    """Kinds by walking the states one latent at a time."""
    kinds, flat = np.zeros(symbols.size, int), symbols.ravel()
    for walk in walks(scale).T:
        state = 0
        for place in walk[walk >= 0]:
            kinds[place] = trellis.kind[state]
            state = trellis.next[state][flat[place] & 1]
    return kinds.reshape(symbols.shape)


def cost(trellis, r, scale, weight, symbols):
    kind = follow(trellis, scale, symbols)
    table = scale * KINDS + kind
    value = reconstruct(symbols, kind, table, TABLES.offsets) / UNIT
    return (BITS[table, symbols + MAX_SYMBOL] + weight * (r - value) ** 2).sum()


@pytest.mark.parametrize("trellis", TRELLISES.values(), ids=TRELLISES)
@pytest.mark.slow
def test_walk_is_the_best_of_all_walks(trellis):
    rng = np.random.default_rng(3)
    for _ in range(6):
        r = rng.normal(0, 1.2, (2, 3)).astype(np.float32)
        scale = rng.integers(20, 36, r.shape)
        scale[0, 1] = scale[1, 2] = 0
        weight = np.float32(6)
        symbols, kinds = assign(trellis, r, scale, weight, BITS, TABLES.offsets)
        assert (kinds == follow(trellis, scale, symbols)).all() and not symbols[scale == 0].any()
        best, coded = np.inf, scale > 0
        for walk in itertools.product(range(-4, 5), repeat=4):
            s = np.zeros(r.shape, int)
            s[coded] = walk
            best = min(best, cost(trellis, r, scale, weight, s))
        assert cost(trellis, r, scale, weight, symbols) == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("trellis", [TCQ4, TCQ8, TCQ32, TCQ128, TCQ256], ids=lambda t: t.name)
def test_sources_and_branches_are_the_inverse_of_next(trellis):
    states, kinds = len(trellis.kind), set()
    for s in range(states):
        for source, branch in zip(trellis.sources[:, s], trellis.branches[:, s], strict=True):
            assert trellis.next[source][branch & 1] == s and trellis.kind[source] == branch >> 1
            kinds.add((int(source), int(branch) & 1))
    assert len(kinds) == 2 * states and sum(trellis.kind) == states // 2
    assert trellis.next[0][0] == 0 == trellis.kind[0]  # zeros stay in state 0


def test_walks_take_every_coded_latent_once_by_rising_scale():
    rng = np.random.default_rng(5)
    scale = rng.integers(0, 9, (50, 31))
    places = walks(scale)
    assert places.shape[0] <= STEPS and (places[:-1] >= 0).all()
    taken = places[places >= 0]
    assert sorted(taken) == np.flatnonzero(scale).tolist()
    assert (np.diff(scale.ravel()[taken]) >= 0).all()
    assert walks(np.zeros((3, 2), int)).size == 0


def test_walks_are_searched_apart(monkeypatch):
    rng = np.random.default_rng(6)
    r, scale = rng.normal(0, 1, (40, 30)).astype(np.float32), rng.integers(0, 40, (40, 30))
    whole = assign(TCQ128, r, scale, np.float32(8), BITS, TABLES.offsets)
    monkeypatch.setattr("codec.coding.trellis.BATCH", 3)
    parts = assign(TCQ128, r, scale, np.float32(8), BITS, TABLES.offsets)
    assert all((a == b).all() for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize(
    ("trellis", "gain"),
    [(SCALAR, 0.0), (TCQ4, 0.95), (TCQ8, 1.04), (TCQ32, 1.18), (TCQ128, 1.23), (TCQ256, 1.28)],
    ids=lambda t: getattr(t, "name", t),
)
def test_granular_gain(trellis, gain):
    assert granular_gain(trellis) == pytest.approx(gain, abs=0.06) or granular_gain(trellis) > gain


def test_256_states_are_nearer_to_the_bound_than_128():
    assert granular_gain(TCQ256) > granular_gain(TCQ128) + 0.03


@functools.cache
def granular_gain(trellis) -> float:
    """dB below 1/12 at the same rate (a large weight and flat costs make it a pure distance search)."""
    rng = np.random.default_rng(4)
    r = rng.uniform(-40, 40, (60, 300)).astype(np.float32)
    scale = np.full(r.shape, 79)
    flat = np.zeros_like(BITS)
    symbols, kind = assign(trellis, r, scale, np.float32(1), flat, TABLES.offsets)
    error = np.square(r - reconstruct(symbols, kind, scale * KINDS + kind, TABLES.offsets) / UNIT).mean()
    return float(10 * np.log10(1 / 12 / error))


def test_large_residuals_are_clipped_to_what_can_be_coded():
    symbols, _ = assign(SCALAR, np.array([[1e6]], np.float32), np.array([[79]]), np.float32(8), BITS, TABLES.offsets)
    assert abs(symbols[0, 0]) in (MAX_MAGNITUDE - 1, MAX_MAGNITUDE)


@pytest.mark.parametrize("trellis", TRELLISES.values(), ids=TRELLISES)
def test_latents_far_outside_the_tables_are_sent_whole(trellis):
    """Larger than MAX_SYMBOL: the escape carries them, and they come back within a step and a half."""
    tables = analytic_tables()
    r = np.array([[900.3, -4000.8, 0.2, 300.0, -256.4, 12.0]], np.float32).repeat(3, 0)
    scale = np.full(r.shape, 70)
    symbols, kind = assign(trellis, r, scale, np.full(r.shape[1], 5.0, np.float32), tables.bits(), tables.offsets)
    table = scale * KINDS + kind
    back = reconstruct(symbols, kind, table, tables.offsets) / UNIT
    assert np.abs(symbols).max() > MAX_SYMBOL and np.abs(back - r).max() < 1.5


def test_cost_of_an_escape_goes_on_where_the_tables_end():
    table = np.array([79 * KINDS, 30 * KINDS])
    limit = np.array([symbol_limit(79), symbol_limit(30)])
    bits = analytic_tables().bits()[table, -1]  # of MAX_SYMBOL
    for m in (256, 300, 5000):
        assert bits + excess_bits(table, np.full(2, m)) == pytest.approx(
            bits - golomb_bits(MAX_SYMBOL - limit) + golomb_bits(m - limit)
        )
    assert (excess_bits(table, np.array([3, MAX_SYMBOL])) == 0).all()
