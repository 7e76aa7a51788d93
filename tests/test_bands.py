"""How many positions are worked on at a time is a matter of memory and never of the result."""

import pytest

from codec.coding import trellis
from codec.models import integer_prior
from tests.support.codes import decoded_codes, digest


@pytest.mark.parametrize(("band", "batch"), [(2, 7), (8, 100)])
def test_bands_change_nothing(shipped, small, monkeypatch, band, batch):
    """Exactly: the arithmetic is one of integers."""
    data = shipped.encode(small, quality=60)
    codes = digest(*decoded_codes(shipped, data))
    monkeypatch.setattr(integer_prior, "AT_ONCE", band)
    monkeypatch.setattr(trellis, "BATCH", batch)
    assert shipped.encode(small, quality=60) == data
    assert digest(*decoded_codes(shipped, data)) == codes


def test_a_missing_halo_would_be_seen(shipped, small, monkeypatch):
    """So the test above can fail: networks that claim to see nothing around a position choose other tables."""
    data = shipped.encode(small, quality=60)
    monkeypatch.setattr(integer_prior, "AT_ONCE", 8)
    for net in shipped._model.coder.prior.nets:
        monkeypatch.setattr(net, "reach", 0)
    assert shipped.encode(small, quality=60) != data
