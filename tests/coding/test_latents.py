"""Latents to bytes and back with a small untrained model."""

import numpy as np
import pytest
import torch

from codec.bitstream.tables import KINDS, MAX_SYMBOL
from codec.errors import CorruptError
from codec.models.prior import table_bits
from tests.support.small import CONFIG, small_coder, small_model


@pytest.fixture(scope="module")
def coder():
    return small_coder(small_model())[0]


def latents(seed: int, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    v = rng.laplace(0, 3, (CONFIG.channels, h, w)).astype(np.float32)
    v[0, 0, 0] = 900  # needs an escape
    return v, rng.integers(0, CONFIG.tokens, (h // 2, w // 2))


@pytest.mark.parametrize(("level", "h", "w"), [(0, 2, 2), (3000, 8, 6), (6400, 4, 10), (6399, 2, 12), (6720, 4, 6)])
def test_round_trip(coder, level, h, w):
    v, tokens = latents(level, h, w)
    sent = coder.encode(v, tokens, level, np.full(CONFIG.channels, 8, np.float32))
    got_tokens, v_hat = coder.decode(tuple(sent.sections), h, w, level)
    assert (got_tokens == tokens).all() and (v_hat == sent.v_hat).all()
    for section, bits in zip(sent.sections, sent.bits, strict=True):
        assert bits / 8 - 2 <= len(section) <= bits / 8 * 1.002 + 6


def test_more_weight_on_the_error_gives_less_error(coder):
    v, tokens = latents(5, 8, 8)
    errors, bits = [], []
    for weight in (1, 4, 16, 64):
        sent = coder.encode(v, tokens, 4000, np.full(CONFIG.channels, weight, np.float32))
        errors.append(np.square(sent.v_hat / 256 - v)[:, 1:].mean())
        bits.append(sum(sent.bits))
    assert errors == sorted(errors, reverse=True) and bits == sorted(bits)


def test_measured_planes_say_what_is_sent_and_what_it_costs(coder):
    v, tokens = latents(8, 6, 8)
    given = v, tokens, 6000, np.full(CONFIG.channels, 8, np.float32)
    (sent, v_hat), measured = coder.quantise(*given), coder.measure(*given)
    assert (measured.v_hat == v_hat).all() and measured.bits == pytest.approx(coder.bits(sent))
    slopes = torch.from_numpy(coder.latent.slopes())
    for s in sent:
        g, p = CONFIG.groups[s.asked.group], s.asked
        symbols, kinds = (plane[g.start : g.stop, p.rows, p.columns].T for plane in (measured.symbols, measured.kinds))
        assert (symbols == s.symbols).all() and (p.scale * KINDS + kinds == s.table).all()
        bits = table_bits(
            slopes, torch.from_numpy(p.scale).float(), torch.from_numpy(kinds), torch.from_numpy(symbols)
        ).numpy()
        inside = (p.scale > 0) & (np.abs(symbols) <= MAX_SYMBOL)
        np.testing.assert_allclose(
            bits[inside],
            coder.latent.bits()[s.table, symbols.clip(-MAX_SYMBOL, MAX_SYMBOL) + MAX_SYMBOL][inside],
            rtol=1e-6,
        )
    assert measured.kinds.any() and np.abs(measured.symbols).max() > MAX_SYMBOL


def test_missing_groups_are_predicted(coder):
    v, tokens = latents(6, 6, 6)
    sent = coder.encode(v, tokens, 5000, np.full(CONFIG.channels, 8, np.float32))
    _, whole = coder.decode(tuple(sent.sections), 6, 6, 5000)
    _, cut = coder.decode((sent.sections[0], sent.sections[1], None), 6, 6, 5000)
    assert (whole[:16] == cut[:16]).all() and (whole[16:] != cut[16:]).any()


def test_forged_sections_end_in_latents_or_a_refusal(coder):
    rng = np.random.default_rng(7)
    for _ in range(20):
        sections = tuple(rng.bytes(int(rng.integers(0, 60))) for _ in range(3))
        try:
            tokens, v_hat = coder.decode(sections, 4, 4, 6000)
        except CorruptError:
            continue
        assert tokens.max() < CONFIG.tokens and v_hat.shape == (CONFIG.channels, 4, 4)


def test_wrong_number_of_sections_is_refused(coder):
    with pytest.raises(CorruptError):
        coder.decode((b"", b""), 4, 4, 100)
