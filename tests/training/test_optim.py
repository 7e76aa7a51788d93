"""Muon: orthogonal steps, the same as torch's for matrices."""

import torch
import torch.nn as nn

from codec.training import optim
from codec.training.optim import Muon, orthogonal


def test_singular_values_are_near_one():
    torch.manual_seed(0)
    for shape in ((32, 32), (64, 16), (16, 64)):
        s = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert s.max() < 1.3 and s.median() > 0.6
    u = torch.linalg.qr(torch.randn(32, 8))[0]  # what is orthogonal already keeps its directions
    assert (torch.trace(u.t() @ orthogonal(u)) / 8) > 0.6


def test_same_walk_as_torch():
    """Theirs iterates in bfloat16."""
    torch.manual_seed(0)
    start = torch.randn(24, 12)
    ours, theirs = nn.Parameter(start[:, :, None, None].clone()), nn.Parameter(start.clone())
    a, b = Muon([ours], lr=0.02), torch.optim.Muon([theirs], lr=0.02, weight_decay=0.0)
    for _ in range(8):
        grad = torch.randn(24, 12)
        ours.grad, theirs.grad = grad[:, :, None, None].clone(), grad.clone()
        a.step(), b.step()
    moved, expected = ours.detach()[:, :, 0, 0] - start, theirs.detach() - start
    assert moved.norm() > 0.1
    assert (moved - expected).norm() < 0.05 * expected.norm()


def test_processes_share_the_iterations(monkeypatch):
    torch.manual_seed(0)
    shapes = ((8, 8), (16, 8), (8, 16))
    params, seen = [nn.Parameter(torch.randn(*s, 1, 1)) for s in shapes], []
    for p in params:
        p.grad = torch.randn_like(p)
    monkeypatch.setattr(optim.dist, "all_reduce", lambda flat: seen.append(flat.clone()))
    for rank in (0, 1):
        monkeypatch.setattr(optim, "rank_and_world", lambda rank=rank: (rank, 2))
        Muon(params, lr=0.0).step()
    assert not (seen[0] * seen[1]).any()
    expected = torch.cat([orthogonal(p.grad.flatten(1)).flatten() for p in params])
    assert torch.allclose(seen[0] + seen[1], expected, atol=1e-4)
