"""A later stage of a model, for the record in manifest.json."""

from __future__ import annotations

import json
from pathlib import Path

from codec.training.run import described
from codec.training.shipping.manifest import write_manifest


def check_listed(model_id: int, folder: Path) -> dict:
    """What manifest.json in a folder of weights says of a model. Raises SystemExit where it lists none of this id,
    whose stages a record could follow."""
    path = folder / "manifest.json"
    listed = json.loads(path.read_text())["models"] if path.exists() else {}
    if str(model_id) not in listed:
        raise SystemExit(f"{path} lists no model {model_id}, whose stages the record would follow")
    return listed[str(model_id)]


def record_stage(weights: Path, model_id: int, folder: Path) -> None:
    """Notes in manifest.json that a model has the filter or token network of a run: its hash, and the run as the last
    stage."""
    entry, found = check_listed(model_id, weights.parent), described(folder)
    entry["stages"] = [s for s in entry["stages"] if s["command"] != found["command"]] + [found]
    write_manifest(weights, "models", str(model_id), {k: v for k, v in entry.items() if k not in ("file", "sha256")})
