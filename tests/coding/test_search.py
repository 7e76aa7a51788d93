"""The search's gradient: against differences of what it is the gradient of, and in tiles against the whole picture."""

import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from codec.coding import heap, search, tiles
from codec.coding.latents import LatentCoder, Measured
from codec.coding.model import Base, pad
from codec.coding.ratecontrol import RATE_SHARE, error_weight, lagrangian, thrift
from codec.models.prior import gaussian_bits, octaves, table_bits
from codec.models.transforms import level_features
from tests.support.small import CONFIG, small_coder, small_model

POSITION, LEVEL = torch.tensor([3.5]), 3200
SHARES = pytest.mark.parametrize(
    "share", [RATE_SHARE, 1e6], ids=["all", "contexts"]
)  # a large share leaves nothing of the error


@pytest.fixture(scope="module")
def example():
    """Model, picture of 40x6 positions, what is sent of it, tokens."""
    net = small_model().requires_grad_(False)
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 640, 96), np.uint8))
    y, tokens = net.analyse(x.float() / 255, POSITION)
    v, coder = y * torch.exp2(net.interpolate(net.log2_gain, POSITION)), small_coder(net)[0]
    sent = coder.measure(v[0].numpy(), tokens[0].numpy(), LEVEL, error_weight(net, POSITION))
    return Base(0, 0, CONFIG, net, coder), x, sent, tokens


@SHARES
def test_gradient_is_that_of_error_and_bits_along_the_tables(example, share):
    model, x, sent, tokens = example
    net, slopes, at = (
        model.vqvae,
        torch.from_numpy(model.coder.latent.slopes()),
        torch.from_numpy(sent.v_hat)[None] / 256,
    )
    gain, igain = (torch.exp2(net.interpolate(t, POSITION)) for t in (net.log2_gain, net.log2_igain))
    kinds, symbols = (torch.from_numpy(plane)[None] for plane in (sent.kinds, sent.symbols))

    def prior(v_hat):
        return net.prior(
            v_hat,
            net.sd * gain,
            net.tokens.values(tokens, net.sd),
            level_features(POSITION, CONFIG.anchors),
            lambda part, mu, ls, group, mask: part * mask,
        )

    sigma = prior(at).log2_sigma

    def cost(v_hat):
        error = (
            lagrangian(CONFIG, POSITION)
            / (3 * share * thrift(POSITION).item())
            * (net.synthesise(v_hat * igain, POSITION) * 255 - x).double().square().sum()
        )
        out = prior(v_hat)
        return (
            error
            + table_bits(slopes, octaves(out.log2_sigma), kinds, symbols).double().sum()
            + gaussian_bits(at, out.mu, sigma).double().sum()
        ).item()

    _, gradient = search._gradient(model, x, sent, tokens, POSITION, share, True)
    for seed in range(3):
        step = 1e-3 * gradient.sign() * torch.rand(at.shape, generator=torch.Generator().manual_seed(seed))
        assert (step * gradient).sum().item() == pytest.approx((cost(at + step) - cost(at - step)) / 2, rel=2e-3)


def test_without_contexts_it_is_the_rest_of_the_gradient(example):
    model, x, sent, tokens = example
    (error, alone), (same, both), (_, contexts) = (
        search._gradient(model, x, sent, tokens, POSITION, share, of_contexts)
        for share, of_contexts in ((RATE_SHARE, False), (RATE_SHARE, True), (1e9, True))
    )
    assert error == same and contexts.abs().max() > 1e-3
    assert (alone + contexts - both).abs().max() < 1e-4 * both.abs().max()


def test_a_quick_search_that_gets_worse_ends_where_it_was_best(example):
    model, x, _, tokens = example  # random networks: the model of the cost says nothing of them
    v = torch.zeros(1, *example[2].v_hat.shape)
    found = search.refine(model, x, v, tokens, LEVEL, POSITION, search.Plan(search.QUICK), lambda done: None)
    assert found.v is v


def test_every_round_of_a_quick_search_makes_the_picture_better(shipped, small, monkeypatch):
    picture = small[:128, :128]

    def error(rounds):
        monkeypatch.setattr(search, "PLANS", (search.Plan(), search.Plan(rounds)))
        decoded = shipped.decode_array(shipped.encode(picture, quality=70, effort=2, lossless=False))
        return float(np.square(decoded.astype(float) - picture).mean())

    found = [error(rounds) for rounds in (0, 1, 2)]
    assert found[0] > found[1] * 1.01 and found[1] > found[2] * 1.01


