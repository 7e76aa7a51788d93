"""Where training writes: never among the photographs, never in a folder that holds other files than its own."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from codec.whole import PARTS

CACHE_FILES = ("photos.u8", "index.json")
RUN_FILES = (
    "config.json", "hardware.json", "log.csv", "validation.csv", "last.pt", "step-*.pt", "part-*.safetensors", "codes-*.safetensors", "narrow.pt", "sheet.png", "events.out.tfevents.*", "cache", "cache-fine", "tokens",
)  # fmt: skip
CROP_FILES = ("*.safetensors",)
SHARD_FILES = ("shard-*", "validation.*", "cache")


def data_options(ap: argparse.ArgumentParser, default: str | None = "OUT/cache") -> None:
    """Adds --data and --cache to a command; ``default`` says where the cache is otherwise (None: it must be given)."""
    where = f" (default: {default})" if default else ""
    ap.add_argument("--data", type=Path, required=True, help="folder of tar shards or of photographs; it is only read")
    ap.add_argument("--cache", type=Path, required=not default, help=f"folder for the decoded photographs{where}")


def check_outside(folder: Path, *data: Path | None) -> None:
    """Raises SystemExit where something would be written among the photographs; None: there is no such folder."""
    for photographs in data:
        if photographs is not None and folder.resolve().is_relative_to(photographs.resolve()):
            raise SystemExit(f"{folder} is inside the folder of photographs, {photographs}: name a folder outside it")


def check_ours(folder: Path, names: Sequence[str], what: str) -> None:
    """Raises SystemExit where a folder holds files of other names: they may be the user's."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SystemExit(f"{folder} is not a folder")
    other = sorted(p.name for p in folder.iterdir() if not any(p.match(name) for name in (*names, PARTS)))
    if other:
        raise SystemExit(f"{folder} holds other files than {what} ({other[0]}): name a new folder")


def check_run(folder: Path, *data: Path | None) -> None:
    """Raises SystemExit where a folder is not one for a run."""
    check_outside(folder, *data)
    check_ours(folder, RUN_FILES, "those of a training run")


def check_cache(cache: Path) -> None:
    """Raises SystemExit where a folder holds anything but a cache of photographs."""
    check_ours(cache, CACHE_FILES, "a cache of photographs")
    index = cache / "index.json"
    if not index.exists():
        return
    try:
        found = json.loads(index.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"source", "names", "entries"} <= set(found):
        raise SystemExit(f"{index} is not of a cache of photographs of this version: name a new folder with --cache")
