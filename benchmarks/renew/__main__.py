"""Everything that depends on the weights, measured again by one command.

    python -m benchmarks.renew --images KODAK [--photos PHOTOS] [--skimage SKIMAGE] [--feature-weights SQUEEZENET]
    [--weights-cache HUB] [--only NAMES] [--list]

Each step is one of the commands of results/README.md; results/renewed.json has the hashes of the weights that it was
last run with, and what differs from codec/weights/manifest.json is due. A step whose inputs are not named is left out
with a sentence. Stopped, or run again, it goes on with what is missing. At the end results/models.csv says which model
the renewed tables are of, and README, figures and documentation are made from them. What the steps print is in
OUT/NAME.log. It knows weights, not code: for other code, take the step's line out of renewed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from benchmarks.analysis.models import REGISTER, wrong_models
from benchmarks.harness.told import count, told
from benchmarks.renew.runner import Commands, renew
from benchmarks.renew.state import DONE, Marks, digests
from benchmarks.renew.steps import HELD_OUT, LAST, RESULTS, STEPS, Step
from codec.manifest import NAME, package_folder

#: name in a command -> option
OPTIONS = {
    "kodak": "--images",
    "held_out": "--photos",
    "skimage": "--skimage",
    "squeezenet": "--feature-weights",
    "hub": "--weights-cache",
}
UNREPORTED = "unreported"  # in OUT, while README and figures are older than the tables


def wanted(steps: Iterable[Step], inputs: dict[str, str], done: Marks, now: dict[str, str]) -> list[Step]:
    """Those that are of other weights and whose inputs are named; says which are left out for an input."""
    found = []
    for step in steps:
        if done.has(step, now):
            continue
        used = [name for name in OPTIONS if any(f"{{{name}}}" in command for command in step.commands)]
        if missing := [OPTIONS[name] for name in used if not inputs[name]]:
            tqdm.write(f"{step.name} is left out: it needs {' and '.join(missing)}", file=sys.stderr)
        else:
            found.append(step)
    return found


def parse() -> argparse.Namespace:
    ap = argparse.ArgumentParser(prog="benchmarks.renew", description=__doc__.split("\n\n")[0])
    ap.add_argument("--images", type=Path, help="folder with the 24 pictures of the Kodak set")
    ap.add_argument("--photos", type=Path, help="the photographs that were trained on; only read")
    ap.add_argument("--skimage", type=Path, help="folder with eight pictures of scikit-image, see results/README.md")
    ap.add_argument("--feature-weights", type=Path, help="SqueezeNet 1.1 weights")
    ap.add_argument("--weights-cache", type=Path, help="torch hub folder of benchmarks.metrics.weights")
    ap.add_argument("--only", help="names of steps, with commas")
    ap.add_argument("--list", action="store_true", help="say what is to be done, and do nothing")
    ap.add_argument("--jobs", type=count, default=os.cpu_count() or 1, help="cores to use")
    ap.add_argument("--out", type=Path, default=Path("runs/renew"), help="folder for logs (default runs/renew)")
    args = ap.parse_args()
    if args.only and (unknown := set(args.only.split(",")) - {step.name for step in STEPS}):
        ap.error(f"unknown step {sorted(unknown)[0]!r}; known: {', '.join(s.name for s in STEPS)}")
    if not (RESULTS / REGISTER).is_file():
        ap.error("run it from the root of the repository")
    return args


def measure(args: argparse.Namespace, manifest: dict, commands: Commands) -> int:
    given = (args.images, args.photos, args.skimage, args.feature_weights, args.weights_cache)
    inputs = {name: str(path.resolve()) if path else "" for name, path in zip(OPTIONS, given, strict=True)}
    now, chosen = digests(manifest), [s for s in STEPS if not args.only or s.name in args.only.split(",")]
    steps = wanted(chosen, inputs, Marks(RESULTS / DONE), now)
    if args.list:
        lines = [f"{step.name}: about {step.minutes:g} min of one core" for step in steps]
        print("\n".join(lines) or "nothing is to be done")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    inputs |= {"jobs": str(args.jobs), "photos": inputs["held_out"], "held_out": "runs/held-out"}
    if any("{held_out}" in command for step in steps for command in step.commands) and not commands.run(
        HELD_OUT, inputs
    ):
        return 1
    unreported = args.out / UNREPORTED
    if steps:
        unreported.touch()
    failed = renew(steps, commands, inputs, args.out, now, manifest["default"], args.jobs)
    if unreported.exists() and not failed:
        failed = [command for command in LAST if not commands.run(command, inputs)]
        if not failed:
            unreported.unlink()
    done = Marks(RESULTS / DONE)
    due = [f"{step.name} is of other weights" for step in STEPS if not done.has(step, now)]
    sentences = [f"{name} failed" for name in failed] + due + wrong_models(RESULTS, manifest["default"])
    print("\n".join(sentences) or "all tables are of the weights that are there")
    return 1 if sentences else 0


@told
def main() -> int:
    args, commands = parse(), Commands()
    manifest = json.loads((package_folder() / NAME).read_text())
    try:
        return measure(args, manifest, commands)
    except KeyboardInterrupt:
        commands.stop()
        print("benchmarks.renew: interrupted; the same command goes on from there", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
