"""A folder with all that a decoder needs that is not written in Python: graphs, integers, and a manifest that lists
them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codec import whole
from codec.bitstream import container, reference, tables
from codec.coding import tiles, trellis
from codec.coding.stored import StoredModel, smallest
from codec.errors import CodecError
from codec.models import exact
from codec.models.config import PATCH

VERSION = 3  # of the manifest; 1 and 2 had tokens with tables in place of a network
MANIFEST, INTEGERS = "manifest.json", "integers.bin"
_ALIGN = 8  # bytes


@dataclass(frozen=True)
class Graph:
    """A graph to be written, and what it takes and gives, in words."""

    file: str
    data: bytes
    inputs: dict[str, str]
    outputs: dict[str, str]


def pack_integers(integers: dict[str, np.ndarray]) -> tuple[bytes, dict[str, dict[str, Any]]]:
    """Arrays -> their values one after the other, little-endian, row by row, and where each of them is."""
    data, entries = bytearray(), {}
    for name in sorted(integers):
        values = smallest(integers[name])
        data += bytes(-len(data) % _ALIGN)
        raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
        entries[name] = {
            "dtype": values.dtype.name,
            "shape": list(values.shape),
            "offset": len(data),
            "bytes": len(raw),
        }
        data += raw
    return bytes(data), entries


def constants() -> dict[str, int]:
    """The numbers of FORMAT.md that no array says."""
    return {
        "max_level": container.MAX_LEVEL,
        "max_side": container.MAX_SIDE,
        "max_pixels": container.MAX_PIXELS,
        "max_sections": container.MAX_SECTIONS,
        "max_payload": container.MAX_PAYLOAD,
        "table_total": tables.TOTAL,
        "table_precision": reference.PRECISION,
        "unit": tables.UNIT,
        "kinds": tables.KINDS,
        "scales": tables.SCALES,
        "scales_per_octave": tables.PER_OCTAVE,
        "log2_scale_min": tables.LOG2_SCALE_MIN,
        "max_symbol": tables.MAX_SYMBOL,
        "max_escape": tables.MAX_ESCAPE,
        "walk_steps": trellis.STEPS,
        "fraction": exact.FRACTION,
        "weight_bits": exact.WEIGHT_BITS,
        "activation_clip": exact.CLIP,
        "patch": PATCH,
        "tile": tiles.TILE,
        "halo": tiles.HALO,
    }


def write_folder(
    out: Path, model_id: int, stored: StoredModel, graphs: dict[str, Graph], say: Callable[[str], None]
) -> None:
    """Writes the folder, the manifest last. say: called with a line for each file."""
    data, entries = pack_integers(stored.integers)
    form = trellis.TRELLISES[stored.trellis]
    files = {INTEGERS: data, **{graph.file: graph.data for graph in graphs.values()}}
    config = asdict(stored.config)
    shape = ("channels", "groups", "tokens", "token_channels", "anchors", "prior_width", "prior_blocks", "arithmetic")
    listed = {
        "format": "ldc-export",
        "version": VERSION,
        "file_version": container.VERSION,
        "model_id": model_id,
        "table_hash": stored.table_hash,
        "config": {name: config[name] for name in shape},
        "constants": constants(),
        "trellis": {"name": form.name, "next": form.next, "kind": form.kind},
        "arrays": {"file": INTEGERS, "entries": entries},
        "graphs": {
            name: {"file": graph.file, "inputs": graph.inputs, "outputs": graph.outputs}
            for name, graph in graphs.items()
        },
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
    }
    files[MANIFEST] = (json.dumps(listed, indent=1) + "\n").encode()
    write_files(out, files, say)


def write_files(out: Path, files: dict[str, bytes], say: Callable[[str], None]) -> None:
    """Writes files of a folder, each whole or not at all, in this order. say: called with a line for each."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            whole.replace(out / name, data)
            say(f"{out / name}: {len(data)} bytes")
    except OSError as error:
        raise CodecError(f"cannot write '{error.filename or out}': {error.strerror or error}") from error


def check_target(out: Path, force: bool) -> None:
    """Raises CodecError where something would be overwritten."""
    if out.exists() and not out.is_dir():
        raise CodecError(f"the output '{out}' is no folder")
    if not force and (out / MANIFEST).exists():
        raise CodecError(f"the folder '{out}' holds an export already (-f overwrites it)")
