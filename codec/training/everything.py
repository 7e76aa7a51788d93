"""Trains everything, from photographs to a folder of shipped weights, one stage after the other:

    python -m codec.training --data PHOTOS --runs DIR --weights DIR --id N --vgg FILE --alex FILE --heads FILE
    [--recipe DIR] [--subjects FILE] [--begin FILE] [--prior narrow|wide]

Every stage is a command of its own with a TOML file of the recipe. Before it begins it is said how long it takes, where
its settings say that; a stage of so many steps times its first ones and says it then. Killed and started again, it goes
on where it was; started with another recipe or other photographs, it needs other folders.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from codec.told import told
from codec.training.base.adapt import AdaptConfig
from codec.training.base.narrow import NarrowConfig
from codec.training.base.train_refiner import RefinerTraining
from codec.training.base.train_tokens import TokenTraining
from codec.training.config import TrainConfig, configure
from codec.training.data.cache import check_cache, check_outside, data_options
from codec.training.data.photos import members
from codec.training.data.shards import VALIDATION
from codec.training.loop import duration
from codec.training.restoration.config import RestorationConfig
from codec.training.restoration.labels import LabelConfig, subjects
from codec.training.restoration.parts import FIRST
from codec.training.restoration.perception import ALEXNET, VGG16, Perception
from codec.training.shipping.manifest import check_id

RECIPE = Path(__file__).with_name("recipe")
DECODERS = ("ldm", "perceptual", "gan")
BEGIN = {
    "autoencoder": None,
    "ldm": "autoencoder",
    "perceptual": "ldm",
    "gan": "ldm",
}  # what each network begins with


@dataclass(frozen=True)
class Command:
    """A stage. module: of codec.training, with its arguments; target: a file that means that the stage is finished if
    it is newer than its source, None for a command that knows itself; seconds: that its settings give it, 0: they do
    not."""

    module: str
    arguments: tuple[str | Path | int, ...]
    target: Path | None = None
    source: Path | None = None
    seconds: float = 0.0

    def finished(self) -> bool:
        return (
            self.target is not None
            and self.target.exists()
            and self.target.stat().st_mtime >= self.source.stat().st_mtime
        )

    def run(self) -> None:
        if not self.finished():
            print(f"codec.training.{self.module}", *self.arguments, file=sys.stderr, flush=True)
            if self.seconds:
                print(f"its settings give it {duration(self.seconds)}", file=sys.stderr, flush=True)
            began = time.perf_counter()
            run([sys.executable, "-m", f"codec.training.{self.module}", *map(str, self.arguments)])
            took = duration(time.perf_counter() - began)
            print(f"codec.training.{self.module} took {took}", file=sys.stderr, flush=True)


def run(command: list[str]) -> None:
    """Runs a stage to its end. Ctrl-C is the stage's to answer: it saves what it has. Raises CalledProcessError."""
    held = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        found = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        if code := found.wait():
            raise subprocess.CalledProcessError(code, command)
    finally:
        signal.signal(signal.SIGINT, held)


def stages(args: argparse.Namespace) -> list[Command]:
    """All of a recipe, in order."""
    runs, base, crops, adapted = (
        args.runs,
        args.weights / f"vqvae-{args.id}.safetensors",
        args.runs / "crops",
        args.runs / "adapted" / "last.pt",
    )
    narrow, refiner = args.runs / "narrow" / "narrow.pt", args.weights / f"refiner-{args.id}.safetensors"
    shipped, before = (narrow, ("base", "adapted")) if args.prior == "narrow" else (adapted, ("base",))
    data, threads = ("--data", args.data, "--cache", args.cache or args.runs / "cache"), ("--threads", args.threads)
    networks = ("--vgg", args.vgg, "--heads", args.heads)

    def config(name: str) -> tuple[str, Path]:
        return "--config", args.recipe / f"{name}.toml"

    def network(name: str, begin: str | None) -> Command:
        out, before = runs / name, () if begin is None else ("--begin", runs / begin)
        more = (*networks, "--alex", args.alex, "--model", base, *config(name), *threads, *before)
        seconds = configure(RestorationConfig(), args.recipe / f"{name}.toml", []).seconds
        return Command("restoration.train", (name, "--crops", crops, "--out", out, *more), out / FIRST, base, seconds)

    found = [
        Command(
            "base.train",
            (
                *data,
                "--out",
                runs / "base",
                *config("train"),
                *threads,
                *(("--begin", args.begin) if args.begin else ()),
            ),
        ),
        Command(
            "base.adapt",
            (*data, "--base", runs / "base" / "last.pt", "--out", runs / "adapted", *config("adapt"), *threads),
        ),
        *(
            [
                Command(
                    "base.narrow",
                    (*data, "--base", adapted, "--out", narrow.parent, *config("narrow"), *threads),
                    narrow,
                    adapted,
                )
            ]
            if args.prior == "narrow"
            else []
        ),
        Command(
            "shipping.ship",
            (
                *data,
                "--base",
                *(runs / name for name in before),
                "--adapted",
                shipped,
                "--out",
                base,
                "--id",
                args.id,
                "--crops",
                args.crops,
                "--tokens",
                args.recipe / "tokens.toml",
                "--photographs",
                args.photographs,
            ),
            base,
            shipped,
        ),
        Command(
            "base.train_refiner",
            (
                *data,
                "--out",
                runs / "refiner",
                "--model",
                base,
                *config("refiner"),
                *threads,
                "--weights",
                refiner,
                "--id",
                args.id,
            ),
            refiner,
            base,
            configure(RefinerTraining(), args.recipe / "refiner.toml", []).seconds,
        ),
        Command(
            "restoration.crops",
            ("--data", args.data, "--out", crops, "--model", base, "--density", args.density),
            crops / VALIDATION,
            base,
        ),
        *(network(name, begin) for name, begin in BEGIN.items()),
    ]
    for name in DECODERS:
        out, runs_of = args.weights / f"{name}-{args.id}.safetensors", [name]
        while (before := BEGIN[runs_of[0]]) is not None:
            runs_of.insert(0, before)
        found.append(
            Command(
                "restoration.ship",
                ("--runs", *(runs / r for r in runs_of), "--out", out, "--photographs", args.photographs),
                out,
                runs / name / FIRST,
            )
        )
    if args.subjects:
        weights, out, run = (
            args.weights / f"ldm-{args.id}.safetensors",
            args.weights / f"label-{args.id}.safetensors",
            runs / "label",
        )
        seconds = configure(LabelConfig(), args.recipe / "label.toml", []).seconds
        more = (
            "--crops",
            crops,
            "--weights",
            weights,
            "--model",
            base,
            "--subjects",
            args.subjects,
            *networks,
            *config("label"),
            *threads,
        )
        found += [
            Command("restoration.labels", ("--data", args.data, "--out", run, *more), run / FIRST, weights, seconds),
            Command("restoration.ship", ("--runs", run, "--out", out), out, run / FIRST),
        ]
    return found


