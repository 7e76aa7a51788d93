"""Quantisers under one interface: geometry, search, code lengths, fitting."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from benchmarks.analysis.bdrate import mean_curve
from benchmarks.studies.quantisers import report
from benchmarks.studies.quantisers.codebook import DIMENSIONS, Codebook, CodebookQuantizer
from benchmarks.studies.quantisers.measure import COLUMNS, Subject, measure, merge, quantizers
from codec.bitstream.tables import LOG2_SCALE_MIN, PER_OCTAVE
from codec.coding.latents import LatentCoder
from codec.coding.trellis import SCALAR, TCQ4, TCQ8, TCQ32, TCQ128
from codec.models import integer_export, token_net
from codec.models.config import VQVAEConfig
from codec.models.integer_prior import IntegerPrior
from codec.models.token_net import TokenNet
from codec.models.vqvae import VQVAE
from codec.training.base import lattice
from codec.training.base.lattice import D4, E8, LatticeQuantizer
from codec.training.base.quantizers import Trellised, vectors
from codec.training.base.tables import Counts, analytic_tables

FIRST = analytic_tables()
SHAPE = (256, 96)
WEIGHT = np.full(SHAPE[1], 12.0, np.float32)
MAKERS = quantizers()


def source(seed: int, shape: tuple[int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Laplacian residuals (P, C) of many scales, some not coded."""
    rng = np.random.default_rng(seed)
    scale = rng.integers(0, 44, shape).astype(np.int32)
    sigma = 2.0 ** (LOG2_SCALE_MIN + scale / PER_OCTAVE)
    return rng.laplace(0, sigma / np.sqrt(2)).astype(np.float32), scale


def fitted(name: str, turns: int = 3):
    q = MAKERS[name]()
    for seed in range(turns):
        for part in range(3):
            q.send(*source(10 * seed + part), WEIGHT)
        q.refit()
    return q


@pytest.fixture(scope="module")
def after() -> dict:
    """Every quantiser, fitted."""
    return {name: fitted(name) for name in MAKERS}


def root_vectors(n: int, halves: bool) -> np.ndarray:
    """Lattice points near 0 of D_n (and of its other coset)."""
    k = np.array(list(itertools.product((-1, 0, 1), repeat=n)))
    twice = np.concatenate([2 * np.eye(n), -2 * np.eye(n)])
    points = np.concatenate([k[k.sum(1) % 2 == 0], twice])
    if halves:
        h = np.array(list(itertools.product((-1.5, -0.5, 0.5, 1.5), repeat=n)))
        points = np.concatenate([points, h[h.sum(1) % 2 == 0]])
    return points.astype(np.float32)


@pytest.mark.parametrize("which, halves", [(D4, False), (E8, True)])
def test_nearest_point_is_that_of_brute_force(which, halves):
    rng = np.random.default_rng(1)
    x = rng.uniform(-0.5, 0.5, (60, which.n)).astype(np.float32)
    points = root_vectors(which.n, halves)
    best = ((x[:, None] - points) ** 2).sum(2).min(1)
    shift = 2 * rng.integers(-5, 6, x.shape)
    found = lattice.nearest(which, x + shift)
    np.testing.assert_allclose(((x + shift - found) ** 2).sum(1), best, atol=1e-5)


@pytest.mark.parametrize("which", [D4, E8])
def test_points_are_in_the_lattice(which):
    x = np.random.default_rng(2).normal(0, 9, (2000, which.n)).astype(np.float32)
    scale = np.full(x.shape, 48)
    costs = lattice.LatticeCounts(which).costs()
    k, coset = lattice.search(which, x, scale, np.full(x.shape, 3.0, np.float32), costs)
    assert not (k.sum(1) % 2).any()
    assert set(coset) == set(range(which.cosets))
    if which is E8:
        norms = (lattice.coordinates(k, coset) ** 2).sum(1)
        assert not (norms % 2).any()  # E8 is even


@pytest.mark.parametrize("which, gain", [(D4, 0.37), (E8, 0.65)])
def test_granular_gain_of_lattices(which, gain):
    x = np.random.default_rng(3).uniform(0, 8, (20000, which.n)).astype(np.float32)
    mse = np.mean((x - lattice.nearest(which, x)) ** 2) / which.density**2
    assert 10 * np.log10(1 / 12 / mse) == pytest.approx(gain, abs=0.03)


