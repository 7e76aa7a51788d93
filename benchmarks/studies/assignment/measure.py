"""Other weights in the decisions of effort 1, on held-out photographs: python -m
benchmarks.studies.assignment.measure --data DIR --cache DIR --points FILE [--count N] [--out results]

Crops of 256x256 from the middles of every second held-out photograph are encoded with each of CASES at each of LEVELS.
FILE keeps ideal bits, with those of the tokens and a header, and RMSE of each; run again, it measures what is missing.
OUT/assignment.csv has, for low, middle, high and all levels, the BD-rate by RMSE of every case against the weights of
the codec, with 95 % bootstrap intervals over crops. The last rows are a scale offset for each picture: the code length
that is saved when the scales of each group may be moved by what suits the picture, sent in OFFSET_BITS a group.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.analysis.bdrate import Curve, bd_rate, bootstrap
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.told import count, told
from codec import manifest, zoo
from codec.bitstream.tables import KINDS, LOG2_SCALE_MIN, PER_OCTAVE, SCALES, LatentTables
from codec.coding.latents import LatentCoder, SentPass
from codec.coding.model import Base, Steps, position_of
from codec.coding.stored import read_stored
from codec.models.exact_torch import Torch
from codec.training.data.cache import check_outside, data_options
from codec.training.data.photos import Photos, to_tensor

LEVELS = (640, 1600, 2560, 3520, 4480, 5440, 6400)
REGIONS = {"low": (0, 2560), "middle": (2560, 4480), "high": (4480, 6400), "all": (0, 6400)}
SIZE, LARGE, HEADER = 256, 448, 176  # pixels a side, those of the crops for offsets, bits
OFFSETS, OFFSET_BITS = range(-6, 7), 3  # of scales, in table steps; bits that say which, a group
UNIFORM = "uniform"
#: level -> what the error of each group of channels is worth more than for all alike. "groups": the best on training
#: crops, each group moved alone. "curvature": what benchmarks/studies/assignment/curvature.py measures.
BY_GROUP: dict[str, dict[int, tuple[float, ...]]] = {
    "groups": {
        0: (1, 1, 1, 1),
        1280: (0.9, 1.2, 1.3, 1.3),
        2880: (1.1, 1.15, 1.5, 1.5),
        4480: (1, 1.05, 1.2, 1.33),
        5888: (1.2, 1.1, 1.1, 1.26),
    },
    "curvature": {
        800: (0.715, 0.9, 1, 1),
        1600: (0.83, 1.16, 1.5, 2),
        2880: (0.866, 1.16, 1.54, 2.11),
        4480: (0.876, 1.07, 1.28, 1.69),
        5888: (0.918, 1.065, 1.219, 1.558),
    },
}
#: of the weight of bits, at every anchor: log2 at sigma = 1/2 step, and what an octave of sigma (up to 4 steps) adds;
#: the best on training crops
BY_SCALE = ((0, 0, 0, -0.26, -0.26, -0.26, -0.26, -0.26), (0.05, 0.05, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2))
CASES = (UNIFORM, "scales", *BY_GROUP)


@dataclass(frozen=True)
class Weighted(LatentTables):
    """Tables whose bits weigh more or less in decisions, by scale: weights (SCALES,)."""

    weights: np.ndarray

    def bits(self) -> np.ndarray:
        return super().bits() * np.repeat(self.weights, KINDS)[:, None]


def by_scale(position: float) -> np.ndarray:
    """position: among the anchors -> (SCALES,) float32."""
    offset, slope = (np.interp(position, np.arange(len(row)), row) for row in BY_SCALE)
    octaves = np.minimum(LOG2_SCALE_MIN + np.arange(SCALES) / PER_OCTAVE, 2.0) + 1
    return np.exp2(offset + slope * octaves).astype(np.float32)


def by_group(base: Base, case: str, level: int) -> np.ndarray:
    """-> (C,) float32."""
    table = BY_GROUP[case]
    columns = zip(*table.values(), strict=True)
    factors = [np.interp(level, list(table), column) for column in columns]
    channels = [g.stop - g.start for g in base.config.groups]
    return np.repeat(factors, channels).astype(np.float32)


class Encoder:
    """Decisions as in each of CASES; code lengths are always the true ones."""

    def __init__(self, base: Base, model: Path) -> None:
        self.base = base
        old, integers = base.coder, read_stored(model).integers

        def coder(level: int) -> LatentCoder:
            tables = Weighted(
                old.latent.frequencies, old.latent.offsets, by_scale(float(position_of(base.vqvae, level)))
            )
            return LatentCoder(base.config, old.trellis, integers, tables, Torch())

        self.scales = {level: coder(level) for level in LEVELS}

    def send(self, asked: Steps, level: int, case: str) -> tuple[list[SentPass], np.ndarray]:
        """As ``LatentCoder.quantise``."""
        coder = self.scales[level] if case == "scales" else self.base.coder
        weight = asked.weight * by_group(self.base, case, level) if case in BY_GROUP else asked.weight
        return coder.quantise(asked.v[0].numpy(), asked.tokens[0].numpy(), level, weight)

    def point(self, crop: np.ndarray, level: int, case: str) -> tuple[float, float]:
        """(S, S, 3) uint8 -> bits, RMSE of the 8-bit pixels."""
        asked = self.base.to_steps(to_tensor(crop[None]), level)
        sent, v_hat = self.send(asked, level, case)
        bits = self.base.coder.bits(sent) + self.base.coder.tokens.encode(asked.tokens[0].numpy())[1] + HEADER
        error = self.base.decoded(v_hat, level).astype(np.float32) - crop
        return bits, float(np.sqrt(np.square(error).mean()))


def measure(find: Callable[[int, int, str], tuple[float, float]], crops: int, path: Path) -> pd.DataFrame:
    """find(crop, level, case) -> bits, RMSE; path: CSV file of what is known, and grows -> its rows."""
    columns = ["case", "crop", "level", "bits", "rmse"]
    if not path.is_file():
        path.write_text(",".join(columns) + "\n")
    known = {(r.case, r.crop, r.level) for r in read_frame(path).itertuples()}
    keys = [(case, crop, level) for crop in range(crops) for level in LEVELS for case in CASES]
    with open(path, "a", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        for case, crop, level in tqdm([key for key in keys if key not in known], disable=None):
            bits, error = find(crop, level, case)
            writer.writerow((case, crop, level, f"{bits:.3f}", f"{error:.5f}"))
            f.flush()
    found = read_frame(path)
    return found[found.crop < crops]


def table(points: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Rows of ``measure`` -> region, case, crops, percent, low, high."""
    for region, (low, high) in REGIONS.items():
        part = points[points.level.between(low, high)]
        if part.empty:
            continue
        curves = {
            key: Curve(rows.bits.to_numpy(float), rows.rmse.to_numpy(float))
            for key, rows in part.groupby(["case", "crop"])
        }
        crops = sorted(part.crop.unique())
        for case in CASES:
            gaps = [bd_rate(curves[UNIFORM, crop], curves[case, crop]) for crop in crops]
            yield _row(region, case, gaps)


