"""Hyper tokens by their network: waves, exact frequencies, sections of bytes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.reference import ReferenceDecoder, cumulative
from codec.bitstream.tables import TOTAL
from codec.coding.tokens import TokenCoder
from codec.errors import CorruptError
from codec.models import token_net
from codec.models.integer_tokens import NEIGHBOURS, IntegerTokenNet, waves
from codec.training.base.train_tokens import Seen
from tests.support.small import CONFIG, small_coder, small_model, small_token_net

K = CONFIG.tokens
MODEL = small_model()
ARRAYS = small_coder(MODEL)[1]
CODER = TokenCoder(ARRAYS)
SIZES = st.integers(1, 9)


def by_the_format(known: list[int]) -> list[int]:
    """FORMAT.md in integers of any size: neighbours of one token -> frequencies."""
    a = {name: values.astype(object) for name, values in ARRAYS.items()}

    def layer(name: str, x: np.ndarray) -> np.ndarray:
        sums = a[f"token_net.{name}.weight"] @ x + a[f"token_net.{name}.bias"]
        return (sums + (1 << 11)) >> 12

    def clip(x: np.ndarray) -> np.ndarray:
        return np.clip(x, -(1 << 17), 1 << 17)

    def leaky(x: np.ndarray) -> np.ndarray:
        return clip(np.maximum(x, x >> 3))

    x = np.concatenate([[*a["centroids"][k], 0] if k < K else [0] * a["centroids"].shape[1] + [1024] for k in known])
    x = leaky(layer("stem", x))
    x = leaky(clip(x + layer("b", leaky(layer("a", x)))))
    logits = clip(layer("head", x))
    best = int(logits.max())
    e = [int(a["exp2"][(v - best) % 1024] * 512) >> ((best - v + 1023) >> 10) for v in logits]
    found = [TOTAL * n // sum(e) for n in e]
    found[int(logits.argmax())] += TOTAL - sum(found)
    return found


@given(SIZES, SIZES)
def test_every_token_is_in_a_wave_behind_those_it_is_known_by(h, w):
    at = np.full((h, w), -1)
    for number, (rows, columns) in enumerate(waves(h, w)):
        assert len(rows) and (np.diff(rows) > 0).all() and (at[rows, columns] == -1).all()
        at[rows, columns] = number
        for i, j in NEIGHBOURS:
            inside = (rows + i >= 0) & (columns + j >= 0) & (columns + j < w)
            before = at[rows[inside] + i, columns[inside] + j]
            assert ((before >= 0) & (before < number)).all()
    assert (at >= 0).all()


@given(st.lists(st.integers(0, K), min_size=len(NEIGHBOURS), max_size=len(NEIGHBOURS)))
def test_frequencies_are_those_of_the_format(known):
    (found,) = IntegerTokenNet(ARRAYS).frequencies(np.array([known]))
    assert found.tolist() == by_the_format(known) and found.sum() == TOTAL and found.min() >= 0


@given(SIZES, SIZES, st.randoms(use_true_random=False))
def test_tokens_come_back_and_the_reference_reads_them(h, w, random):
    tokens = np.array([[random.randrange(K) for _ in range(w)] for _ in range(h)])
    data, bits = CODER.encode(tokens)
    assert (CODER.decode(data, h, w) == tokens).all()
    assert 8 * len(data) <= bits + 64  # zeros at the end are left out
    reader, read = ReferenceDecoder(data), np.full((h, w), K)
    for rows, columns in waves(h, w):
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
            places = [(i + a, j + b) for a, b in NEIGHBOURS]
            known = [int(read[p]) if min(p) >= 0 and p[1] < w else K for p in places]
            read[i, j] = reader.symbol(cumulative(np.array(by_the_format(known))))
    assert (read == tokens).all()


def test_integers_say_what_the_network_says():
    net, rng = small_token_net(MODEL), np.random.default_rng(3)
    known = rng.integers(0, K + 1, (200, len(NEIGHBOURS)))
    with torch.no_grad():
        said = torch.softmax(net(torch.from_numpy(known)) * np.log(2), 1).numpy()
    found = IntegerTokenNet(ARRAYS).frequencies(known) / TOTAL
    assert np.abs(found - said).max() < 0.001 and np.ptp(said) > 0.05


def test_training_and_coding_see_the_same_neighbours():
    tokens = np.random.default_rng(4).integers(0, K, (5, 7))
    seen, net = Seen.of([tokens], K), IntegerTokenNet(ARRAYS)
    rows = net.frequencies(seen.known.astype(np.int64))
    bits = -np.log2(rows[np.arange(tokens.size), seen.tokens] / TOTAL)
    assert bits.sum() == pytest.approx(CODER.encode(tokens)[1], abs=0.1)


def test_a_codeword_without_a_frequency_can_be_sent():
    net = token_net.TokenNet(MODEL.tokens.centroids(MODEL.sd), 4)
    with torch.no_grad():
        net.head.bias[0] = 60.0
    coder = TokenCoder({**ARRAYS, **token_net.export(net)})
    tokens = np.array([[0, 0, 5], [0, 31, 0]])
    data, bits = coder.encode(tokens)
    assert (coder.decode(data, 2, 3) == tokens).all() and 40 < bits < 56


def test_weights_that_are_not_exact_are_refused():
    name = "token_net.a.weight"
    with pytest.raises(ValueError, match="does not fit"):
        TokenCoder({**ARRAYS, name: np.full_like(ARRAYS[name], 1 << 20)})


def test_bytes_no_encoder_writes_are_refused_or_give_tokens():
    for seed in range(50):
        data = np.random.default_rng(seed).bytes(40)
        try:
            found = CODER.decode(data, 4, 5)
        except CorruptError:
            continue
        assert found.shape == (4, 5) and found.min() >= 0 and found.max() < K
