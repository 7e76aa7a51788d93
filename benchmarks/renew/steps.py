"""What depends on the weights: the commands of results/README.md, and what each of them takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RESULTS = Path("results")


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
            f"{STUDY}.decoders --images {{kodak}} --qualities 20,40,50,60 --metrics ms_ssim,lpips,dists,effnet,texture,fid,kid"
            " --weights-cache {hub} --jobs {jobs} --out results/kodak",
        ),
        DECODERS,
        24,
        whole=True,
        gone=("kodak/superseded.csv",),
    ),
    Step("effort", (f"{STUDY}.effort --images {{kodak}} --efforts 1,2,3,5,9",), ALL, 31, ("effort_bd.csv",)),
    Step(
        "sets",
        (
            f"{SETS} --images {{held_out}} --out runs/sets/held-out",
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
            f"{STUDY}.decoders --images {{held_out}} --every 2 --limit 6 --qualities 0,5,10,20,40,60,80,90,100"
            " --metrics lpips,dists --weights-cache {hub} --jobs 1 --out results/held-out",
        ),
        DECODERS,
        10,
        gone=("held-out/superseded.csv",),
    ),
    Step("estimate", (f"{STUDY}.estimate --images {{kodak}} --out results/kodak/estimate.csv",), ("base",), 2, ("kodak/estimate.csv",)),
    Step("flat", (f"{STUDY}.flat",), ("base",), 1),
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
            f"{STUDY}.emphasis --images {{held_out}} --every 3 --weights-cache {{hub}}",
        ),
        DECODERS,
        6,
        ("emphasis.csv", "emphasis_enlarged.csv"),
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

LAST = ("-m benchmarks.report.figures", "-m benchmarks.report.readme")  # when tables are new
HELD_OUT = "-m benchmarks.studies.held_out --data {photos} --out {held_out}"  # pictures that steps share
