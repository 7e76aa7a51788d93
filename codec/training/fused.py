"""Chains of pointwise operations compiled into single kernels, for training on a card."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from codec.layers.block import Block
from codec.layers.lapped import Lapped
from codec.models.prior import ContextNet

SHAPES = 64  # that a part may be compiled for


def fuse(model: nn.Module, wanted: bool, backend: str = "inductor") -> None:
    """Compiles, when they are first called, the parts of a model that do little arithmetic for the memory they touch;
    or takes that back. The weights stay the modules' own; each size of picture is compiled anew.

    The depthwise convolutions become sums of shifted pictures: libraries take longer for their gradients than for all
    1x1 convolutions together. backend: of torch.compile.
    """
    for block in (m for m in model.modules() if isinstance(m, Block)):
        block.shifts = wanted
    for part in parts(model):
        part._compiled_call_impl = None
        if wanted:
            torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, SHAPES)
            part.compile(dynamic=False, backend=backend)


def parts(model: nn.Module) -> list[nn.Module]:
    """What is compiled as one each: context networks, the other blocks, lapped filters."""
    nets = [m for m in model.modules() if isinstance(m, ContextNet)]
    inside = {id(block) for net in nets for block in net.modules()}
    return nets + [m for m in model.modules() if isinstance(m, Block | Lapped) and id(m) not in inside]


@contextmanager
def unfused(model: nn.Module) -> Iterator[None]:
    """Within it nothing is compiled: for a validation, whose pictures have another size."""
    shifts = [(m, m.shifts) for m in model.modules() if isinstance(m, Block)]
    compiled = [(m, m._compiled_call_impl) for m in parts(model)]
    for block, _ in shifts:
        block.shifts = False
    for part, _ in compiled:
        part._compiled_call_impl = None
    try:
        yield
    finally:
        for block, value in shifts:
            block.shifts = value
        for part, call in compiled:
            part._compiled_call_impl = call
