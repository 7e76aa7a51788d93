"""Sizes that are measured on crops: those that the autoencoder begins with, and that of s, with which it ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from codec.models.painter import STRIDE
from codec.models.restorer import Restorer
from codec.training.restoration.batches import Batch, Store


@torch.no_grad()
def start(net: Restorer, store: Store, window: int, crops: int = 320) -> None:
    """Size of the residual for each task; linear paths of encoder and painter: the KLT of the residual in blocks of
    8x8, in standard deviations."""
    size, rng, latent = 3 * STRIDE * STRIDE, np.random.default_rng(8), len(net.encoder.linear.weight)
    tasks, squares, blocks = [], [], []
    for _ in range(crops // 16):
        batch = store.draw(rng, 16, window, 0.3)
        residual = batch.x - batch.x_c
        tasks.append(batch.task), squares.append(residual.square().mean((1, 2, 3)))
        blocks.append(F.pixel_unshuffle(residual, STRIDE)[:, :, ::2, ::2])
    task, square = torch.cat(tasks), torch.cat(squares)
    tasks_of_rows = torch.arange(len(net.residual), device=task.device)
    near = (1 - (task[:, None] - tasks_of_rows).abs()).clamp(min=0)
    near = near * (net.of_stream(task)[:, None] == net.of_stream(tasks_of_rows))
    net.residual.copy_(((near.T @ square + 1e-7) / (near.sum(0) + 1e-3)).sqrt())
    covariance = torch.zeros(size, size, device=task.device)
    for t, block in zip(tasks, blocks, strict=True):
        rows = (block / net.size(t)).permute(0, 2, 3, 1).reshape(-1, size)
        covariance += rows.T @ rows / len(rows) / len(blocks)
    values, vectors = torch.linalg.eigh(covariance.double())
    values, vectors = (t.flip(-1)[..., :latent].float() for t in (values, vectors))
    net.encoder.linear.weight.copy_((vectors / values.sqrt()).T[:, :, None, None])
    net.painter.linear.weight.copy_((vectors * values.sqrt())[:, :, None, None])


@torch.no_grad()
def measure_scale(
    net: Restorer,
    encoded: Callable[[Batch], torch.Tensor],
    store: Store,
    window: int,
    upscale: float,
    crops: int = 256,
) -> None:
    """Sets the standard deviation of s in patches from the encoder. encoded: s of a batch; upscale: share of
    enlargements."""
    net.scale.fill_(1)
    total, rng = torch.zeros_like(net.scale), np.random.default_rng(9)
    for _ in range(crops // 16):
        batch = store.draw(rng, 16, window, upscale)
        total += encoded(batch).float().square().mean((0, 2, 3)) / (crops // 16)
    of_channel = total.view(-1, 4).mean(1).sqrt()
    net.scale.copy_(of_channel.repeat_interleave(4))  # the same for the four places of a patch
