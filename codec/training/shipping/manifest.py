"""The list of weights beside the files, as codec.manifest reads it. No torch here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from codec import whole
from codec.manifest import FIRST_FREE_ID, package_folder


def check_id(number: int, folder: Path) -> None:
    """Raises SystemExit for an id of the project's outside its own folder: two models of one id are a trap."""
    if 0 < number < FIRST_FREE_ID and folder.resolve() != package_folder().resolve():
        raise SystemExit(f"model ids below {FIRST_FREE_ID} are the project's: take {FIRST_FREE_ID} or more")


def write_manifest(weights: Path, section: str, key: str, values: dict) -> None:
    """Puts an entry with the file's name and hash into the section of manifest.json beside a weights file."""
    path = weights.parent / "manifest.json"
    manifest = json.loads(path.read_text()) if path.exists() else {}
    if not isinstance(manifest, dict) or not set(manifest) <= {"default", "models", "semantic", "refiners"}:
        raise SystemExit(f"{path} is not a list of weights: write the weights to another folder")
    if section == "models":
        manifest.setdefault("default", int(key))
    manifest.setdefault(section, {})[key] = {
        "file": weights.name,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        **values,
    }
    whole.replace(path, (json.dumps(manifest, indent=1) + "\n").encode())
