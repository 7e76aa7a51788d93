"""What the narrow arithmetic of the prior costs in rate, and what it saves in time:

python -m benchmarks.studies.narrow_prior --data DIR --cache DIR --run DIR [--model ID] [--results results]

--run: of codec.training.base.narrow, begun with the model. Held-out crops are encoded with the exact prior of the
model (wide), with narrow networks that only come nearest to its own (converted), and with those of the run (trained);
all with the model's tables. RESULTS/narrow_prior.csv has, for low, middle and high levels and for all, bits/dim of the
latents and RMSE, what they are more than those of the model, in percent, the BD-rate of the mean curves, training
steps and minutes; RESULTS/narrow_prior_speed.csv the time of the networks against that of the wide ones, measured in
turns.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.analysis.bdrate import Curve, bd_rate
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import write_frame
from benchmarks.harness.told import count, told
from codec import zoo
from codec.bitstream.container import MAX_LEVEL
from codec.coding.latents import LatentCoder
from codec.coding.model import Base
from codec.models import integer_export
from codec.models.config import VQVAEConfig
from codec.models.exact import Arithmetic, NumPy
from codec.models.exact_torch import Torch
from codec.models.integer_prior import IntegerPrior
from codec.models.prior import Prior
from codec.training.base.narrow import Codes, Known, narrowed
from codec.training.base.train import load_kept
from codec.training.data.cache import data_options
from codec.training.data.photos import Photos, to_tensor
from codec.training.data.shards import networks

ARITHMETICS: dict[str, Arithmetic] = {"numpy": NumPy(), "torch": Torch()}
POSITIONS = np.arange(8.0)  # of the levels among the anchors
REGIONS = {"low": (0.0, 2.0), "middle": (2.0, 5.0), "high": (5.0, 7.0), "all": (0.0, 7.0)}
SIDE = 256


@dataclass(frozen=True)
class Compared:
    """A prior of the model's, in integers; steps and minutes of its training as a narrow one."""

    config: VQVAEConfig
    arrays: dict[str, np.ndarray]
    steps: int = 0
    minutes: float = 0.0

    def run(self, arithmetic: Arithmetic) -> IntegerPrior:
        return IntegerPrior(self.config, self.arrays, arithmetic)


def compared(base: Base, run: Path) -> dict[str, Compared]:
    """The model's own prior, converted, and as a run left it."""
    net, (kept, _) = base.vqvae, load_kept(run / "narrow.pt")
    with open(run / "log.csv", newline="") as f:
        logged = list(csv.DictReader(f))
    if not logged:
        raise BenchmarkError(f"the run in {run} has logged no step")

    def integers(prior: Prior) -> dict[str, np.ndarray]:
        return integer_export.export(prior, net.tokens, net.sd, net.log2_gain)

    converted = narrowed(net.prior, Known(net, Codes.load(run / "codes-train.safetensors", networks(net))))
    trained = int(logged[-1]["step"]), float(logged[-1]["seconds"]) / 60
    return {
        "wide": Compared(base.config, integers(net.prior)),
        "converted": Compared(converted.config, integers(converted)),
        "trained": Compared(kept.config, integers(kept.prior), *trained),
    }


def measure(base: Base, priors: dict[str, Compared], crops: np.ndarray) -> pd.DataFrame:
    """Crops (N, S, S, 3) uint8 -> bits/dim and RMSE of every prior, crop and level."""
    old, rows = base.coder, []
    coders = {
        name: LatentCoder(p.config, old.trellis, p.arrays | old.tokens.flat(), old.latent, Torch())
        for name, p in priors.items()
    }
    for number, crop in enumerate(tqdm(crops, disable=None)):
        for position in POSITIONS:
            level = round(position * MAX_LEVEL / 7)
            asked = base.to_steps(to_tensor(crop[None]), level)
            for name, coder in coders.items():
                sent = coder.measure(asked.v[0].numpy(), asked.tokens[0].numpy(), level, asked.weight)
                error = base.decoded(sent.v_hat, level).astype(float) - crop
                rows.append((name, number, position, sent.bits / crop.size, np.sqrt(np.mean(error**2))))
    return pd.DataFrame(rows, columns=["prior", "crop", "position", "bits_per_dim", "rmse"])


def summary(found: pd.DataFrame, priors: dict[str, Compared]) -> pd.DataFrame:
    """-> a row for each region and prior."""
    measured, rows = ["bits_per_dim", "rmse"], []
    mean = found.groupby(["prior", "position"], sort=False)[measured].mean().reset_index()
    for region, (low, high) in REGIONS.items():
        parts = {name: mean[(mean.prior == name) & mean.position.between(low, high)] for name in priors}
        first = parts["wide"]
        for name, own in parts.items():
            more = {f"{k}_percent": 100 * (own[k].to_numpy() / first[k].to_numpy() - 1).mean() for k in measured}
            curves = [Curve(p.bits_per_dim.to_numpy(), p.rmse.to_numpy()) for p in (first, own)]
            row = {"region": region, "prior": name, **own[measured].mean().to_dict(), **more}
            trained = {"steps": priors[name].steps, "minutes": priors[name].minutes}
            rows.append({**row, "bd_rate_percent": bd_rate(*curves), **trained})
    return pd.DataFrame(rows)


def speed(priors: dict[str, Compared], rounds: int) -> pd.DataFrame:
    """Time of all networks on 36 x 52 positions as a share of that of the wide ones in NumPy: least of ``rounds``, in
    turns."""
    names = ("wide", "trained")
    cases = {(n, library): priors[n].run(use) for library, use in ARITHMETICS.items() for n in names}
    rng, least = np.random.default_rng(0), {}
    for _ in range(rounds):
        for (name, library), prior in cases.items():
            for number, net in enumerate(prior.nets):
                inputs = priors[name].arrays[f"nets.{number}.stem.weight"].shape[1]
                x = rng.integers(-1000, 1001, (36, 52, inputs)).astype(prior.profile.dtype)
                began = time.perf_counter()
                net(x)
                seconds = time.perf_counter() - began
                least[name, library, number] = min(least.get((name, library, number), np.inf), seconds)
    totals = {case: sum(least[(*case, k)] for k in range(len(prior.nets))) for case, prior in cases.items()}
    rows = [
        (*case, prior.profile.dtype.__name__, totals[case] / totals[names[0], case[1]]) for case, prior in cases.items()
    ]
    return pd.DataFrame(rows, columns=["prior", "library", "numbers", "time_of_wide"])


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.narrow_prior", description=__doc__.split("\n\n")[0])
    data_options(ap, None)
    ap.add_argument("--run", type=Path, required=True, help="folder of a run of codec.training.base.narrow")
    ap.add_argument("--model", default="default", help="the model that the run was begun with")
    ap.add_argument("--crops", type=count, default=8, help="held-out photographs")
    ap.add_argument("--rounds", type=count, default=15, help="of the measurement of time")
    ap.add_argument("--results", type=Path, default=Path("results"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    base = zoo.load(args.model)
    priors = compared(base, args.run)
    crops = Photos(args.data, args.cache).validation_crops(args.crops, SIDE)
    table = summary(measure(base, priors, crops), priors)
    times = speed(priors, args.rounds)
    args.results.mkdir(parents=True, exist_ok=True)
    for name, rows in (("narrow_prior", table), ("narrow_prior_speed", times)):
        write_frame(rows, args.results / f"{name}.csv", float_format="%.4g")
        print(rows.to_string(index=False))


if __name__ == "__main__":
    main()
