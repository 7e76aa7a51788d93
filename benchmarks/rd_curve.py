"""Measure codecs on pictures and plot rate against distortion.

    python benchmarks/rd_curve.py
    python benchmarks/rd_curve.py --images DIR --codecs ours,jpeg,bpg --out results/NAME --jobs 2

Without arguments: photographs from installed packages, every codec that can run, a few settings each. A run that was
interrupted goes on where it was when the same command is given again. The Bjontegaard table goes to standard output,
everything else that is said to standard error. Exit code 0: all done; 1: something that was asked for could not be
measured (a sentence says what); 2: wrong usage.
"""

import argparse
import math
import os
import re
import sys
import threading
import time
from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a script: put the repository root in place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tqdm import tqdm

from benchmarks.codecs import (
    NAMES,
    BenchCodec,
    CodecAbsent,
    CodecBroken,
    CodecOptions,
    expand_names,
    make_codec,
    makers,
)
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import SourceImage, folder_images, packaged_images, source_image
from benchmarks.harness.runner import Failure, Job, Plan, measure_all, measure_on_ray, prepare_torch
from benchmarks.harness.table import TIMES, Table, setting_text
from benchmarks.metrics.pictures import DEFAULT_METRICS, IMAGE_METRICS, MetricOptions, usable_metrics
from benchmarks.metrics.sets import SET_METRICS, FeatureStore, usable_sets

if TYPE_CHECKING:
    import pandas as pd

_WEIGHTS_VARIABLE = "BENCHMARK_FEATURE_WEIGHTS"
_QUICK_POINTS = 5
_FOLDER = Path("runs", "benchmark")  # of results, without --out; git ignores it
_MISSING = re.compile(r"the package (\S+) is not installed")
_EXTRA = 'pip install -c constraints.txt -e ".[bench]"'


def say(sentence: str) -> None:
    """One line for the user, on standard error (also while a progress bar is shown)."""
    tqdm.write(sentence, file=sys.stderr)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="rd_curve.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="folder of pictures (default: photographs in installed packages)")
    parser.add_argument(
        "--codecs",
        default="ours-vq,classic",
        help=f"names or groups, with commas: ours, classic, bpg, compressai, all, {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE.py",
        help="file with more codecs (docs/add-a-codec.md); may be repeated",
    )
    parser.add_argument(
        "--settings",
        action="append",
        default=[],
        metavar="CODEC=A,B,...",
        help="settings of one codec instead of its own list",
    )
    parser.add_argument("--points", type=int, help="use only this many of each codec's settings, spread evenly")
    parser.add_argument(
        "--metrics",
        help=f"beside rmse and psnr: {', '.join((*IMAGE_METRICS, *SET_METRICS))} (default: {','.join(DEFAULT_METRICS)}, as far as they can be computed)",
    )
    parser.add_argument(
        "--feature-weights",
        type=Path,
        default=os.environ.get(_WEIGHTS_VARIABLE),
        help=f"SqueezeNet 1.1 weights for sqz_dist and sqz_kid (or ${_WEIGHTS_VARIABLE})",
    )
    parser.add_argument(
        "--weights-cache",
        type=Path,
        help="torch hub folder for lpips, lpips_vgg, dists, effnet, label_agreement, fid, kid (python -m benchmarks.metrics.weights makes it) and compressai",
    )
    parser.add_argument(
        "--anchor",
        action="append",
        help="anchor of a Bjontegaard table; may be repeated (default: bpg-444, jpeg, webp and jpeg2000)",
    )
    parser.add_argument(
        "--published",
        help="data set whose published curves are drawn (default: kodak, if the folder has its name and its 24 pictures)",
    )
    parser.add_argument("--rate-axis", choices=("linear", "log", "both"), default="both")
    parser.add_argument(
        "--show",
        choices=("own", "packaged"),
        default="own",
        help="pictures that contact sheet and report compare: up to three of those that are measured, or a photograph from an installed package",
    )
    parser.add_argument("--no-report", action="store_true", help="no contact sheet and no HTML report")
    parser.add_argument("--device", default="cpu", help="torch device of the neural codecs")
    parser.add_argument("--out", type=Path, help=f"output folder (default: {_FOLDER}/FOLDER or {_FOLDER}/packaged)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worker processes, one thread each")
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="ray: --jobs actors of a Ray cluster"
    )
    parser.add_argument("--address", help="of a Ray cluster that runs, or auto (default: one on this machine)")
    options = parser.parse_args(arguments)
    if options.jobs < 1 or (options.points is not None and options.points < 1):
        parser.error("--jobs and --points must be at least 1")
    if options.address is not None and options.engine != "ray":
        parser.error("--address has no effect without --engine ray")
    if not options.codecs.strip(","):
        parser.error("--codecs names none")
    options.metrics_asked = options.metrics is not None
    wanted = [name for name in (options.metrics or "").split(",") if name] if options.metrics_asked else DEFAULT_METRICS
    if unknown := [name for name in wanted if name not in (*IMAGE_METRICS, *SET_METRICS)]:
        parser.error(f"unknown metric {unknown[0]!r}; known: {', '.join((*IMAGE_METRICS, *SET_METRICS))}")
    options.metrics = list(wanted)
    if options.out is None:
        options.out = _FOLDER / (options.images.resolve().name if options.images else "packaged")
    if options.images is None and options.points is None:
        options.points = _QUICK_POINTS
    return options