@pytest.mark.parametrize(
    "trellis, low, high",
    [(SCALAR, -0.02, 0.02), (TCQ4, 0.9, 1.05), (TCQ8, 1.0, 1.15), (TCQ32, 1.15, 1.25), (TCQ128, 1.2, 1.33)],
)
def test_granular_gain_of_trellises(trellis, low, high):
    r = np.random.default_rng(4).uniform(-30, 30, (300, 256)).astype(np.float32)
    sent = Trellised(trellis, False, Counts, FIRST).send(r, np.full(r.shape, 64, np.int32), np.ones(256, np.float32))
    assert low < 10 * np.log10(1 / 12 / np.mean((r - sent.values) ** 2)) < high


@pytest.mark.parametrize("which", [D4, E8])
def test_lattice_code_lengths_are_those_of_a_complete_code(which):
    """2^-bits over all points near 0 sums to nearly 1, never more: before and after counting, whatever the scales in
    a vector."""
    reach = range(-4, 5) if which is D4 else range(-2, 3)
    k = np.array(list(itertools.product(reach, repeat=which.n)))
    k = k[k.sum(1) % 2 == 0]
    q = LatticeQuantizer(which, True, Counts, FIRST)
    mixed = np.array([11, 9, 9, 6, 5, 4, 3, 2])[: which.n]
    for _ in range(2):
        total = sum(
            float(np.exp2(-lattice.bits(k, np.full(len(k), h), np.broadcast_to(mixed, k.shape), q.costs)).sum())
            for h in range(which.cosets)
        )
        assert 0.95 < total < 1.0001
        for seed in range(3):
            q.send(*source(seed), WEIGHT)
        q.refit()


@pytest.mark.parametrize("which", [D4, E8])
def test_search_finds_the_cheapest_point(which):
    """Against every point near 0, at random costs of symbols, parities and cosets."""
    rng = np.random.default_rng(5)
    free = lattice.free(which)
    size = np.abs(np.arange(-lattice.LIMIT, lattice.LIMIT) + 0.5 * np.arange(which.cosets)[:, None])
    costs = lattice.Costs(
        (3 * size + rng.uniform(0, 1, free.symbol.shape)).astype(np.float32),
        rng.uniform(0, 3, free.parity.shape).astype(np.float32),
        rng.uniform(0, 3, free.coset.shape).astype(np.float32),
        free.offset,
    )
    x = rng.uniform(-0.9, 0.9, (20, which.n)).astype(np.float32)
    scale = np.sort(rng.integers(1, 20, x.shape), 1)[:, ::-1]
    weight = rng.uniform(4, 14, x.shape).astype(np.float32)

    def cost(k, coset):
        error = x - lattice.decoded(k, coset, scale, costs.offset)
        return (weight * error**2).sum(1) + lattice.bits(k, coset, scale, costs)

    found = cost(*lattice.search(which, x, scale, weight, costs))
    best = np.full(len(x), np.inf)
    for h in range(which.cosets):
        # coordinates from the two values of each parity next to x: what the search looks at
        for k in itertools.product((-2, -1, 0, 1) if which is D4 else (-1, 0, 1), repeat=which.n):
            if sum(k) % 2 == 0:
                best = np.minimum(best, cost(np.tile(k, (len(x), 1)), np.full(len(x), h)))
    assert (found <= best + 1e-3).all()


def lagrangian(q, r: np.ndarray, scale: np.ndarray) -> float:
    sent = q.send(r, scale, WEIGHT)
    return sent.bits + float((WEIGHT * (r - sent.values) ** 2).sum())


@pytest.mark.parametrize("name", ["scalar", "tcq4", "tcq8", "tcq128", "d4", "e8", "ecvq"])
def test_rate_aware_assignment_costs_less_under_the_same_tables(name, after):
    aware = after[name + "+ra"]
    r, scale = source(99)
    cost = lagrangian(aware, r, scale)
    parts = [aware] + [getattr(aware, part) for part in ("rest", "scalar", "walks") if hasattr(aware, part)]
    try:
        for part in parts:
            part.rate_aware = False
        assert cost < lagrangian(aware, r, scale)
    finally:
        for part in parts:
            part.rate_aware = True


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_not_coded_is_zero_and_free(name, after):
    r, scale = source(98)
    sent = after[name].send(r, scale, WEIGHT)
    assert sent.values.shape == r.shape and sent.values.dtype == np.float32
    assert not sent.values[scale == 0].any()
    changed = after[name].send(np.where(scale == 0, r + 3, r), scale, WEIGHT)
    assert changed.bits == pytest.approx(sent.bits)
    nothing = after[name].send(r, np.zeros_like(scale), WEIGHT)
    assert nothing.bits == 0 and not nothing.values.any()