@pytest.mark.parametrize("effort", [2, 3])
def test_a_quick_search_looks_at_what_it_did(shipped, effort):
    """Saturated edges, where a step goes astray: three times the error, were it taken without a look."""
    x = np.full((64, 64, 3), (255, 0, 255), np.uint8)
    x[:, 29:], x[37:] = (0, 255, 0), (0, 0, 255)
    usual, found = (shipped.decode_array(shipped.encode(x, quality=100, effort=e, lossless=False)) for e in (1, effort))
    assert np.square(found.astype(float) - x).mean() < 1.02 * np.square(usual.astype(float) - x).mean()


@pytest.fixture
def searched(shipped, small, monkeypatch):
    """A search that settles: what it found, the cost of each round, what the encoder sends of it, and its cost."""
    model, x, costs = shipped.model, pad(np.ascontiguousarray(small[:128, :128])), list[float]()
    asked = model.to_steps(x, LEVEL)
    measure, gradient, sent = model.coder.measure, search._gradient, list[Measured]()
    codes = asked.tokens[0].numpy()

    def measured(coder, *given):
        sent.append(measure(*given))
        return sent[-1]

    def moved(*args, **kwargs):
        found = gradient(*args, **kwargs)
        costs.append(found[0] + sent[-1].bits)
        return found

    monkeypatch.setattr(LatentCoder, "measure", measured)
    monkeypatch.setattr(search, "_gradient", moved)
    found = search.refine(model, x, asked.v, asked.tokens, LEVEL, asked.position, search.Plan(4, 1), lambda done: None)
    rounds = list(costs)
    coded = model.coder.encode(found.v[0].numpy(), codes, LEVEL, found.weight)
    again = measured(model.coder, found.v[0].numpy(), codes, LEVEL, found.weight)
    moved(model, x, again, asked.tokens, asked.position, RATE_SHARE, contexts=False, moves=False)
    return rounds, costs[-1], coded, sent, again


def test_what_a_search_found_is_what_is_sent(searched):
    rounds, cost, coded, sent, again = searched
    assert cost == pytest.approx(min(rounds), rel=1e-6)
    assert sum(coded.bits[1:]) == pytest.approx(again.bits, rel=1e-6)
    assert np.array_equal(coded.v_hat, again.v_hat)
    assert any(np.array_equal(coded.v_hat, one.v_hat) for one in sent[:-1])


def test_what_is_held_stays_and_the_rest_gets_better(searched, shipped):
    rounds, _, _, sent, _ = searched
    starts = [group.start for group in shipped.model.config.groups][1:]
    best = min(range(4), key=rounds.__getitem__)  # of the walk
    for turn, start in zip(range(5, 4 + len(starts) + 1), starts, strict=True):
        best = min(range(turn), key=rounds.__getitem__)
        assert np.array_equal(sent[turn].v_hat[:start], sent[best].v_hat[:start])
        assert not np.array_equal(sent[turn].v_hat[start:], sent[best].v_hat[start:])
    assert min(rounds[4:]) < min(rounds[:4])


def test_memory_stays_for_the_next_round():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def work() -> None:
        """Much memory in parts that are each small enough to be kept."""
        parts = [np.ones(1 << 21) for _ in range(8)]
        parts.clear()

    heap.release(1 << 22)
    before, taken = resident(), 8 << 24
    with heap.kept():
        work()
        assert resident() - before > 0.8 * taken
    assert resident() - before < 0.2 * taken


@SHARES
def test_tiles_leave_no_seams_in_the_gradient(example, share, monkeypatch):
    model, x, sent, tokens = example
    error, whole = search._gradient(model, x, sent, tokens, POSITION, share, True)
    monkeypatch.setattr(search, "WHOLE", 0)
    monkeypatch.setattr(search, "SEARCH_TILE", 8)
    tiled_error, tiled = search._gradient(model, x, sent, tokens, POSITION, share, True)
    assert tiled_error == pytest.approx(error, rel=1e-5) and (tiled - whole).abs().max() < 1e-5 * whole.abs().max()
    monkeypatch.setattr(tiles, "HALO", 0)
    _, cut = search._gradient(model, x, sent, tokens, POSITION, share, True)
    assert (cut - whole).abs().max() > 1e-4 * whole.abs().max()  # so the comparison above sees seams
