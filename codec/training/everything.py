"""Trains everything, from photographs to a folder of shipped weights, one stage after the other:

    python -m codec.training --data PHOTOS --runs DIR --weights DIR --id N --feature-weights FILE [--recipe DIR] [--subjects FILE] [--begin FILE]

Every stage is a command of its own with a TOML file of the recipe. Killed and started again, it goes on where it was; started with another recipe or other photographs, it needs other folders.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from codec.training.data.cache import check_outside, data_options
from codec.training.shipping.manifest import check_id

RECIPE = Path(__file__).with_name("recipe")
DECODERS = ("ldm", "perceptual", "gan")


@dataclass(frozen=True)
class Stage:
    """command: of codec.training, with its arguments; target: a file that means that the stage is finished if it is newer than its source, None for a command that knows itself."""

    command: str
    arguments: tuple[str | Path | int, ...]
    target: Path | None = None
    source: Path | None = None

    def finished(self) -> bool:
        return self.target is not None and self.target.exists() and self.target.stat().st_mtime >= self.source.stat().st_mtime

    def run(self) -> None:
        if not self.finished():
            print(f"codec.training.{self.command}", *self.arguments, file=sys.stderr, flush=True)
            subprocess.run([sys.executable, "-m", f"codec.training.{self.command}", *map(str, self.arguments)], check=True)


def stages(args: argparse.Namespace) -> list[Stage]:
    """All of a recipe, in order."""
    runs, base, latents, adapted = args.runs, args.weights / f"vqvae-{args.id}.safetensors", args.runs / "latents", args.runs / "adapted" / "last.pt"
    data, threads = ("--data", args.data, "--cache", args.cache or args.runs / "cache"), ("--threads", args.threads)

    def config(name: str) -> tuple[str, Path]:
        return "--config", args.recipe / f"{name}.toml"

    def decoder(command: str, name: str, *more: str | Path) -> Stage:
        return Stage(command, ("--latents", latents, "--out", runs / name, "--base", adapted, "--feature-weights", args.feature_weights, *config(name), *threads, *more))

    found = [
        Stage("base.train", (*data, "--out", runs / "base", *config("train"), *threads, *(("--begin", args.begin) if args.begin else ()))),
        Stage("base.adapt", (*data, "--base", runs / "base" / "last.pt", "--out", runs / "adapted", *config("adapt"), *threads)),
        Stage("shipping.ship", (*data, "--base", runs / "base", "--adapted", adapted, "--out", base, "--id", args.id, "--crops", args.crops, "--photographs", args.photographs), base, adapted),
        Stage("restoration.latents", (*data, "--out", latents, "--base", adapted, "--shards", args.shards, "--size", args.size)),
        decoder("restoration.train_diffusion", "ldm"),
        decoder("restoration.train_gan", "perceptual"),
        decoder("restoration.train_gan", "gan", "--begin", runs / "perceptual" / "last.pt"),
    ]
    for name in DECODERS:
        before = (runs / "perceptual",) if name == "gan" else ()
        out = args.weights / f"{name}-{args.id}.safetensors"
        found.append(Stage("restoration.ship_semantic", ("--runs", *before, runs / name, "--out", out), out, runs / name / "last.pt"))
    if args.subjects:
        weights, out = args.weights / f"ldm-{args.id}.safetensors", args.weights / f"label-{args.id}.safetensors"
        found += [
            decoder("restoration.train_labels", "label", *data, "--subjects", args.subjects, "--weights", weights),
            Stage("restoration.ship_semantic", ("--runs", runs / "label", "--out", out), out, runs / "label" / "last.pt"),
        ]
    return found


def arguments() -> argparse.Namespace:
    ap = argparse.ArgumentParser(prog="codec.training", description=__doc__.split("\n")[0])
    data_options(ap, "RUNS/cache")
    ap.add_argument("--runs", type=Path, required=True, help="folder for checkpoints, logs and latents; what is found there is resumed")
    ap.add_argument("--weights", type=Path, required=True, help="folder for weights and manifest, for --weights of encode and decode")
    ap.add_argument("--id", type=int, required=True, help="model id of the weights, 1000 or more")
    ap.add_argument("--feature-weights", type=Path, required=True, help="safetensors file with SqueezeNet 1.1")
    ap.add_argument("--recipe", type=Path, default=RECIPE, help="folder with train, adapt, ldm, perceptual, gan and label.toml")
    ap.add_argument("--subjects", type=Path, help="CSV with photograph and subject, for class labels (the shipped ones: recipe/subjects.csv)")
    ap.add_argument("--begin", type=Path, help="weights file to start from, whose shape the model then has")
    ap.add_argument("--shards", type=int, default=40, help="shards of latents")
    ap.add_argument("--size", type=int, default=64, help="crops in each shard")
    ap.add_argument("--crops", type=int, default=200, help="crops that the tables are counted on")
    ap.add_argument("--photographs", default="", metavar="TEXT", help="where they are from and under which licences, for the record")
    ap.add_argument("--threads", type=int, default=1)
    return ap.parse_args()


def main() -> None:
    args = arguments()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SystemExit("codec.training runs in one process")
    for folder in (args.runs, args.weights):
        check_outside(folder, args.data)
    check_id(args.id, args.weights)
    args.weights.mkdir(parents=True, exist_ok=True)
    try:
        for stage in stages(args):
            stage.run()
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error.cmd[2]} failed; started again, this goes on from there") from None


if __name__ == "__main__":
    main()
