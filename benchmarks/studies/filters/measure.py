"""Networks behind g_s, trained alike behind a base model that stays as it is: what an operation buys.

    python -m benchmarks.studies.filters.measure --decoded DIR --runs DIR [--steps 2500] [--out results]

--decoded: made by python -m codec.training.base.decoded. Each network starts anew and sees the same crops in the same
order. Writes OUT/filters.csv: a row for each network and validation. A run in RUNS that has come to its end is not
made again. Such minutes of training say what is learned first, not what is best in the end; the last row is that of
the filter that is shipped, which was trained with its base from the start.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness.told import count, told
from benchmarks.studies.filters.renderer import Renderer
from codec import zoo
from codec.models.filter import Filter
from codec.training.base.train_filter import FilterConfig, Store, train, validate
from codec.training.data.shards import networks
from codec.training.processes import place

SIDE = 256  # pixels a side of the picture whose operations are counted


@dataclass(frozen=True)
class Variant:
    """inner, layers: of a Renderer; 0: a Filter."""

    width: int
    blocks: int
    inner: int = 0
    layers: int = 0

    @property
    def name(self) -> str:
        shape = f"{self.width}x{self.blocks}"
        return f"renderer {shape}, {self.inner}x{self.layers}" if self.inner else f"filter {shape}"

    def make(self, config: FilterConfig, features: int) -> nn.Module:
        if self.inner:
            return Renderer(self.width, self.blocks, self.inner, self.layers, features)
        return Filter(self.width, self.blocks, features)


VARIANTS = (
    Variant(96, 6),
    Variant(64, 4),
    Variant(64, 3),
    Variant(48, 4),
    Variant(128, 4, 64, 2),
    Variant(96, 4, 48, 2),
)


def operations(net: nn.Module, features: int) -> float:
    """Thousands of multiplications and additions for each pixel."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, features, SIDE // 8, SIDE // 8), torch.zeros(1, 3, 1, 1))
    return counter.get_total_flops() / 2e3 / SIDE**2


def validations(run: Path) -> list[dict[str, str]]:
    path = run / "validation.csv"
    if not path.exists():
        return []
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.filters.measure", description=__doc__.split("\n\n")[0])
    ap.add_argument("--decoded", type=Path, required=True, help="folder made by codec.training.base.decoded")
    ap.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    ap.add_argument("--steps", type=count, default=2500)
    ap.add_argument("--out", type=Path, default=Path("results"))
    ap.add_argument("--only", help="names of networks, with a semicolon between them")
    args = ap.parse_args()
    model, rows = zoo.load("default"), []
    store = Store(args.decoded, networks(model.vqvae))
    args.out.mkdir(parents=True, exist_ok=True)
    every, anchors = max(1, args.steps // 5), model.config.anchors
    wanted = [v for v in VARIANTS if not args.only or v.name in args.only.split(";")]
    with place(1, alone="benchmarks.studies.filters.measure") as device:
        for v in wanted:
            config = FilterConfig(args.steps, warmup=100, width=v.width, blocks=v.blocks, validate=every, save=every)
            run = args.runs / v.name.replace(" ", "-").replace(",", "")
            if not any(int(row["step"]) == args.steps for row in validations(run)):
                train(config, store, anchors, run, device=device, make=v.make)
            kmac = operations(v.make(config, store.features), store.features)
            rows += [made(v.name, kmac, row) for row in validations(run) if int(row["step"]) <= args.steps]
        shipped = model.vqvae.g_s.filter
        rows.append(made("shipped", operations(shipped, store.features), validate(shipped, store, anchors)))
    with open(args.out / "filters.csv", "w", newline="") as f:
        table = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def made(name: str, kmac: float, row: dict) -> dict[str, str]:
    """A row of the table: changes of the squared error in percent, over all crops and by level."""
    change = {k: f"{float(v):.2f}" for k, v in row.items() if k == "all" or k.startswith("level_")}
    return {"network": name, "kmac_per_pixel": f"{kmac:.2f}", "step": row.get("step", ""), **change}


if __name__ == "__main__":
    main()