def _row(region: str, case: str, values: list[float]) -> dict[str, object]:
    percent, low, high = bootstrap(values)
    return {"region": region, "case": case, "crops": len(values), "percent": percent, "low": low, "high": high}


def offsets(base: Base, crops: np.ndarray) -> Iterator[dict[str, object]]:
    """What the best offset of the scales of each group would save, its own bits paid: rows as in ``table``."""
    found: dict[str, list[list[float]]] = {region: [[] for _ in crops] for region in REGIONS}
    for number, crop in enumerate(crops):
        for level in LEVELS:
            asked = base.to_steps(to_tensor(crop[None]), level)
            sent, _ = base.coder.quantise(asked.v[0].numpy(), asked.tokens[0].numpy(), level, asked.weight)
            bits = np.zeros((len(base.config.groups), len(OFFSETS)))
            for one in sent:
                bits[one.asked.group] += [base.coder.bits([moved(one, offset)]) for offset in OFFSETS]
            plain = bits[:, list(OFFSETS).index(0)].sum()
            percent = 100 * ((bits.min(1).sum() + OFFSET_BITS * len(bits)) / plain - 1)
            for region, (low, high) in REGIONS.items():
                if low <= level <= high:
                    found[region][number].append(percent)
    for region, values in found.items():
        if any(values):
            yield _row(region, "scale offset", [float(np.mean(of_crop)) for of_crop in values])


def moved(sent: SentPass, offset: int) -> SentPass:
    """What is sent of a pass with other tables; what is not coded stays so."""
    scale, kind = np.divmod(sent.table, KINDS)
    scale = np.where(scale > 0, np.clip(scale.astype(np.int16) + offset, 1, SCALES - 1), 0)
    return dataclasses.replace(sent, table=(scale * KINDS + kind).astype(np.uint8))


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.assignment.measure", description=__doc__.split(":")[0])
    data_options(ap, default=None)
    ap.add_argument("--points", type=Path, required=True, help="file for what was measured")
    ap.add_argument("--count", type=count, default=24, help="crops")
    ap.add_argument("--out", type=Path, default=Path("results"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    for path in (args.points, args.out):
        check_outside(path, args.data)
    photos, (model, _) = Photos(args.data, args.cache), zoo.find("default", manifest.read())
    base, crops = zoo.load(), photos.validation_crops(2 * args.count, SIZE)[::2]
    encoder = Encoder(base, model)
    points = measure(lambda crop, level, case: encoder.point(crops[crop], level, case), len(crops), args.points)
    rows = [*table(points), *offsets(base, photos.validation_crops(6, LARGE))]
    args.out.mkdir(parents=True, exist_ok=True)
    found = pd.DataFrame(rows).round(3)
    write_frame(found, args.out / "assignment.csv")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
