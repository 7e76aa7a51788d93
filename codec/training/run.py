"""The folder of one training run, and what it notes there."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch

from codec import whole
from codec.training.data.cache import RUN_FILES, check_ours
from codec.training.processes import hardware
from codec.training.saved import read_state
from codec.whole import PARTS, written

TABLES = ("log", "validation")
LARGEST = 16 << 20  # bytes of a file that is left
FREE = {"steps", "seconds", "validate", "save", "every", "keep"}  # settings that may differ when a run goes on


class Run:
    """Folder of one run: last.pt (all state), log.csv, validation.csv, config.json, hardware.json, TensorBoard events.

    ``config`` is a dataclass; ``main``: whether this process writes.
    """

    def __init__(self, folder: Path, config: Any, main: bool, device: torch.device | str = "cpu") -> None:
        self.folder, self.main, self.board = folder, main, None
        if main:
            check_ours(folder, RUN_FILES, "those of a training run")
            folder.mkdir(parents=True, exist_ok=True)
            given, held = json.loads(json.dumps(dataclasses.asdict(config))), folder / "config.json"
            for part in folder.glob(PARTS):  # of a run that was killed
                part.unlink()
            if (folder / "last.pt").exists() and held.exists():
                self._check_same(_read(held), given)
            whole.replace(held, json.dumps(given, indent=1).encode())
            self._note(hardware(device))
            with contextlib.suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter

                self.board = SummaryWriter(str(folder))

    def _check_same(self, begun: dict[str, Any], given: dict[str, Any]) -> None:
        """Raises SystemExit where a run would go on with other settings."""
        for name in sorted(set(begun) & set(given) - FREE):
            if begun[name] != given[name]:
                same = f"{name} = {begun[name]}, not {given[name]}"
                what = f"other settings of {name}" if isinstance(given[name], dict) else same
                raise SystemExit(
                    f"the run in {self.folder} was begun with {what}; give the same, or name another folder with --out"
                )

    def _note(self, machine: dict[str, object]) -> None:
        """Adds a machine to those that the run has been on."""
        path = self.folder / "hardware.json"
        seen = _read(path) if path.exists() else []
        if machine not in seen:
            whole.replace(path, (json.dumps([*seen, machine], indent=1) + "\n").encode())

    def save(self, state: dict) -> None:
        if self.main:
            _save(state, self.folder / "last.pt")

    def keep(self, model: torch.nn.Module, step: int, seconds: float) -> None:
        """Weights of a moment, in half precision, for ``base.train.load_kept``."""
        weights = {
            name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()
        }
        state = {"config": dataclasses.asdict(model.config), "step": step, "seconds": seconds, "model": weights}
        _save(state, self.folder / f"step-{step:06d}.pt")

    def load(self) -> dict | None:
        """The state to go on from, if there is one; the tables then have no rows of later steps. Raises SystemExit for
        one that is damaged."""
        path = self.folder / "last.pt"
        state = read_state(path, {"model", "step"}) if path.exists() else None
        if self.main:
            for name in TABLES:
                _cut(self.folder / f"{name}.csv", state["step"] if state else 0)
        return state

    def row(self, name: str, step: int, values: dict[str, float]) -> None:
        if not self.main:
            return
        path = self.folder / f"{name}.csv"
        new = not path.exists()
        with open(path, "a", newline="") as f:
            out = csv.writer(f)
            if new:
                out.writerow(["step", *values])
            out.writerow([step, *(f"{v:.6g}" for v in values.values())])
        if self.board:
            for key, value in values.items():
                self.board.add_scalar(f"{name}/{key}", value, step)


def leave(folder: Path, name: str, model: torch.nn.Module, facts: dict[str, Any]) -> None:
    """A model's weights in half precision, but for vectors: one file, of at most LARGEST bytes, for ``load_kept``."""
    weights = {
        k: v.detach().cpu().half() if v.is_floating_point() and v.ndim > 1 else v.detach().cpu()
        for k, v in model.state_dict().items()
    }
    path = folder / f"{name}.pt"
    _save({"config": dataclasses.asdict(model.config), **facts, "model": weights}, path)
    if path.stat().st_size > LARGEST:
        print(f"{path} has {path.stat().st_size >> 20} MiB", file=sys.stderr)


def _save(state: dict[str, Any], path: Path) -> None:
    with written(path) as part:
        torch.save(state, part)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise SystemExit(f"{path} is damaged; remove it to go on without it") from None


def _cut(table: Path, step: int) -> None:
    """Leaves the whole rows of a table up to a step: a run that was killed logged more than it kept."""
    if not table.exists():
        return
    with open(table, newline="") as f:
        rows = list(csv.reader(f))
    kept = [row for row in rows[1:] if len(row) == len(rows[0]) and int(row[0]) <= step]
    if len(kept) < len(rows) - 1:
        with written(table) as part, open(part, "w", newline="") as f:
            csv.writer(f).writerows([rows[0], *kept])


def described(folder: Path) -> dict:
    """What the manifest says of one run: command, settings, and steps, seconds and loss curve up to its checkpoint (a
    run that was killed logged more than it kept)."""
    state = torch.load(folder / "last.pt", weights_only=True, map_location="cpu")
    kinds = {
        "quantizer": "base.adapt",
        "narrow": "base.narrow",
        "filter": "base.train_filter",
        "refiner": "base.train_refiner",
        "tokens": "base.train_tokens",
    }  # by what only such a run's checkpoint has
    command = next((name for key, name in kinds.items() if key in state), "base.train")
    with open(folder / "log.csv", newline="") as f:
        rows = [row for row in csv.DictReader(f) if int(row["step"]) <= state["step"]]
    curve = rows[:: max(1, len(rows) // 40)]
    if curve and curve[-1] is not rows[-1]:
        curve.append(rows[-1])
    return {
        "command": f"python -m codec.training.{command}",
        "config": json.loads((folder / "config.json").read_text()),
        "steps": state["step"],
        "seconds": round(float(state["seconds"]), 1),
        "hardware": json.loads(machines.read_text()) if (machines := folder / "hardware.json").exists() else [],
        "loss_curve": [[int(r["step"]), float(r["loss"])] for r in curve],
    }
