"""The perceptual stage in a given time, for a card that is lent for minutes: python -m codec.training.base --data DIR
--out DIR --minutes 11 --leave DIR [--begin FILE] [NAME=VALUE ...]

Times the variants of a step and takes the fastest, trains at a constant rate, keeps that state, anneals in a copy,
adapts the copy to the trellis, puts its prior into narrow arithmetic and validates. A loss that runs away goes back
to the last good state. --leave gets the weights of each part in half precision, logs and a report, in files of at
most 16 MiB: FROM of --begin is held.pt of one of these, to go on from before the anneal, or a weights file.
"""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from codec.coding.trellis import TRELLISES
from codec.models.vqvae import VQVAE
from codec.told import told
from codec.training.base.adapt import AdaptConfig, adapt
from codec.training.base.narrow import NarrowConfig, narrow
from codec.training.base.train import BaseStage, begin_with, load_begin, start_values
from codec.training.config import TrainConfig, configure
from codec.training.data.cache import check_ours, check_outside, data_options
from codec.training.data.packs import Mixture, Packs, fine_option, open_packs
from codec.training.fused import fuse
from codec.training.loop import Done, Every, Loop
from codec.training.processes import place
from codec.training.run import Run, described, leave

SHARES = {
    "hold": 0.70,
    "anneal": 0.13,
    "adapt": 0.08,
    "narrow": 0.04,
}  # of the time that is left after the start; the rest is for validations and files
LEAST = 0.2  # share of the time that training has, however long the start took
TIMED = 0.05  # share of the time for the choice of a variant


@dataclass(frozen=True)
class Variant:
    """A way to make the same step."""

    bf16: bool
    record: str
    fuse: bool

    def of(self, config: TrainConfig) -> TrainConfig:
        return dataclasses.replace(config, bf16=self.bf16, record=self.record, fuse=self.fuse)

    def __str__(self) -> str:
        recorded = "" if self.record == "nothing" else f", {self.record} recorded"
        return ("bf16" if self.bf16 else "float32") + recorded + (", fused" if self.fuse else "")


def variants(device: torch.device) -> list[Variant]:
    """What is tried, the safest last."""
    if device.type != "cuda":
        return [Variant(True, "nothing", False), Variant(False, "nothing", False)]
    return [
        Variant(True, "step", True),
        Variant(True, "step", False),
        Variant(True, "gradients", False),
        Variant(True, "nothing", False),
        Variant(False, "nothing", False),
    ]


def timed(loop: Loop, seconds: float) -> float:
    """Steps a second, of a few steps; the first ones, which record, compile and choose algorithms, do not count. 0
    where one fails or gives no finite loss."""
    try:
        count, losses, began = 0, [], None
        start = time.perf_counter()
        while began is None or time.perf_counter() - began < seconds:
            losses.append(loop.step(Done(count, 0.0))["loss"].clone())
            count += 1
            if count % 4 == 0 and not torch.isfinite(torch.stack(losses).mean()):
                return 0.0  # also waits for the device
            if began is None and (count >= 8 or time.perf_counter() - start > 4 * seconds):
                began, first = time.perf_counter(), count
        return (count - first) / (time.perf_counter() - began)
    except Exception as error:  # whatever a compiler or a driver may find: the other variants are there for it
        print(f"a variant of the step fails: {str(error).splitlines()[0]}", file=sys.stderr)
        return 0.0


def fastest(
    model: VQVAE, packs: Packs, config: TrainConfig, run: Run, seconds: float
) -> tuple[TrainConfig, dict[str, float]]:
    """Tries every variant -> the settings of the fastest, and steps a second of each. The weights stay as they are."""
    device, rates = model.sd.device, {}
    held = copy.deepcopy(model.state_dict())
    for variant in variants(device):
        settings = variant.of(config)
        loop = Loop(BaseStage(model, packs, settings, device, run), run, settings, device)
        rates[variant] = timed(loop, seconds / len(variants(device)))
        model.zero_grad(set_to_none=True)
        model.load_state_dict(held)
    best = max(rates, key=rates.__getitem__)
    if not rates[best]:
        raise SystemExit("no variant of the training step works here")
    return best.of(config), {str(variant): rate for variant, rate in rates.items()}


