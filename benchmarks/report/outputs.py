"""What a finished run writes beside the table: means, Bjontegaard and set tables, figures, report, metadata."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.analysis.bdrate import few_points, warnings
from benchmarks.analysis.published import datasets, is_whole
from benchmarks.analysis.summary import (
    bd_tables,
    complete_settings,
    counted_sentences,
    mean_table,
    merge_sets,
    read_table,
    run_metadata,
    set_table,
    with_sets,
)
from benchmarks.codecs import BenchCodec, CodecAbsent, CodecOptions, make_codec, makers
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import SourceImage
from benchmarks.harness.pool import quick_pool
from benchmarks.harness.table import write_rows
from benchmarks.metrics.sets import FeatureStore
from benchmarks.report.html import write_report
from benchmarks.report.plots import draw_figure, figure_list
from benchmarks.report.showcase import contact_sheet, make_showcases, own_pictures, packaged_pictures

# a copy of this process has matplotlib loaded; elsewhere a copy of a process that used graphics libraries is not safe
_START = "fork" if sys.platform == "linux" else "spawn"
_ANCHORS = ("bpg-444", "jpeg", "webp", "jpeg2000")


def write_outputs(
    out: Path,
    facts: Mapping[str, Any],
    images: Sequence[SourceImage],
    codecs: Mapping[str, BenchCodec],
    set_metrics: Sequence[str],
    store: FeatureStore,
    options: argparse.Namespace,
    say: Callable[[str], None],
    began: float,
) -> pd.DataFrame:
    """Write mean.csv, bd.csv, sets.csv, figures/, report.html and run.json into `out`; returns the Bjontegaard table.

    images: those of the run, which the report may show. began: time.perf_counter() at the end of the measuring.
    """
    rows = read_table(out / "rd.csv")
    if rows.empty:
        raise BenchmarkError("nothing was measured, so there is nothing to plot")
    times = rows[["encode_s", "decode_s", "metrics_s"]].sum()
    settings = {codec: list(dict.fromkeys(group.setting)) for codec, group in rows.groupby("codec", sort=False)}
    facts = {
        **facts,
        "codecs": _versions(rows),
        "settings": settings,
        "table_rows": len(rows),
        "table_seconds": {name: round(float(value), 1) for name, value in times.items()},
    }
    before = _before(out / "run.json")
    _record(out / "run.json", facts, before)
    complete, sentences = complete_settings(rows)
    for sentence in sentences:
        say(sentence)
    if complete.empty:
        raise BenchmarkError("no setting was measured on every image, so there is nothing to plot")
    means = mean_table(complete)
    _write(out / "mean.csv", means)
    for sentence in counted_sentences(means):
        say(sentence)
    dataset = _dataset(options, complete, say)
    axes = ("linear", "log") if options.rate_axis == "both" else (options.rate_axis,)
    shown_s = 0.0
    if set_metrics:
        sets = merge_sets(set_table(complete, set_metrics, store), out / "sets.csv", complete)
        _write(out / "sets.csv", sets)
        means = with_sets(means, sets)
    with _drawing(means, out / "figures", dataset, axes, options.jobs):
        anchors = options.anchor or [name for name in _ANCHORS if name in set(complete.codec)]
        bd = bd_tables(complete, anchors)
        _write(out / "bd.csv", bd)
        for sentence in (*warnings(bd), *few_points(complete)):
            say(sentence)
        if not options.no_report:
            start = time.perf_counter()
            pictures = packaged_pictures() if options.show == "packaged" else own_pictures(images, complete)
            shown = _shown(rows, codecs, CodecOptions(options.device, tuple(options.plugin)))
            cases = make_showcases(shown, pictures, say)
            shown_s = time.perf_counter() - start
            contact_sheet(cases[0], out / "contact_sheet.png")
            write_report(
                out / "report.html",
                f"Rate and distortion: {dataset[:1].upper() + dataset[1:]}",
                dataset,
                means,
                bd,
                cases,
                facts,
            )

    this_run = _with_shares(facts["this_run"], shown_s, time.perf_counter() - began - shown_s)
    _record(out / "run.json", {**facts, "this_run": this_run}, before)
    return bd


def _dataset(options: argparse.Namespace, rows: pd.DataFrame, say: Callable[[str], None]) -> str:
    """The name of the pictures in figures: that of a published set only for all of its pictures, or when asked for."""
    if options.published:
        return options.published
    name = options.images.resolve().name.lower() if options.images else "packaged photographs"
    if name not in datasets() or is_whole(name, rows):
        return name
    count = rows.image_hash.nunique()
    say(f"no published curves: these {count} picture(s) may not be all of {name} (if they are, --published {name})")
    return f"{name}, {count} picture(s)"


def _record(path: Path, facts: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Write run.json: facts, and of `before` the runs that measured rows and the codecs that were absent."""
    absent = {name: why for name, why in before.get("absent", {}).items() if name not in facts["codecs"]} | facts[
        "absent"
    ]
    runs = [*before.get("runs", []), *([facts["this_run"]] if facts["this_run"]["rows"] else [])]
    path.write_text(run_metadata(**{**facts, "absent": absent, "runs": runs}))


def _with_shares(this_run: Mapping[str, Any], showcase_s: float, outputs_s: float) -> dict[str, Any]:
    """Seconds of the contact sheet's codecs and of everything else after the measuring; the share of the whole run
    that neither codecs nor metrics took."""
    harness_s = this_run["start_s"] + this_run["harness_share"] * this_run["measuring_s"] + outputs_s
    total_s = this_run["start_s"] + this_run["measuring_s"] + showcase_s + outputs_s
    return {
        **this_run,
        "showcase_s": round(showcase_s, 1),
        "outputs_s": round(outputs_s, 1),
        "harness_share_of_all": round(harness_s / total_s, 4),
    }


@contextmanager
def _drawing(means: pd.DataFrame, folder: Path, dataset: str, axes: Sequence[str], processes: int) -> Iterator[None]:
    """Draws the figures while the block runs, in one process less than allowed; when that is none, after it."""
    wanted = figure_list(means, axes)
    if processes == 1 or not wanted:
        yield
        for metric, axis in wanted:
            draw_figure(means, folder, dataset, metric, axis)
        return
    ignore = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business
    with quick_pool(min(processes - 1, len(wanted)), _START, signal.signal, ignore) as pool:
        figures = [pool.submit(draw_figure, means, folder, dataset, metric, axis) for metric, axis in wanted]
        yield
        for figure in figures:
            figure.result()


def _versions(rows: pd.DataFrame) -> dict[str, str]:
    """What measured the rows of each codec, those of earlier runs too."""
    return {str(codec): "; ".join(dict.fromkeys(group.version)) for codec, group in rows.groupby("codec", sort=False)}


def _shown(rows: pd.DataFrame, codecs: Mapping[str, BenchCodec], options: CodecOptions) -> dict[str, BenchCodec]:
    """Codecs of this run, and those of the table that are here in the version that was measured."""
    found = dict(codecs)
    for name, version in _versions(rows).items():
        if name not in found and name in makers(options.plugins):
            try:
                codec = make_codec(name, options)
            except CodecAbsent:
                continue
            if codec.version == version:
                found[name] = codec
    return found


def _before(path: Path) -> dict[str, Any]:
    """run.json of the run before: which runs measured the rows, oldest first, and which codecs were absent."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def _write(path: Path, frame: Any) -> None:
    write_rows(
        path, list(frame.columns), frame.astype(object).where(frame.notna(), "").to_dict("records")
    )  # empty, not "nan"
