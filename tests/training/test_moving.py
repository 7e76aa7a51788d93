"""What a recorded step needs: moves by tensors, fused parts that compute the same, warm-ups that leave no trace."""

import pytest
import torch

from codec.layers.block import Block
from codec.layers.lapped import Lapped
from codec.training.base.train import recordings
from codec.training.cuda_graph import put_back
from codec.training.fused import fuse, parts, unfused
from codec.training.moving import Mover
from codec.training.optim import Ema, Muon


def gradients(net: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output and gradients of a sum of squares."""
    net.zero_grad()
    x = x.clone().requires_grad_(True)
    out = net(x)
    out.square().sum().backward()
    return [out.detach(), x.grad, *(p.grad.clone() for p in net.parameters())]


def test_fused_parts_give_the_same_outputs_and_gradients():
    torch.manual_seed(0)
    net = torch.nn.Sequential(Block(8), Lapped(8), Block(8))
    x = torch.randn(2, 8, 16, 24).to(memory_format=torch.channels_last)
    expected = gradients(net, x)
    fuse(net, True, backend="eager")
    assert len(parts(net)) == 3 and all(p._compiled_call_impl for p in parts(net)) and net[0].shifts
    found = gradients(net, x)
    with unfused(net):
        assert not net[0].shifts and net[0]._compiled_call_impl is None
    assert net[0].shifts and net[0]._compiled_call_impl
    fuse(net, False)
    assert not any(p._compiled_call_impl for p in parts(net)) and not net[2].shifts
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def moved(rate_of: type, steps: int = 5) -> tuple[list[torch.Tensor], Mover]:
    """Weights after some steps whose rates fall, with rates that are floats or tensors."""
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 2))
    matrix, rest = [net[0].weight], [net[0].bias, *net[1].parameters()]
    optimisers = [Muon(matrix, rate_of(0.02)), torch.optim.SGD(rest, lr=rate_of(0.1))]
    for group in (g for opt in optimisers for g in opt.param_groups):
        group["peak"] = float(group["lr"])
    mover = Mover(optimisers, (list(net.parameters()), 1.0), Ema(net, 0.9))
    for step in range(steps):
        net.zero_grad()
        net(torch.ones(3, 4)).square().sum().backward()
        mover.set(1 - step / steps, step)
        assert mover()["grad_norm"] > 0
    return [p.detach().clone() for p in net.parameters()] + mover.ema.mean, mover


def test_rates_that_are_tensors_move_the_weights_as_numbers_do():
    by_number, _ = moved(float)
    by_tensor, mover = moved(torch.tensor)
    assert isinstance(mover.optimisers[0].param_groups[0]["lr"], torch.Tensor)
    torch.testing.assert_close(by_tensor, by_number)


def test_calls_before_a_recording_leave_no_trace():
    _, mover = moved(float, steps=1)
    held = [(t, t.detach().clone()) for t in mover.tensors() if t.dim()]
    new = torch.ones(3)
    with torch.no_grad():
        for t, _ in held:
            t.add_(1)
    put_back(held, [*(t for t, _ in held), new])
    assert not new.any() and all(torch.equal(t, value) for t, value in held)


def test_states_are_taken_back_and_settings_are_not():
    _, mover = moved(float)
    states = [opt.state_dict() for opt in mover.optimisers]
    _, other = moved(torch.tensor, steps=1)
    other.set(0.5, 0)
    other.load(states)
    assert torch.equal(
        *(m.optimisers[0].state[m.optimisers[0].param_groups[0]["params"][0]]["mean"] for m in (mover, other))
    )
    assert torch.is_tensor(other.optimisers[1].param_groups[0]["lr"])


def test_what_is_recorded_is_one_of_three_words():
    assert recordings("step", torch.device("cpu")) == (False, False)
    with pytest.raises(SystemExit, match="step, gradients, nothing"):
        recordings("everything", torch.device("cpu"))
