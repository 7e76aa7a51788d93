"""How near the restored held-out crops are to the originals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from codec.models.restorer import UPSCALES
from codec.training.restoration.batches import Batch, Store
from codec.training.restoration.perception import Perception


@torch.no_grad()
def errors(
    restored: Callable[[Batch], torch.Tensor], held_out: Store, alex: Perception, sheet_file: Path
) -> dict[str, float]:
    """RMSE (0..255) and LPIPS on AlexNet of held-out crops, by the level of their streams and for enlargements;
    with "_c", of what they are restored from. Some of them are drawn on a sheet."""
    rows: dict[str, list[list[float]]] = {}
    for factor, first in itertools.product((1, *UPSCALES), range(0, len(held_out), 8)):
        batch = held_out.whole(first, first + 8, factor)
        x_hat = restored(batch)
        values = torch.stack(
            [
                f(p)
                for p in (x_hat, batch.x_c)
                for f in (
                    lambda p: (p - batch.x).square().mean((1, 2, 3)).sqrt() * 255,
                    lambda p: alex(p, batch.x),
                )
            ],
            1,
        ).tolist()
        for task, row in zip(batch.task.tolist(), values, strict=True):
            rows.setdefault(f"x{factor}" if factor > 1 else f"{task:g}", []).append(row)
        if first == 0 and factor == 1:
            rows_shown = [torch.cat(list(p[:5]), 2) for p in (batch.x_c, x_hat, batch.x)]
            sheet = torch.cat(rows_shown, 1).mul(255).byte().permute(1, 2, 0)
            Image.fromarray(sheet.cpu().numpy()).save(sheet_file)
    return {
        f"{key}_{name}": v
        for key, values in sorted(rows.items())
        for name, v in zip(("rmse", "lpips", "rmse_c", "lpips_c"), np.mean(values, 0).tolist(), strict=True)
    }
