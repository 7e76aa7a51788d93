"""Muon: orthogonal steps, the same as torch's for matrices."""

import torch
import torch.nn as nn

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