@pytest.mark.parametrize("name", [name for name in MAKERS if not name.startswith("ecvq")])
def test_fitting_lowers_the_cost(name, after):
    r, scale = source(97)
    assert lagrangian(after[name], r, scale) < lagrangian(MAKERS[name](), r, scale)


def test_rate_is_near_the_entropy_of_what_is_sent(after):
    """Counted code lengths of a source that is as the counts saw it: within 3 % of its empirical entropy."""
    q = Trellised(SCALAR, False, Counts, FIRST)
    rng = np.random.default_rng(6)
    scale = np.full((500, 96), 24, np.int32)
    for _ in range(2):
        r = rng.laplace(0, 0.7, scale.shape).astype(np.float32)
        sent = q.send(r, scale, WEIGHT)
        q.refit()
    _, count = np.unique(np.rint(r), return_counts=True)
    p = count / count.sum()
    assert sent.bits == pytest.approx(-(count * np.log2(p)).sum(), rel=0.03)


def test_lattices_beat_scalar_and_trellis_beats_them_at_high_rate():
    """At sigma = 8 steps, where only the granular gain counts."""
    scale = np.full((600, 96), 48, np.int32)
    cost = {}
    for name in ("scalar+ra", "d4+ra", "e8+ra", "tcq8+ra", "tcq128+ra"):
        q, rng = MAKERS[name](), np.random.default_rng(7)
        for _ in range(3):
            r = rng.normal(0, 8, scale.shape).astype(np.float32)
            cost[name] = lagrangian(q, r, scale)
            q.refit()
    assert cost["tcq128+ra"] < cost["tcq8+ra"] < cost["e8+ra"] < cost["d4+ra"] < cost["scalar+ra"]


def test_vectors_take_each_coded_entry_once():
    scale = source(8)[1].ravel()
    at, left = vectors(scale, 8)
    assert sorted([*at.ravel(), *left]) == np.flatnonzero(scale > 0).tolist()
    assert len(left) < 8 and (np.diff(scale[at].ravel()) <= 0).all()


def test_lloyd_never_raises_the_cost():
    rng = np.random.default_rng(9)
    u, a = rng.laplace(0, 0.7, (4000, 4)).astype(np.float32), np.full((4000, 4), 6.0, np.float32)
    book, before = Codebook(u[:64].copy(), np.full(65, 6.0, np.float32)), np.inf
    for _ in range(8):
        cost = float(book.nearest(u, a, True)[1].sum())
        assert cost < before * (1 + 1e-3)
        book, before = book.lloyd(u, a, True), cost
    assert np.exp2(-book.bits).sum() == pytest.approx(1, abs=1e-4)


def test_codebooks_use_what_scalar_symbols_cannot():
    """The channels of a position are large or small together."""
    scale, cost = np.full((600, 96), 20, np.int32), {}
    for name in ("scalar+ra", "ecvq+ra"):
        q, rng = MAKERS[name](), np.random.default_rng(10)
        for _ in range(4):
            r = rng.normal(0, 1, scale.shape) * np.where(rng.random((600, 24)) < 0.25, 1.6, 0.1).repeat(4, 1)
            cost[name] = lagrangian(q, r.astype(np.float32), scale)
            q.refit()
    assert cost["ecvq+ra"] < 0.9 * cost["scalar+ra"]


def test_codebooks_escape_from_what_they_do_not_know():
    for rate_aware in (False, True):
        q = CodebookQuantizer(rate_aware, Counts, FIRST)
        for seed in range(3):
            q.send(*source(seed), WEIGHT)
        q.refit()
        assert len(q.books) == len(DIMENSIONS)
        r, scale = source(3)
        r[5, scale[5] > 0] = 40.0
        sent = q.send(r, scale, WEIGHT)
        assert np.abs(r - sent.values)[5, scale[5] > 0].max() < 2


@pytest.fixture(scope="module")
def small_model() -> VQVAE:
    """Untrained, of the real structure."""
    torch.manual_seed(0)
    config = VQVAEConfig(
        width8=16, width16=16, enc8=1, enc16=1, dec8=1, dec16=1, prior_width=16, prior_blocks=1, tokens=8
    )
    model = VQVAE(config)
    model.tokens.codebook.normal_()
    model.tokens.bits.fill_(3.0)
    model.sd.copy_(torch.logspace(0, -2, config.channels)[None, :, None, None])
    return model