def find_images(folder: Path | None, out: Path) -> tuple[list[SourceImage], int]:
    """Readable pictures, and how many were refused (each with its sentence)."""
    paths = packaged_images() if folder is None else folder_images(folder, out)
    found: dict[str, SourceImage] = {}
    refused = 0
    for path in paths:
        name = path.name if folder is None else path.relative_to(folder).as_posix()
        try:
            image = source_image(path, "".join(letter if letter.isprintable() else "?" for letter in name))
        except BenchmarkError as error:
            say(str(error))
            refused += 1
            continue
        if image.digest in found:
            say(f"{path}: the same picture as {found[image.digest].name}, measured once")
        found.setdefault(image.digest, image)
    return list(found.values()), refused


def find_codecs(names: Sequence[str], options: CodecOptions) -> tuple[dict[str, BenchCodec], dict[str, str], int]:
    """Codecs that can run; the others with the reason; and how many of those are broken rather than absent."""
    present, absent, broken = {}, {}, 0
    for name in names:
        try:
            present[name] = make_codec(name, options)
        except CodecAbsent as error:
            absent[name] = str(error)
            broken += isinstance(error, CodecBroken)
            say(f"{name} is {'broken' if isinstance(error, CodecBroken) else 'absent'}: {error}")
    return present, absent, broken


def choose_settings(
    codecs: dict[str, BenchCodec],
    given: Sequence[str],
    points: int | None,
    asked: Collection[str],
    known: Collection[str],
) -> dict[str, list[str]]:
    """The settings of every codec as text, from its own list or the command line. asked: the codecs of the run, those
    that cannot run too."""
    chosen = {name: list(dict.fromkeys(map(setting_text, codec.settings))) for name, codec in codecs.items()}
    if points is not None:
        for name, values in chosen.items():
            last = len(values) - 1
            picks = sorted({round(index * last / max(points - 1, 1)) for index in range(points)})
            chosen[name] = [values[pick] for pick in picks if pick <= last]
    told = set()
    for item in given:
        name, _, values = item.partition("=")
        if name not in known:
            raise BenchmarkError(f"--settings {item}: unknown codec {name!r}")
        if name not in asked:
            raise BenchmarkError(f"--settings {item}: {name} is not among the codecs of this run")
        if name in told:
            raise BenchmarkError(f"--settings {item}: there are settings of {name} already; name all of them at once")
        told.add(name)
        try:
            numbers = [float(value) for value in values.split(",")]
        except ValueError:
            raise BenchmarkError(f"--settings {item}: expected CODEC=NUMBER,NUMBER,...") from None
        if not all(map(math.isfinite, numbers)):
            raise BenchmarkError(f"--settings {item}: expected CODEC=NUMBER,NUMBER,...")
        if name not in chosen:
            continue
        for number in numbers:
            if (allowed := getattr(codecs[name], "allowed", None)) is not None:
                allowed.check(name, number)
        chosen[name] = list(dict.fromkeys(map(setting_text, numbers)))
    return chosen


