"""Refusals of training: what a command was given and cannot read is told in one sentence, not in a traceback."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import torch

from codec.errors import CodecError


def told(main: Callable[[], None]) -> Callable[[], None]:
    """A command whose refusals, files that cannot be opened and Ctrl-C outside the loop end it with a sentence."""

    @functools.wraps(main)
    def command() -> None:
        try:
            main()
        except CodecError as error:
            raise SystemExit(str(error)) from None
        except KeyboardInterrupt:
            raise SystemExit("interrupted; the same command begins again, or goes on from what was saved") from None
        except OSError as error:
            if error.filename is None or error.strerror is None:
                raise
            raise SystemExit(f"cannot open {error.filename}: {error.strerror}") from None

    return command


def read_state(path: Path, needed: Set[str] = frozenset({"model", "config"})) -> dict[str, Any]:
    """What a run saved, on the CPU. Raises SystemExit for a file that is no such thing, or has not what is needed."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, UnicodeDecodeError, ValueError):
        state = None
    if not isinstance(state, dict) or not needed <= set(state):
        raise SystemExit(f"{path} is not what a run of training saved")
    return state