def test_the_closed_loop_is_that_of_the_encoder(small_model):
    """tcq128+ra under the first tables: the same values and code length as codec.coding.latents."""
    integers = integer_export.export(small_model.prior, small_model.tokens, small_model.sd, small_model.log2_gain)
    subject = Subject(small_model, IntegerPrior(small_model.config, integers))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    p = subject.prepare(pixels, 70)
    answer = subject.send(p, MAKERS["tcq128+ra"]())
    integers |= token_net.export(TokenNet(small_model.tokens.centroids(small_model.sd), 4))
    coder = LatentCoder(small_model.config, TCQ128, integers, FIRST)
    sent, v_hat = coder.quantise(p.v, p.tokens, p.level, p.weight)
    np.testing.assert_array_equal(answer.v_hat, v_hat)
    assert answer.bits == pytest.approx(coder.bits(sent), rel=1e-6) and answer.bits > 1000
    (row,) = measure(MAKERS["tcq128+ra"](), subject, [p])
    assert set(row) == set(COLUMNS) - {"weights"}
    assert row["bits_per_dim"] == pytest.approx((answer.bits + 3 * p.tokens.size) / pixels.size, abs=1e-6)


def test_merge_replaces_the_rows_of_the_same_weights(tmp_path):
    row = dict.fromkeys(
        ("quantizer", "rate_aware", "quality", "crop", "bits_per_dim", "token_bits_per_dim", "rmse", "seconds"), 1
    )
    path = tmp_path / "t.csv"
    merge(path, [{"weights": w, **row} for w in ("base", "adapted", "base")])
    merge(path, [{"weights": "base", **row, "rmse": 2}])
    lines = path.read_text().splitlines()
    assert len(lines) == 3 and lines[1].startswith("adapted,") and lines[2].endswith(",2,1")


def synthetic_table() -> pd.DataFrame:
    """Two quantisers on three crops; the second needs 10 % less rate at every RMSE."""
    rows = []
    for name, factor in (("scalar", 1.0), ("e8", 0.9)):
        for crop in range(3):
            for k, quality in enumerate((40, 60, 80, 95)):
                rows.append(
                    (
                        "base",
                        name,
                        False,
                        quality,
                        crop,
                        factor * 0.05 * 2**k * (1 + crop / 10),
                        0.002,
                        16.0 / 1.5**k,
                        0.1 / factor,
                    )
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def test_quantisers_that_the_figure_does_not_know_have_colours_of_their_own(tmp_path):
    names = {"e8": "deadzone", "scalar": "scalar"}
    table = synthetic_table()
    table["quantizer"] = table.quantizer.map(names)
    table = pd.concat([table, table[table.quantizer == "deadzone"].assign(quantizer="other", rate_aware=True)])
    table.to_csv(tmp_path / "quantizers.csv", index=False)
    report.main(["--results", str(tmp_path)])
    assert (tmp_path / "figures" / "quantizers.png").stat().st_size > 10000
    assert "deadzone" in set(pd.read_csv(tmp_path / "quantizers_bd.csv").quantizer)
    figure, (left, right) = plt.subplots(1, 2)
    report.panels(left, right, {n: mean_curve(p) for n, p in report.read(tmp_path / "quantizers.csv").groupby("codec")})
    assert [line.get_label() for line in left.lines] == ["scalar", "deadzone", "other+ra"]
    assert len({line.get_color() for line in left.lines}) == 3
    plt.close(figure)


def test_a_table_without_the_plain_quantiser_is_one_sentence(tmp_path):
    table = synthetic_table()
    table[table.quantizer == "e8"].to_csv(tmp_path / "quantizers.csv", index=False)
    with pytest.raises(SystemExit, match="no rows of the quantiser scalar"):
        report.main(["--results", str(tmp_path)])
    assert not (tmp_path / "quantizers_bd.csv").exists()


def test_bd_table_and_figure(tmp_path):
    synthetic_table().to_csv(tmp_path / "quantizers.csv", index=False)
    report.main(["--results", str(tmp_path)])
    table = pd.read_csv(tmp_path / "quantizers_bd.csv").set_index(["quantizer", "anchor"])
    e8 = table.loc[("e8", "scalar")]
    for column in ("bd_rate_percent", "bd_rate_low", "bd_rate_high", "lower_rates_percent", "higher_rates_percent"):
        assert e8[column] == pytest.approx(-10, abs=0.01)
    assert e8["crops"] == 3
    assert table.loc[("scalar", "scalar"), "bd_rate_percent"] == 0
    assert (tmp_path / "figures" / "quantizers.png").stat().st_size > 10000
    assert (tmp_path / "figures" / "quantizers.pdf").stat().st_size > 5000