def retired(table: Table, images: Sequence[SourceImage]) -> list[str]:
    """What to say about rows of the table that are not of these pictures; those of changed ones go out of it."""
    sentences = []
    if changed := table.retire({image.name: image.digest for image in images}):
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        sentences.append(f"{changed[0]}{more}: another picture than in the table, whose rows go to superseded.csv")
    if others := {row["image_hash"] for row in table.rows.values()} - {image.digest for image in images}:
        sentences.append(f"{table.path} has {len(others)} more picture(s), which this run does not: means are over all")
    return sentences


def check_anchors(anchors: Sequence[str], names: Sequence[str]) -> None:
    """Refuse, before anything is measured, an anchor that will have no curve."""
    for anchor in anchors:
        if anchor not in names:
            raise BenchmarkError(f"the anchor codec {anchor!r} is not in the table ({', '.join(dict.fromkeys(names))})")


def run(options: argparse.Namespace) -> int:
    """Everything; returns the exit code."""
    plugins = tuple(options.plugin)
    codec_options = CodecOptions(options.device, plugins)
    wanted = [name for name in options.codecs.split(",") if name]
    names = expand_names(wanted, plugins)
    out = options.out
    metric_options = MetricOptions(options.feature_weights, options.weights_cache)
    began = time.perf_counter()
    prepare_torch(names, options.metrics, metric_options)
    loaded_s = time.perf_counter() - began  # the metrics' own time, as is finding out which can be used
    images, problems = find_images(options.images, out)
    if not images:
        raise BenchmarkError("none of the images can be measured")
    codecs, absent, broken = find_codecs(names, codec_options)
    if not codecs:
        raise BenchmarkError("none of the codecs can run here")
    settings = choose_settings(codecs, options.settings, options.points, names, makers(plugins))
    if options.published:
        from benchmarks.analysis.published import check_dataset

        check_dataset(options.published)
    loading = time.perf_counter()
    metrics, left_out = usable_metrics([name for name in options.metrics if name in IMAGE_METRICS], metric_options)
    set_metrics, sets_left_out = usable_sets([name for name in options.metrics if name in SET_METRICS], metric_options)
    loaded_s += time.perf_counter() - loading
    for sentence in (*left_out, *sets_left_out):
        say(sentence)

    table = Table(out / "rd.csv", metrics)
    try:
        check_anchors(options.anchor or (), [*codecs, *(row["codec"] for row in table.rows.values())])
        for sentence in retired(table, images):
            say(sentence)
        store = FeatureStore(out / ".features")
        plan = Plan(tuple(codecs), codec_options, metrics, set_metrics, metric_options, out / ".features")
        jobs = [
            Job(image, name, setting)
            for image in images for name in codecs for setting in settings[name]
            if not table.has(key := (image.digest, name, setting, codecs[name].version), metrics)
            or not (store.has(key, set_metrics) and store.has((image.digest, "original", "", ""), set_metrics))
        ]  # fmt: skip
        processes = min(options.jobs, max(len(jobs), 1))
        started = time.perf_counter()
        if (
            processes > 1
        ):  # pandas and matplotlib, which the workers need not load: read while this process waits for them
            threading.Thread(target=import_module, args=("benchmarks.report.outputs",), daemon=True).start()
        on_ray = options.engine == "ray"
        results = (
            measure_on_ray(jobs, plan, processes, options.address) if on_ray else measure_all(jobs, plan, processes)
        )
        failures, busy_s = measure(len(jobs), results, table)
        measured = time.perf_counter()
        measuring_s = measured - started
        table.finish({name: codec.version for name, codec in codecs.items()})
    finally:
        table.close()
    facts: dict[str, object] = {
        "absent": absent, "metrics": list(metrics), "set_metrics": list(set_metrics), "left_out": [*left_out, *sets_left_out],
        "images": len(images), "folder": options.images.resolve().name if options.images else "installed packages",
    }  # fmt: skip
    share = round(max(0.0, 1 - busy_s / (processes * measuring_s)), 4) if jobs else 0.0
    facts["this_run"] = {
        "rows": len(jobs) - len(failures), "jobs": processes, "start_s": round(started - began - loaded_s, 1), "measuring_s": round(measuring_s, 1), "harness_share": share,
    }  # fmt: skip
    from benchmarks.report.outputs import write_outputs

    bd = write_outputs(out, facts, images, codecs, set_metrics, store, options, say, measured)
    for sentence in extra_sentences([*absent.values(), *left_out, *sets_left_out], options.images is None):
        say(sentence)
    say(f"{len(table.rows)} rows in {out / 'rd.csv'}; {time.perf_counter() - began:.0f} s")
    if len(bd):
        print(bd_text(bd))
    if not options.no_report:
        print(f"report: {out / 'report.html'}")
    missing = options.metrics_asked and (left_out or sets_left_out)
    return 1 if problems or broken or failures or missing else 0


