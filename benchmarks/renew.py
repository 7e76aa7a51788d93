"""Everything that depends on the weights, measured again by one command.

    python -m benchmarks.renew --images KODAK [--photos PHOTOS] [--skimage SKIMAGE] [--feature-weights SQUEEZENET]
    [--weights-cache HUB] [--only NAMES] [--list]

Each step is one of the commands of results/README.md; results/renewed.json has the hashes of the weights that it was
last run with, and what differs from codec/weights/manifest.json is due. A step whose inputs are not named is left out
with a sentence. Stopped, or run again, it goes on with what is missing. At the end results/models.csv says which model
the renewed tables are of, and README, figures and documentation are made from them. What the steps print is in
OUT/NAME.log.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks.analysis.models import REGISTER, wrong_models
from codec.manifest import NAME, package_folder

RESULTS = Path("results")
DONE, BEGUN = "renewed.json", "begun.json"  # step -> weights it was run with, in RESULTS; was begun with, in OUT
KEPT = ("rd.csv", "mean.csv", "bd.csv", "run.json")  # of a set of pictures that is measured elsewhere


@dataclass(frozen=True)
class Step:
    """commands: in order, with names of inputs in braces; of: what they depend on, any of base, refiner, semantic;
    minutes: of one core, about; tables: of RESULTS, those without a column ``version``; whole: takes all cores; anew:
    tables that must not have rows of older weights; gone: what the commands leave of those rows; copies: folder and
    where in RESULTS its tables are kept."""

    name: str
    commands: tuple[str, ...]
    of: tuple[str, ...]
    minutes: float
    tables: tuple[str, ...] = ()
    whole: bool = False
    anew: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()


ALL = "base", "refiner"
DECODERS = "base", "semantic"
STUDY = "-m benchmarks.studies"
FEATURES = "--feature-weights {squeezenet} --weights-cache {hub}"
SETS = "benchmarks/rd_curve.py --codecs ours-vq,ours-vq-e2,bpg-444 --metrics ms_ssim --no-report --jobs 1"

STEPS = (
    Step(
        "kodak",
        (
            "benchmarks/rd_curve.py --images {kodak} --codecs ours-vq,ours-vq-e2 --jobs {jobs} --metrics"
            " ms_ssim,gmsd,mdsi,sqz_dist,sqz_kid --feature-weights {squeezenet} --show packaged --out results/kodak",
            f"{STUDY}.rivals",
        ),
        ALL,
        12,
        ("kodak/bd.csv",),
        whole=True,
        gone=("kodak/superseded.csv",),
    ),
    Step(
        "decoders",
        (
            f"{STUDY}.decoders --images {{kodak}} --qualities 20,40,50,60 --metrics ms_ssim,lpips,dists,effnet,fid,kid"
            " --weights-cache {hub} --jobs {jobs} --out results/kodak",
        ),
        DECODERS,
        24,
        whole=True,
    ),
    Step("effort", (f"{STUDY}.effort --images {{kodak}} --efforts 1,2,3,5,9",), ALL, 31, ("effort_bd.csv",)),
    Step(
        "sets",
        (
            f"{STUDY}.held_out --data {{photos}} --out runs/held-out",
            f"{SETS} --images runs/held-out --out runs/sets/held-out",
            f"{SETS} --images {{skimage}} --out runs/sets/scikit-image",
        ),
        ALL,
        5,
        ("sets/held-out/bd.csv", "sets/scikit-image/bd.csv"),
        copies=(("runs/sets/held-out", "sets/held-out"), ("runs/sets/scikit-image", "sets/scikit-image")),
    ),
    Step(
        "held-out",
        (
            f"{STUDY}.held_out --data {{photos}} --out runs/held-out",
            f"{STUDY}.decoders --images runs/held-out --every 2 --limit 6 --qualities 0,5,10,20,40,60,80,90,100"
            " --metrics lpips,dists --weights-cache {hub} --jobs 1 --out results/held-out",
        ),
        DECODERS,
        10,
    ),
    Step("estimate", (f"{STUDY}.estimate --images {{kodak}} --out results/kodak/estimate.csv",), ("base",), 2, ("kodak/estimate.csv",)),
    Step("flat", (f"{STUDY}.flat",), ("base",), 1, anew=("flat.csv",)),
    Step("speckle", (f"{STUDY}.speckle",), ALL, 1),
    Step(
        "precision",
        (
            f"{STUDY}.precision --images {{kodak}} --decoders vq",
            f"{STUDY}.precision --images {{kodak}} --count 1",
        ),
        DECODERS,
        3,
        anew=("precision.csv",),
    ),
    Step("drawings", (f"{STUDY}.drawings.measure --repeats 3",), ("base",), 5),
    Step("upscaling", (f"{STUDY}.upscaling --images {{kodak}} --every 2 --jobs 1 {FEATURES} --real-esrgan",), DECODERS, 8),
    Step("sweep", (f"{STUDY}.sweep --images {{kodak}} --every 12 --qualities 20,50 --jobs 1 {FEATURES}",), DECODERS, 6),
    Step(
        "emphasis",
        (
            f"{STUDY}.held_out --data {{photos}} --out runs/held-out",
            f"{STUDY}.emphasis --images runs/held-out --every 3 --weights-cache {{hub}}",
        ),
        DECODERS,
        6,
        ("emphasis.csv", "emphasis_enlarged.csv"),
        anew=("emphasis.csv", "emphasis_enlarged.csv"),
    ),
    Step(
        "nll",
        ("-m codec.training.restoration.nll --images {kodak} --out results/semantic --quality 22 --limit 6",),
        DECODERS,
        3,
        ("semantic/nll.csv", "semantic/progressive.csv"),
    ),
    Step("contact", ("-m benchmarks.report.contact",), DECODERS, 2),
    Step(
        "speed",
        (
            "-m benchmarks.speed.measure --repeats 3",
            "-m benchmarks.speed.cold --repeats 5",
            "-m benchmarks.speed.coarse --qualities 10,50,90 --repeats 3",
        ),
        DECODERS,
        6,
        ("speed.csv", "speed_cold.csv", "coarse.csv"),
        whole=True,
    ),
)  # fmt: skip
LAST = ("-m benchmarks.report.figures", "-m benchmarks.report.readme")


def digests(manifest: dict) -> dict[str, str]:
    """What a step depends on -> first 8 hexadecimal digits of the SHA-256 of its files."""
    number = str(manifest["default"])

    def of(section: str) -> str:
        return " ".join(sorted(e["sha256"][:8] for e in manifest[section].values() if str(e["model"]) == number))

    return {"base": manifest["models"][number]["sha256"][:8], "refiner": of("refiners"), "semantic": of("semantic")}


def wanted(steps: Iterable[Step], inputs: dict[str, str], done: dict[str, str], now: dict[str, str]) -> list[Step]:
    """Those that are of other weights and whose inputs are named; says which are left out for an input."""
    found = []
    for step in steps:
        if done.get(step.name) == mark(step, now):
            continue
        used = [name for name in OPTIONS if any(f"{{{name}}}" in command for command in step.commands)]
        if missing := [OPTIONS[name] for name in used if not inputs[name]]:
            tqdm.write(f"{step.name} is left out: it needs {' and '.join(missing)}", file=sys.stderr)
        else:
            found.append(step)
    return found


def mark(step: Step, now: dict[str, str]) -> str:
    """What says that a step is of these weights."""
    return " ".join(now[name] for name in step.of)


def read(path: Path) -> dict[str, str]:
    """Step -> weights, as ``write`` left it."""
    return json.loads(path.read_text()) if path.is_file() else {}


def write(path: Path, marks: dict[str, str], step: Step, now: dict[str, str]) -> None:
    """Notes that a step is of the weights that are there now."""
    marks[step.name] = mark(step, now)
    path.write_text(json.dumps(marks, indent=1, sort_keys=True) + "\n")


def run(step: Step, inputs: dict[str, str], out: Path, begun: bool) -> float:
    """Runs the commands -> seconds. begun: a part of its rows is of these weights already. Raises RuntimeError."""
    start = time.perf_counter()
    if not begun:
        for name in step.anew:
            (RESULTS / name).unlink(missing_ok=True)
    with open(out / f"{step.name}.log", "w") as log:
        for command in step.commands:
            words = [word.format(**inputs) for word in shlex.split(command)]
            if subprocess.run([sys.executable, *words], stdout=log, stderr=log, env=environment()).returncode:
                raise RuntimeError(f"{step.name} failed: {out / f'{step.name}.log'}")
    for name in step.gone:
        (RESULTS / name).unlink(missing_ok=True)
    for folder, place in step.copies:
        (RESULTS / place).mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            shutil.copy(Path(folder) / name, RESULTS / place / name)
    return time.perf_counter() - start


def environment() -> dict[str, str]:
    """Of a command: the packages of this checkout."""
    paths = [str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def register(tables: Iterable[str], model: int) -> None:
    """Writes into models.csv that tables are of a model."""
    path, renewed = RESULTS / REGISTER, set(tables)
    lines = [line.split(",", 2) for line in path.read_text().splitlines()]
    path.write_text("".join(f"{t},{model if t in renewed else old},{of}\n" for t, old, of in lines))


def renew(
    steps: list[Step], inputs: dict[str, str], out: Path, now: dict[str, str], model: int, jobs: int
) -> list[str]:
    """Runs steps, side by side where they take one core -> sentences about those that failed."""
    done, begun = read(RESULTS / DONE), read(out / BEGUN)
    waiting, running, failed = list(steps), dict[Future, Step](), list[str]()
    bar = tqdm(total=round(sum(s.minutes for s in steps)), unit="min", disable=None)

    with bar, ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            taken = sum(jobs if s.whole else 1 for s in running.values())
            fits = [s for s in waiting if taken + (jobs if s.whole else 1) <= jobs]
            if fits:
                step = fits[0]
                waiting.remove(step)
                going_on = begun.get(step.name) == mark(step, now)
                write(out / BEGUN, begun, step, now)
                running[pool.submit(run, step, inputs, out, going_on)] = step
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                step = running.pop(future)
                try:
                    tqdm.write(f"{step.name}: {future.result() / 60:.1f} min", file=sys.stderr)
                    write(RESULTS / DONE, done, step, now)
                    register(step.tables, model)
                except RuntimeError as error:
                    failed.append(str(error))
                    tqdm.write(str(error), file=sys.stderr)
                bar.update(round(step.minutes))
    return failed


OPTIONS = {
    "kodak": "--images",
    "photos": "--photos",
    "skimage": "--skimage",
    "squeezenet": "--feature-weights",
    "hub": "--weights-cache",
}


def main() -> int:
    ap = argparse.ArgumentParser(prog="benchmarks.renew", description=__doc__.split("\n\n")[0])
    ap.add_argument("--images", type=Path, help="folder with the 24 pictures of the Kodak set")
    ap.add_argument("--photos", type=Path, help="the photographs that were trained on; only read")
    ap.add_argument("--skimage", type=Path, help="folder with eight pictures of scikit-image, see results/README.md")
    ap.add_argument("--feature-weights", type=Path, help="SqueezeNet 1.1 weights")
    ap.add_argument("--weights-cache", type=Path, help="torch hub folder of benchmarks.metrics.weights")
    ap.add_argument("--only", help="names of steps, with commas")
    ap.add_argument("--list", action="store_true", help="say what is to be done, and do nothing")
    ap.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="cores to use")
    ap.add_argument("--out", type=Path, default=Path("runs/renew"), help="folder for logs (default runs/renew)")
    args = ap.parse_args()
    names = {step.name for step in STEPS}
    if args.only and (unknown := set(args.only.split(",")) - names):
        ap.error(f"unknown step {sorted(unknown)[0]!r}; known: {', '.join(s.name for s in STEPS)}")
    if not (RESULTS / REGISTER).is_file():
        ap.error("run it from the root of the repository")
    given = (args.images, args.photos, args.skimage, args.feature_weights, args.weights_cache)
    inputs = {name: str(path.resolve()) if path else "" for name, path in zip(OPTIONS, given, strict=True)}
    manifest = json.loads((package_folder() / NAME).read_text())
    now, done = digests(manifest), read(RESULTS / DONE)
    chosen = [s for s in STEPS if not args.only or s.name in args.only.split(",")]
    steps = wanted(chosen, inputs, done, now)
    if args.list:
        print(
            "\n".join(f"{step.name}: about {step.minutes:g} min of one core" for step in steps)
            or "nothing is to be done"
        )
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    failed = renew(steps, {**inputs, "jobs": str(args.jobs)}, args.out, now, manifest["default"], args.jobs)
    for command in LAST if steps and not failed else ():
        subprocess.run([sys.executable, *shlex.split(command)], check=True, env=environment())
    old = wrong_models(RESULTS, manifest["default"])
    print("\n".join(failed + old) or "all tables are of the weights that are there")
    return 1 if failed or old else 0


if __name__ == "__main__":
    sys.exit(main())
