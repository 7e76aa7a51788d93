"""The averaged weights of a run, in files that are not large."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from codec.whole import written

FIRST = "part-0.safetensors"  # is there when a run has ended
PART = 15 << 20  # bytes of a file of averaged weights


def save_parts(folder: Path, state: dict[str, torch.Tensor], meta: dict[str, str]) -> None:
    """Weights in half precision, in files of at most PART bytes: FIRST, part-1.safetensors, ..."""
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for k, v in state.items():
        v = (
            v.detach().half().cpu().contiguous()
            if v.is_floating_point() and k not in ("net.scale", "net.residual")
            else v.detach().cpu().contiguous()
        )
        if size + v.nbytes > PART:
            parts.append({})
            size = 0
        parts[-1][k] = v
        size += v.nbytes
    for k, part in enumerate(parts):
        with written(folder / f"part-{k}.safetensors") as path:
            save_file(part, path, meta)


def load_parts(folder: Path) -> dict[str, torch.Tensor]:
    """Inverse of ``save_parts``."""
    paths = sorted(folder.glob("part-*.safetensors"))
    if not paths:
        raise SystemExit(f"there are no weights in {folder}")
    return {k: v.float() if v.is_floating_point() else v for path in paths for k, v in load_file(path).items()}
