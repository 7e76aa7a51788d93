"""Which weights there are: base models with their decoders, labels and refiners, as manifest.json in each folder says.

The package has one folder. LDC_WEIGHTS and --weights add others, so that a model trained elsewhere is used without a
change of code. This module only reads the lists: it needs neither torch nor the weights themselves.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from importlib import resources
from operator import index
from pathlib import Path

from codec.errors import CodecError, UnknownModelError

VARIABLE = "LDC_WEIGHTS"  # folders to add, joined as those in PATH
FIRST_FREE_ID = 1000  # ids below are the project's own
NAME = "manifest.json"


@dataclass(frozen=True)
class Weights:
    """What the manifests of some folders list."""

    default: int  # the model that encodes when none is named
    models: dict[int, Path] = field(default_factory=dict)  # id -> file of the base model
    decoders: dict[int, dict[str, Path]] = field(default_factory=dict)  # id -> name -> file, without vq
    labels: dict[int, Path] = field(default_factory=dict)  # id -> file of class labels
    refiners: dict[int, Path] = field(default_factory=dict)  # id -> file of what lets its encoder look again

    def decoders_of(self, model: int) -> tuple[str, ...]:
        """Names of the decoders of a model."""
        return ("vq", *self.decoders.get(model, {}))

    def decoder_names(self) -> tuple[str, ...]:
        """Names of the decoders that any model has."""
        return ("vq", *dict.fromkeys(name for own in self.decoders.values() for name in own))

    def number_of(self, model: str | int) -> int:
        """ "default" or an id -> id. Raises UnknownModelError for one that is not there."""
        try:
            number = self.default if model == "default" else int(model) if isinstance(model, str) else index(model)
        except (TypeError, ValueError):
            number = -1
        if number not in self.models:
            there = ", ".join(map(str, sorted(self.models)))
            raise UnknownModelError(
                f"model {model!s:.100} is not known here (there is: {there}; --weights adds a folder)"
            )
        return number


def package_folder() -> Path:
    """The folder of the weights that come with the package."""
    return Path(str(resources.files("codec") / "weights"))


def folders(extra: str | os.PathLike[str] | None = None) -> list[Path]:
    """The package's folder, those of LDC_WEIGHTS, and ``extra``."""
    if not isinstance(extra, (str, os.PathLike, type(None))):
        raise CodecError(f"weights is the path of a folder, not {type(extra).__name__}")
    named = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    return [package_folder(), *map(Path, named), *([] if extra is None else [Path(extra)])]


def read(extra: str | os.PathLike[str] | None = None) -> Weights:
    """What there is in ``folders(extra)``. A later folder may set another default.

    Raises CodecError for a folder without a sound manifest, and where two folders give one id to different models.
    """
    default = 0
    models: dict[int, Path] = {}
    hashes: dict[int, str] = {}
    decoders: dict[int, dict[str, Path]] = {}
    labels: dict[int, Path] = {}
    refiners: dict[int, Path] = {}
    for folder in folders(extra):
        found = _read(folder)
        try:
            default = int(found.get("default", default))
            for key, entry in found.get("models", {}).items():
                number = int(key)
                if hashes.setdefault(number, entry["sha256"]) != entry["sha256"]:
                    raise CodecError(f"model {number} of {folder} is not the one of {models[number].parent}")
                models[number] = _file(folder, entry)
            for entry in found.get("semantic", {}).values():
                if "labels_of" in entry:
                    labels[entry["model"]] = _file(folder, entry)
                else:
                    decoders.setdefault(entry["model"], {})[entry["decoder"]] = _file(folder, entry)
            for entry in found.get("refiners", {}).values():
                refiners[entry["model"]] = _file(folder, entry)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CodecError(f"{folder / NAME} is not a list of weights ({error!r})") from error
    return Weights(default, models, decoders, labels, refiners)


def _read(folder: Path) -> dict:
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CodecError(f"{folder} is not a folder of weights: {NAME} cannot be read ({reason})") from error
    if not isinstance(found, dict):
        raise CodecError(f"{folder / NAME} is not a list of weights")
    return found


def _file(folder: Path, entry: dict) -> Path:
    if Path(entry["file"]).name != entry["file"]:
        raise ValueError(f"file {entry['file']!r} is not in its folder")
    return folder / str(entry["file"])
