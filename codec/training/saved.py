"""What a run saved."""

from __future__ import annotations

import pickle
from collections.abc import Set
from pathlib import Path
from typing import Any

import torch


def read_state(path: Path, needed: Set[str] = frozenset({"model", "config"})) -> dict[str, Any]:
    """What a run saved, on the CPU. Raises SystemExit for a file that is no such thing, or has not what is needed."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, UnicodeDecodeError, ValueError):
        state = None
    if not isinstance(state, dict) or not needed <= set(state):
        raise SystemExit(f"{path} is not what a run of training saved")
    return state
