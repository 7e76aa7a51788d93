"""Quantisers compared on one model: same transforms, prior and training photographs; tables (and codebooks) of each
are fitted to what it sends.

    python -m benchmarks.studies.quantisers.measure --data DIR --cache DIR (--base RUN/last.pt | --model
    FILE.safetensors) [--out results]

Writes OUT/quantizers.csv (a row for each quantiser, quality and validation crop) and OUT/quantizers.json; what is
there of the other kind of weights stays. The figure and the Bjontegaard table are made from these by
benchmarks/studies/quantisers/report.py.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.harness.told import count, told
from benchmarks.studies.quantisers.codebook import CodebookQuantizer
from codec.bitstream.container import level_of
from codec.bitstream.tables import UNIT
from codec.coding.model import decoded, to_steps
from codec.coding.trellis import TRELLISES
from codec.models import integer_export
from codec.models.integer_prior import IntegerPrior, Pass
from codec.models.vqvae import VQVAE
from codec.training.base.lattice import D4, E8, LatticeQuantizer
from codec.training.base.quantizers import Quantizer, Sent, Trellised
from codec.training.base.tables import Counts, analytic_tables
from codec.training.base.train import load_base
from codec.training.data.cache import check_outside, data_options
from codec.training.data.photos import Photos, to_tensor
from codec.zoo import read_model

QUALITIES = (38, 50, 62, 74, 86, 98)
COLUMNS = (
    "weights",
    "quantizer",
    "rate_aware",
    "quality",
    "crop",
    "bits_per_dim",
    "token_bits_per_dim",
    "rmse",
    "seconds",
)
CONTEXT = (
    "Closed loop: what a quantiser sends is what the context passes after it see. Rates are ideal code lengths under tables counted on training crops from that "
    "quantiser's own closed-loop decisions, tokens included at their zero-order code length (the same for all). RMSE is of decoded 8-bit pixels."
)
NEUTRAL = {
    "base": "base: transforms and prior trained with uniform noise and rounding, before any adaptation to a quantiser",
    "adapted": "adapted: tuned to what the rate-aware trellis of 128 states sends, which favours it",
}


def quantizers() -> dict[str, Callable[[], Quantizer]]:
    """Name -> maker of all that are compared; those named "+ra" assign with the rate in mind."""
    first = analytic_tables()
    makers: dict[str, Callable[[], Quantizer]] = {}
    for ra in (False, True):
        made: dict[str, Callable[[], Quantizer]] = {
            t.name: lambda t=t, ra=ra: Trellised(t, ra, Counts, first) for t in TRELLISES.values()
        }
        made |= {t.name: lambda t=t, ra=ra: LatticeQuantizer(t, ra, Counts, first) for t in (D4, E8)}
        made["ecvq"] = lambda ra=ra: CodebookQuantizer(ra, Counts, first)
        makers |= {name + "+ra" * ra: make for name, make in made.items()}
    return makers


@dataclass(frozen=True)
class Picture:
    """One crop at one quality, ready to be quantised: pixels (S, S, 3) uint8, tokens (S/32, S/32), v (C, S/16, S/16)
    float32 in steps, weight (C,)."""

    pixels: np.ndarray
    quality: float
    level: int
    tokens: np.ndarray
    v: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Answer:
    """v_hat (C, h, w) int32 in 1/UNIT step, bits of the latents, processor seconds that the quantiser took."""

    v_hat: np.ndarray
    bits: float
    seconds: float


class Subject:
    """The model that all quantisers share."""

    def __init__(self, model: VQVAE, prior: IntegerPrior) -> None:
        self.model, self.prior, self.config = model.eval(), prior, model.config

    @torch.no_grad()
    def prepare(self, pixels: np.ndarray, quality: float) -> Picture:
        level = level_of(quality)
        asked = to_steps(self.model, to_tensor(pixels[None]), level)
        return Picture(pixels, quality, level, asked.tokens[0].numpy(), asked.v[0].contiguous().numpy(), asked.weight)

    def residuals(self, p: Picture, asked: Pass) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """r (P, C) in steps, scale (P, C), weight (C,) of a pass."""
        g = self.config.groups[asked.group]
        return (
            p.v[g.start : g.stop, asked.rows, asked.columns].T - (asked.mu / UNIT).astype(np.float32),
            asked.scale,
            p.weight[g.start : g.stop],
        )

    def send(self, p: Picture, quantizer: Quantizer) -> Answer:
        """All passes, each quantised residual being context of the passes after it."""
        bits = seconds = 0.0

        def code(asked: Pass) -> np.ndarray:
            nonlocal bits, seconds
            r, scale, weight = self.residuals(p, asked)
            t0 = time.process_time()
            sent = quantizer.send(r, scale, weight)
            seconds += time.process_time() - t0
            bits += sent.bits
            return asked.mu + np.rint(sent.values * UNIT).astype(np.int64)

        v_hat = self.prior.run(p.tokens, p.level, code)
        return Answer(v_hat, bits, seconds)

    def token_bits(self, p: Picture) -> float:
        """Zero-order code length of the tokens."""
        return float(self.model.tokens.bits[torch.from_numpy(p.tokens)].sum())

    @torch.no_grad()
    def rmse(self, p: Picture, v_hat: np.ndarray) -> float:
        """Of the 8-bit pixels, 0..255."""
        difference = decoded(self.model, v_hat, p.level).astype(np.float32) - p.pixels
        return float(np.sqrt(np.square(difference).mean()))


class _Recorder:
    """Notes what each pass asks of a quantiser."""

    def __init__(self, inner: Quantizer) -> None:
        self.name, self.rate_aware, self.inner = inner.name, inner.rate_aware, inner
        self.asked: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def send(self, r: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> Sent:
        self.asked.append((r, scale, weight))
        return self.inner.send(r, scale, weight)

    def refit(self) -> None:
        self.inner.refit()


def fit(
    quantizer: Quantizer,
    subject: Subject,
    pictures: list[Picture],
    recorded: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    rounds: int,
) -> None:
    """Twice on residuals that were recorded under the scalar quantiser, then ``rounds`` times in closed loop."""
    for _ in range(2):
        for r, scale, weight in recorded:
            quantizer.send(r, scale, weight)
        quantizer.refit()
    for _ in range(rounds):
        for p in pictures:
            subject.send(p, quantizer)
        quantizer.refit()


def measure(quantizer: Quantizer, subject: Subject, pictures: list[Picture]) -> Iterator[dict[str, object]]:
    """-> rows of the table, without ``weights``; picture k of each quality is crop k."""
    seen: dict[float, int] = {}
    for p in pictures:
        crop = seen[p.quality] = seen.get(p.quality, -1) + 1
        answer, tokens = subject.send(p, quantizer), subject.token_bits(p)
        yield {
            "quantizer": quantizer.name,
            "rate_aware": quantizer.rate_aware,
            "quality": p.quality,
            "crop": crop,
            "bits_per_dim": round((answer.bits + tokens) / p.pixels.size, 7),
            "token_bits_per_dim": round(tokens / p.pixels.size, 7),
            "rmse": round(subject.rmse(p, answer.v_hat), 5),
            "seconds": round(answer.seconds, 5),
        }


def merge(path: Path, rows: list[dict[str, object]]) -> None:
    """Writes the table; rows of other weights that are in it stay."""
    renewed = {row["weights"] for row in rows}
    kept: list[dict[str, object]] = []
    if path.exists():
        with open(path, newline="") as f:
            kept = [row for row in csv.DictReader(f) if row["weights"] not in renewed]
    with open(path, "w", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept + rows)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.quantisers.measure", description=__doc__.split("\n\n")[0])
    data_options(ap, default=None)
    weights = ap.add_mutually_exclusive_group(required=True)
    weights.add_argument(
        "--base", type=Path, help="last.pt of a run of codec.training.base.train: neutral to the quantisers"
    )
    weights.add_argument("--model", type=Path, help="weights file: its prior knows the quantiser it was adapted to")
    ap.add_argument("--out", type=Path, default=Path("results"))
    ap.add_argument(
        "--crops",
        type=count,
        default=12,
        help="training crops of 256x256 that tables are fitted to, each at every quality",
    )
    ap.add_argument("--validation", type=count, default=16, help="validation crops of 256x256")
    ap.add_argument("--rounds", type=int, default=2, help="closed-loop rounds of fitting")
    ap.add_argument("--threads", type=count, default=1)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    check_outside(args.out, args.data)
    t0 = time.perf_counter()
    if args.base:
        kind, (model, state) = "base", load_base(args.base)
        prior, step = (
            IntegerPrior(model.config, integer_export.export(model.prior, model.tokens, model.sd, model.log2_gain)),
            state["step"],
        )
    else:
        kind, shipped, step = "adapted", read_model(args.model, 0), None
        model, prior = shipped.vqvae, shipped.coder.prior
    subject, photos = Subject(model, prior), Photos(args.data, args.cache)
    rng = np.random.default_rng((0, 5))
    training = [subject.prepare(x, q) for x in photos.crops(rng, args.crops, 256) for q in QUALITIES]
    validation = [subject.prepare(x, q) for x in photos.validation_crops(args.validation, 256) for q in QUALITIES]
    makers = quantizers()
    recorder = _Recorder(makers["scalar+ra"]())
    for p in training:
        subject.send(p, recorder)
    rows: list[dict[str, object]] = []
    for make in tqdm(makers.values(), desc=f"quantisers, {kind}"):
        quantizer = make()
        fit(quantizer, subject, training, recorder.asked, args.rounds)
        rows += ({"weights": kind, **row} for row in measure(quantizer, subject, validation))
    args.out.mkdir(parents=True, exist_ok=True)
    merge(args.out / "quantizers.csv", rows)
    path = args.out / "quantizers.json"
    facts = json.loads(path.read_text()) if path.exists() else {"context": CONTEXT, "runs": {}}
    source = args.base or args.model
    facts["runs"][kind] = {
        "weights": NEUTRAL[kind],
        "file": source.name,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "training_step": step,
        "quantizers": list(makers),
        "qualities": QUALITIES,
        "training_crops": args.crops,
        "validation_crops": args.validation,
        "crop_size": 256,
        "closed_loop_rounds": args.rounds,
        "threads": args.threads,
        "seconds": round(time.perf_counter() - t0, 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    path.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
