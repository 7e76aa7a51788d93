"""Configuration of a training run: a dataclass, read from TOML, every field settable on the command line; and the
options that all trainings have."""

import argparse
import tomllib
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from codec.models.config import Group, VQVAEConfig
from codec.training.data.packs import Mixture


@dataclass(frozen=True)
class TrainConfig(Mixture):
    """One run of the perceptual stage.

    steps: optimiser steps at most (0: the time alone decides); seconds: of training (0: the steps alone decide);
    batch: crops per step over all processes; crop: their side in pixels, 0 < crop_late: side in the last part of the
    run, which starts at ``late`` (share of the run); lr: of Adam; lr_muon: of Muon for the 1x1 convolutions between
    hidden layers of g_a and g_s (0: Adam for them too); lr_linear: factor for lapped filters and KLT; lr_gain: factor
    for step sizes; warmup: steps; hold: share of the run after which the rates fall to 0; ema: decay; clip: gradient
    norm; bf16: autocast of the networks; record: what of a step is recorded once and replayed, on one card: "step",
    "gradients" or "nothing"; fuse: chains of pointwise operations are compiled into one, anew for each size of crops;
    exponent: of lambda, in what the loss is divided by; start_crops: crops that the start values are computed from;
    validate, save: steps between; keep: steps between weights that are kept for a curve (a multiple of validate; 0:
    none).
    """

    steps: int = 30000
    seconds: float = 0.0
    batch: int = 8
    crop: int = 128
    crop_late: int = 256
    late: float = 0.85
    lr: float = 2e-3
    lr_muon: float = 0.0
    lr_linear: float = 0.01
    lr_gain: float = 0.2
    warmup: int = 300
    hold: float = 0.4
    ema: float = 0.999
    clip: float = 1.0
    bf16: bool = True
    record: str = "step"
    fuse: bool = False
    exponent: float = 0.5
    seed: int = 0
    start_crops: int = 1500
    validate: int = 1000
    save: int = 500
    keep: int = 0
    model: VQVAEConfig = field(default_factory=VQVAEConfig)


def configure(config: Any, path: Path | None, overrides: list[str]) -> Any:
    """Dataclass of settings -> the same with those of a TOML file, then NAME=VALUE overrides; a table, as [model],
    sets fields of the dataclass of its name (groups are [start, stop, passes]). An unknown name raises SystemExit
    with the names that exist."""
    given: dict[str, Any] = _settings(path) if path else {}
    if wrong := [s for s in overrides if "=" not in s]:
        raise SystemExit(f"{wrong[0]!r} is not NAME=VALUE")
    given |= {k: _value(v) for k, v in (s.split("=", 1) for s in overrides)}
    for name, value in given.items():
        inner = getattr(config, name, None)
        if is_dataclass(inner) and isinstance(value, dict):
            _known(set(value), inner)
            if "groups" in value:
                value["groups"] = tuple(Group(*g) for g in value["groups"])
            given[name] = replace(inner, **{k: _like(k, getattr(inner, k), v) for k, v in value.items()})
    _known({k for k, v in given.items() if not is_dataclass(v)}, config)
    given = {k: _like(k, getattr(config, k), v) for k, v in given.items()}
    return replace(config, **given)


def _settings(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SystemExit(f"{path} is not a TOML file of settings: {error.args[0]}") from None


def _known(names: set[str], config: Any) -> None:
    """Raises SystemExit for a name that is no setting."""
    known = {f.name for f in fields(config) if not is_dataclass(getattr(config, f.name))}
    if wrong := names - known:
        raise SystemExit(f"unknown setting {sorted(wrong)[0]!r}; there are: {', '.join(sorted(known))}")


def _like(name: str, held: Any, value: Any) -> Any:
    """The value as the type of the one it replaces; .5 and 1 are numbers for a field with a point. Raises SystemExit
    for one that is not of it."""
    if isinstance(held, float) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    elif type(value) is type(held):
        return value
    raise SystemExit(f"{name}: {value!r} is not a value like {held!r}")


def _value(text: str) -> Any:
    """As in TOML, but a word needs no quotes."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def options(command: str, description: str) -> argparse.ArgumentParser:
    """Parser with what all trainings have."""
    ap = argparse.ArgumentParser(prog=f"codec.training.{command}", description=description.split("\n\n")[0])
    ap.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints and logs; a run found there is resumed"
    )
    ap.add_argument("--config", type=Path, help="TOML file with settings")
    ap.add_argument("--stop-at", type=int, help="stop after this step (the schedule stays that of the whole run)")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    return ap
