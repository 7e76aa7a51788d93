"""Starts codec.api and codec.module, and with them torch."""

from __future__ import annotations

import gc
from types import ModuleType


def api() -> ModuleType:
    """codec.api. While it is imported for the first time the garbage collector rests: it would walk again and again
    through what torch makes and keeps."""
    awake = gc.isenabled()
    gc.disable()
    try:
        from codec import api
    finally:
        if awake:
            gc.enable()
    return api


def module() -> ModuleType:
    """codec.module, likewise."""
    api()
    from codec import module

    return module