def arguments() -> argparse.Namespace:
    ap = argparse.ArgumentParser(prog="codec.training", description=__doc__.split("\n\n")[0])
    data_options(ap, "RUNS/cache")
    ap.add_argument(
        "--runs",
        type=Path,
        required=True,
        help="folder for checkpoints, logs and latents; what is found there is resumed",
    )
    ap.add_argument(
        "--weights",
        type=Path,
        required=True,
        help="folder for weights and manifest, for --weights of encode and decode",
    )
    ap.add_argument("--id", type=int, required=True, help="model id of the weights, 1000 or more")
    ap.add_argument("--vgg", type=Path, required=True, help="safetensors file with VGG16's features, for the losses")
    ap.add_argument(
        "--alex", type=Path, required=True, help="safetensors file with AlexNet's features, to validate with"
    )
    ap.add_argument("--heads", type=Path, required=True, help="safetensors file with the heads of LPIPS")
    ap.add_argument(
        "--recipe",
        type=Path,
        default=RECIPE,
        help="folder with train, adapt, narrow, tokens, refiner, autoencoder, ldm, perceptual, gan and label.toml",
    )
    ap.add_argument(
        "--prior",
        choices=("narrow", "wide"),
        default="narrow",
        help="arithmetic of the prior's networks: narrow (the default; a stage after the adaptation, half the time of the prior) or wide, as the shipped model has it",
    )
    ap.add_argument(
        "--subjects",
        type=Path,
        help="CSV with photograph and subject, for class labels (the shipped ones: recipe/subjects.csv)",
    )
    ap.add_argument("--begin", type=Path, help="weights file to start from, whose shape the model then has")
    ap.add_argument("--density", type=float, default=11.0, help="crops for each megapixel, for the semantic stage")
    ap.add_argument("--crops", type=int, default=200, help="crops that the tables are counted on")
    ap.add_argument(
        "--photographs", default="", metavar="TEXT", help="where they are from and under which licences, for the record"
    )
    ap.add_argument("--threads", type=int, default=1)
    return ap.parse_args()


def check_inputs(args: argparse.Namespace) -> None:
    """Reads what the last stages need before the first one begins. Raises SystemExit with one sentence for what
    cannot be read."""
    for trunk, weights in ((VGG16, args.vgg), (ALEXNET, args.alex)):
        Perception(trunk, weights, args.heads)
    names = [name for name, _ in members(args.data)]
    if not names:
        raise SystemExit(f"there are no photographs in {args.data}")
    if len(names) == 1:
        raise SystemExit(f"there is one photograph alone in {args.data}: training needs two, as one is held out")
    if args.subjects:
        subjects(args.subjects, names)
    settings = {"train": TrainConfig(), "adapt": AdaptConfig(), "tokens": TokenTraining(), "refiner": RefinerTraining()}
    settings |= dict.fromkeys(BEGIN, RestorationConfig())
    settings |= {"narrow": NarrowConfig()} if args.prior == "narrow" else {}
    settings |= {"label": LabelConfig()} if args.subjects else {}
    for name, config in settings.items():
        if not (path := args.recipe / f"{name}.toml").is_file():
            raise SystemExit(f"the recipe has no {name}.toml: {args.recipe}")
        try:
            configure(config, path, [])
        except SystemExit as error:
            raise SystemExit(f"{path}: {error}") from None


@told
def main() -> None:
    args = arguments()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SystemExit("codec.training runs in one process")
    cache = args.cache or args.runs / "cache"
    for folder in (args.runs, args.weights, cache):
        check_outside(folder, args.data)
    check_cache(cache)
    check_id(args.id, args.weights)
    check_inputs(args)
    args.weights.mkdir(parents=True, exist_ok=True)
    try:
        for stage in stages(args):
            stage.run()
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"{error.cmd[2]} did not end, as it says above; started again, this goes on after the stages that are done"
        ) from None


if __name__ == "__main__":
    main()
