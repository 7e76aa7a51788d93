"""The search on tensors finds the walks of the encoder's own, bit by bit."""

import numpy as np
import pytest
import torch

from codec.bitstream.tables import KINDS, SCALES, UNIT
from codec.coding.trellis import STEPS, TRELLISES, assign, reconstruct
from codec.training.base.adapt import Sender
from codec.training.base.tables import Counts, analytic_tables
from codec.training.base.torch_trellis import TorchTrellis


@pytest.mark.parametrize("name", TRELLISES)
@pytest.mark.parametrize(("shape", "factor"), [((50, 16), 20), ((333, 30), 1), ((7, 3), 1), ((4, 4), 0)])
def test_same_walks(name, shape, factor):
    rng = np.random.default_rng(0)
    scale = rng.integers(0, SCALES, shape) * (rng.random(shape) < 0.7) * (factor > 0)
    r = (rng.standard_normal(shape) * 2.0 ** (scale / 8 - 3) * 1.2 * factor).astype(np.float32)
    weight = rng.uniform(0.1, 3, shape).astype(np.float32)
    tables = analytic_tables()
    offsets = rng.integers(-40, 40, tables.offsets.shape).astype(np.int32)
    offsets[:, 0] = 0
    symbols, kind = assign(TRELLISES[name], r, scale, weight, tables.bits(), offsets)
    search = TorchTrellis(TRELLISES[name], torch.from_numpy(tables.bits()), torch.from_numpy(offsets))
    found, kinds = search.assign(torch.from_numpy(r), torch.from_numpy(scale), torch.from_numpy(weight))
    assert np.array_equal(found, symbols) and np.array_equal(kinds, kind)
    table = scale * KINDS + kind
    values = search.reconstruct(found, kinds, torch.from_numpy(table))
    assert np.array_equal(values, reconstruct(symbols, kind, table, offsets) / UNIT)


def test_room_for_all_and_tables_put_in_place_change_nothing():
    """What is recorded for a card: walks padded to the room that all latents would need, and tables that are
    overwritten."""
    rng = np.random.default_rng(1)
    scale = torch.from_numpy(rng.integers(0, SCALES, (90, 11)) * (rng.random((90, 11)) < 0.4))
    r, weight = torch.randn(90, 11) * 2, torch.rand(90, 11) + 0.5
    first = analytic_tables()
    flat = torch.zeros_like(torch.from_numpy(first.bits())), torch.zeros_like(torch.from_numpy(first.offsets))
    for trellis in TRELLISES.values():
        search = TorchTrellis(trellis, *flat)
        search.use(torch.from_numpy(first.bits()), torch.from_numpy(first.offsets))
        wanted = TorchTrellis(trellis, torch.from_numpy(first.bits()), torch.from_numpy(first.offsets)).assign(
            r, scale, weight
        )
        found = search._assign(r, scale, weight, -(-r.numel() // STEPS))
        assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True)) and wanted[0].any()


def test_a_sender_counts_as_the_tables_are_counted():
    rng = np.random.default_rng(2)
    scale = torch.from_numpy(rng.integers(0, SCALES, (200, 9)))
    r, weight = torch.randn(200, 9) * 2 ** (scale / 8 - 3), torch.rand(200, 9) + 0.5
    sender = Sender(TRELLISES["tcq128"], analytic_tables())
    values, bits = sender.quantise(r, scale, weight, scale.float())
    symbols, kind = TorchTrellis(
        TRELLISES["tcq128"], *(torch.from_numpy(a) for a in (sender.tables.bits(), sender.tables.offsets))
    ).assign(r, scale, weight)
    wanted = Counts()
    wanted.add((scale * KINDS + kind).numpy(), symbols.numpy(), r.numpy())
    sender.count()
    for name in ("magnitude", "error", "number"):
        np.testing.assert_allclose(getattr(sender.counts, name), 0.8 * getattr(wanted, name), atol=1e-4)
    assert wanted.number.sum() > 100 and (values[symbols == 0].abs() < 0.3).all() and (bits[scale > 0] > 0).all()