def train(
    config: TrainConfig,
    adapting: AdaptConfig,
    narrowing: NarrowConfig,
    packs: Packs,
    out: Path,
    left: Path,
    minutes: float,
    given: VQVAE | None,
    device: torch.device,
) -> dict[str, Any]:
    """given: the model to begin with -> report: steps and megapixels a second of each part, and the variants that were
    timed."""
    started = time.perf_counter()
    left.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    model = VQVAE(config.model).to(memory_format=torch.channels_last)
    (partial(begin_with, given) if given else start_values)(model, packs.photos, config)
    model.to(device)
    report: dict[str, Any] = {"minutes": minutes, "megapixels_a_second": {}, "stages": [], "validation": {}}
    runs = {name: out / name for name in SHARES}
    scratch = Run(out / "timing", config, True, device)
    config, report["steps_a_second"] = fastest(model, packs, config, scratch, TIMED * 60 * minutes)
    remaining = max(60 * minutes - (time.perf_counter() - started), LEAST * 60 * minutes)
    state: dict[str, Any] | None = None
    for name in ("hold", "anneal"):
        part = dataclasses.replace(
            config, steps=0, seconds=SHARES[name] * remaining, hold=1.0 if name == "hold" else 0.0
        )
        part = dataclasses.replace(
            part, late=2.0 if name == "hold" else 0.5, warmup=config.warmup if name == "hold" else 1
        )
        stage = BaseStage(model, packs, part, device, Run(runs[name], part, True, device))
        if state is not None:  # the anneal goes on from the live weights
            model.load_state_dict(state["model"])
        loop = Loop(stage, stage.run, part, device)
        if state is not None:
            loop.mover.load(state["optimisers"])
        every = Every(seconds=part.seconds / 3)
        loop.run(every, every)
        state = stage.run.load()
        seen = loop.steps * part.batch * part.crop**2 / 1e6
        report["megapixels_a_second"][name] = round(seen / loop.spent, 2)
        leave(left, {"hold": "held", "anneal": "annealed"}[name], model, {"step": loop.steps, "seconds": loop.spent})
    fuse(model, False)  # the adaptation has crops of another size
    adapting = dataclasses.replace(adapting, steps=0, seconds=SHARES["adapt"] * remaining, validate=0, save=0)
    sender = adapt(adapting, model, packs, runs["adapt"])
    leave(left, "adapted", model, {"quantizer": adapting.quantizer, "sender": sender.state()})
    narrowing = dataclasses.replace(narrowing, steps=0, seconds=SHARES["narrow"] * remaining, validate=0, save=0)
    narrow(narrowing, model, sender, packs, runs["narrow"])
    leave(left, "narrow", model, {"quantizer": adapting.quantizer, "sender": sender.state()})
    for name, folder in runs.items():
        report["stages"].append(described(folder))
        with open(folder / "validation.csv", newline="") as f:
            report["validation"][name] = list(csv.DictReader(f))
    report["took"] = round(time.perf_counter() - started, 1)
    (left / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="codec.training.base", description=__doc__.split("\n\n")[0])
    data_options(ap)
    fine_option(ap)
    ap.add_argument("--out", type=Path, required=True, help="new folder for the runs")
    ap.add_argument("--minutes", type=float, required=True, help="for all of it, the reading of photographs apart")
    ap.add_argument("--leave", type=Path, required=True, help="folder for weights and report")
    ap.add_argument("--begin", type=Path, help="weights file, or held.pt of a run before, to start from")
    ap.add_argument("--config", type=Path, help="TOML file with settings of the training")
    ap.add_argument("--adapt", type=Path, help="TOML file with settings of the adaptation")
    ap.add_argument("--narrow", type=Path, help="TOML file with settings of the prior's narrow arithmetic")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="of the training")
    args = ap.parse_intermixed_args()
    for folder in filter(None, (args.out, args.leave, args.cache)):
        check_outside(folder, args.data, args.fine)
    for folder, names in ((args.out, ("cache", "cache-fine")), (args.leave, ())):
        check_ours(folder, names, "a cache of photographs")
    given = load_begin(args.begin) if args.begin else None
    config = configure(TrainConfig(model=given.config) if given else TrainConfig(), args.config, args.settings)
    mixed = {f.name: getattr(config, f.name) for f in dataclasses.fields(Mixture)}
    adapting = configure(AdaptConfig(**mixed, exponent=config.exponent), args.adapt, [])
    narrowing = configure(NarrowConfig(**mixed), args.narrow, [])
    if adapting.quantizer not in TRELLISES:
        raise SystemExit(f"no file holds latents of the quantiser {adapting.quantizer}")
    with place(args.threads, alone="codec.training.base") as device:
        packs = open_packs(args.data, args.fine, args.cache or args.out / "cache", config)
        report = train(config, adapting, narrowing, packs, args.out, args.leave, args.minutes, given, device)
    print(json.dumps({k: report[k] for k in ("steps_a_second", "megapixels_a_second", "took")}))


if __name__ == "__main__":
    main()
