"""The search on tensors finds the walks of the encoder's own, bit by bit."""

import numpy as np
import pytest
import torch

from codec.bitstream.tables import KINDS, SCALES
from codec.models.trellis import TRELLISES, UNIT, assign, reconstruct
from codec.training.tables import analytic_tables
from codec.training.torch_trellis import TorchTrellis


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