def extra_sentences(reasons: Sequence[str], packaged: bool) -> list[str]:
    """How to get what was left out for want of packages."""
    packages = {found[1]: None for reason in reasons if (found := _MISSING.search(reason))}
    if packaged and find_spec("skimage") is None:
        packages["scikit-image"] = None  # brings more photographs
    if not packages:
        return []
    return [f"not installed: {', '.join(packages)}. The extra bench brings codecs, metrics and photographs: {_EXTRA}"]


def bd_text(bd: "pd.DataFrame") -> str:
    """The Bjontegaard table against its first anchor, for the terminal."""
    from benchmarks.analysis.bdrate import MARK, MARK_NOTE
    from benchmarks.report.tables import cells

    anchor = bd.anchor.iloc[0]
    shown = cells(bd[bd.anchor == anchor], ["codec", "images", "bd_rate_percent", "overlap_percent"])
    shown = shown.rename(columns={"BD-rate, %": f"BD-rate against {anchor}, %"})
    text = shown.to_string(index=False)
    return f"{text}\n{MARK_NOTE}" if MARK in text else text


def measure(
    count: int, measured: Generator[dict[str, object] | Failure, None, None], table: Table
) -> tuple[list[Failure], float]:
    """Append the rows of so many jobs as they come; one sentence per image and codec that failed.

    Returns the failures and the seconds that codecs and metrics took, loading them included: the rest of the time is
    the harness.
    """
    failures: list[Failure] = []
    busy_s = 0.0
    told = set()
    with (
        closing(measured) as results,
        tqdm(total=count, unit="row", disable=None, file=sys.stderr, smoothing=0.05) as bar,
    ):
        for result in results:
            bar.update()
            if not isinstance(result, Failure):
                table.append(result)
                busy_s += sum(float(str(result[name])) for name in (*TIMES, "loading_s"))
                continue
            failures.append(result)
            where = (result.job.image.name, result.job.codec)
            if where not in told:
                told.add(where)
                say(f"{where[0]}: {where[1]} failed at setting {result.job.setting}: {result.reason}")
    return failures, busy_s


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; turns errors into a sentence and an exit code."""
    options = parse(arguments)
    try:
        return run(options)
    except BenchmarkError as error:
        say(f"rd_curve: {error}")
        return 1
    except KeyboardInterrupt:
        say("rd_curve: interrupted; finished rows are kept, the same command goes on from there")
        return 130


if __name__ == "__main__":
    sys.exit(main())
