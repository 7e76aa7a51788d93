"""Pictures in latents: in one piece, and in parts that can be freed."""

import numpy as np
import pytest
import torch

from codec.coding import tiles
from codec.coding.model import pad


@pytest.mark.parametrize("size", [(70, 97), (64, 96), (33, 300)])
def test_a_picture_that_is_not_padded_whole_gives_the_same(small_codec, size, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 4)
    rgb = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    model = small_codec.model
    whole = model.to_steps(pad(rgb), 3000)
    parts = model.to_steps(rgb, 3000, by_group=True)
    assert [part.shape[1] for part in parts.parts] == [g.stop - g.start for g in model.config.groups]
    assert torch.equal(parts.v, whole.v) and torch.equal(parts.tokens, whole.tokens)
    taken = parts.take()
    assert not parts.parts and (np.concatenate(taken) == whole.v[0].numpy()).all()
    tokens = whole.tokens[0].numpy()
    wanted = model.coder.encode(whole.v[0].numpy(), tokens, 3000, whole.weight, keep=True)
    found = model.coder.encode(taken, tokens, 3000, parts.weight, keep=False)
    assert found.sections == wanted.sections and found.bits == wanted.bits and found.v_hat is None
    assert all(part.size == 0 for part in taken)  # so they are freed on the way
    again = model.coder.decode(tuple(found.sections), *whole.v.shape[2:], 3000)[1]
    assert (again == wanted.v_hat).all() and again.flags.c_contiguous
