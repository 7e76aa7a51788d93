"""Tables of README.md and docs/*.md from committed results: python -m benchmarks.report.readme

Text between <!-- table:NAME --> and <!-- /table --> is replaced. A test keeps the committed pages equal to what this
makes.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from benchmarks.analysis.bdrate import compare, marked
from benchmarks.analysis.summary import read_table
from benchmarks.harness.frames import read_frame
from benchmarks.harness.told import told
from benchmarks.report.tables import DIGITS, LIST_NAMES, markdown, number
from benchmarks.scale.throughput import FEW
from benchmarks.speed.worker import NEURAL
from benchmarks.studies import rivals
from codec import manifest, zoo

ROOT = Path(__file__).resolve().parents[2]
NOT_MEASURED = "Not measured with the shipped weights yet."
DECODER_METRICS = ("rmse", "lpips", "dists", "texture", "fid")
RATES = (0.02, 0.05, 0.1, 0.2, 0.35)  # bits/dim
BPG = "bpg-444"
SHOWN = ("ours-vq", "ours-vq-e2", "jpeg", "jpeg2000", "webp", "jxl", "heic", "avif", "bpg-444")


def of_these_weights(path: Path) -> pd.DataFrame | None:
    """A table with a column ``version``; None if it is not there, or if a decoder or refiner in it had other weights
    than the shipped ones."""
    if not path.is_file():
        return None
    table = read_frame(path)
    said, shipped = " ".join(table.version.dropna().unique()), manifest.read()
    used = set(re.findall(r"model (\d+), (\w+) ([0-9a-f]{8})", said))
    refiners = {zoo.file_hash(path) for path in shipped.refiners.values()}
    known = {
        (str(m), name, zoo.weights_hash(shipped, name, m)) for m in shipped.models for name in shipped.decoders_of(m)
    }
    return table if used <= known and set(re.findall(r"refiner ([0-9a-f]{8})", said)) <= refiners else None


def kodak(results: Path) -> pd.DataFrame:
    """Measured codecs, then published rivals: our bytes at equal RMSE, BD-rate against BPG 4:4:4, and RMSE at a few
    rates (interpolated on the mean curve, log rate)."""
    table = read_table(results / "kodak" / "rd.csv")
    rows = {name: table[table.codec == name] for name in SHOWN}
    ours = rows[SHOWN[0]]
    mean = read_frame(results / "kodak" / "mean.csv", dtype={"setting": str})
    lines = []
    for name in SHOWN:
        points = mean[mean.codec == name]
        against = [compare(SHOWN[0], ours, name, rows[name]), compare(name, rows[name], BPG, rows[BPG])]
        texts = [
            "0"
            if b.codec == b.anchor
            else _with_ends(b.bd_rate_percent, b.bd_rate_low, b.bd_rate_high, b.overlap_percent)
            for b in against
        ]
        lines.append([name, *texts, *_at_rates(points.bits_per_dim, points.rmse)])
    for rival in read_frame(results / "kodak" / "rivals.csv").itertuples():
        system = rivals.RIVALS[rival.codec]
        if system is None:
            said = f"{rival.said_percent:+.1f} against {rival.said_anchor}"
            lines.append([f"{rival.codec} (published)", "no curve", said, *[""] * len(RATES)])
        elif rival.codec != "HM":
            curve, _ = rivals.published_curve(system)
            against = [(rival.ours_percent, rival.ours_overlap_percent), (rival.bpg_percent, rival.bpg_overlap_percent)]
            texts = [marked(f"{percent:+.1f}", overlap) for percent, overlap in against]
            lines.append([f"{rival.codec} (published)", *texts, *_at_rates(curve.rate, curve.rmse)])
    columns = ["codec", "our bytes at equal RMSE, %", f"BD-rate against {BPG}, %", *(f"RMSE at {r:g}" for r in RATES)]
    return pd.DataFrame(lines, columns=columns)


def _with_ends(value: float, low: float, high: float, overlap: float) -> str:
    return marked(f"{value:+.1f} ({low:+.1f} to {high:+.1f})", overlap)


def _at_rates(rate: ArrayLike, rmse: ArrayLike) -> list[str]:
    """RMSE at `RATES` where the curve reaches."""
    order = np.argsort(rate)
    rates, errors = np.asarray(rate, float)[order], np.asarray(rmse, float)[order]
    found = np.interp(np.log(RATES), np.log(rates), errors)
    return [f"{e:.2f}" if rates[0] <= r <= rates[-1] else "" for r, e in zip(RATES, found, strict=True)]


def sets(results: Path) -> pd.DataFrame:
    """Photographs beside Kodak's: BD-rates of ours against BPG 4:4:4."""
    rows = []
    for folder in sorted(path.parent for path in (results / "sets").glob("*/bd.csv")):
        found, table = read_frame(folder / "bd.csv"), read_table(folder / "rd.csv")
        for r in found[(found.anchor == BPG) & found.codec.str.startswith("ours")].itertuples():
            ssim = f"{r.ms_ssim_rate_percent:+.1f} ({r.ms_ssim_rate_low:+.1f} to {r.ms_ssim_rate_high:+.1f})"
            by_rmse = _with_ends(r.bd_rate_percent, r.bd_rate_low, r.bd_rate_high, r.overlap_percent)
            each = [
                compare(r.codec, own[own.codec == r.codec], BPG, own[own.codec == BPG]).bd_rate_percent
                for _, own in table.groupby("image_hash")
            ]
            rows.append({"set": folder.name, "pictures": r.images, "codec": r.codec, "by RMSE, %": by_rmse, "of single pictures, %": f"{min(each):+.0f} to {max(each):+.0f}", "by MS-SSIM, %": ssim})  # fmt: skip
    return pd.DataFrame(rows)


def rival_codecs(results: Path) -> pd.DataFrame:
    """VTM and learned codecs by their published curves."""
    found = read_frame(results / "kodak" / "rivals.csv")
    return pd.DataFrame(
        {
            "codec": found.codec,
            "our bytes at equal RMSE, %": [
                marked(number(v, 1, "+"), share)
                for v, share in zip(found.ours_percent, found.ours_overlap_percent, strict=True)
            ],
            "its BD-rate against bpg-444, %": [
                marked(number(v, 1, "+"), share)
                for v, share in zip(found.bpg_percent, found.bpg_overlap_percent, strict=True)
            ],
            "its BD-rate against HM-16.25 as published, %": [number(v, 1, "+") for v in found.said_percent],
            "curve": found.source.fillna("none"),
        }
    )


def decoders(results: Path) -> pd.DataFrame | None:
    """The decoders of the same files; intervals are those of the difference to vq."""
    d = of_these_weights(results / "kodak" / "decoders.csv")
    if d is None:
        return None
    metrics = [name for name in DECODER_METRICS if name in d]

    def with_interval(row: pd.Series, metric: str) -> str:
        digits = DIGITS.get(metric, 3)
        text = f"{row[metric]:.{digits}f}"
        if row.decoder == "vq":
            return text
        return f"{text} ({row[f'{metric}_minus_vq_low']:+.{digits}f} to {row[f'{metric}_minus_vq_high']:+.{digits}f})"

    return pd.DataFrame(
        {"bits/dim": f"{r.bits_per_dim:.3f}", "decoder": r.decoder, **{LIST_NAMES.get(m, m): with_interval(r, m) for m in metrics}}
        for _, r in d.sort_values(["bits_per_dim", "decoder"], kind="stable").iterrows()
    )  # fmt: skip


def qualities(results: Path) -> pd.DataFrame | None:
    """LPIPS and DISTS of every decoder over the whole range of qualities, on held-out photographs."""
    if of_these_weights(results / "held-out" / "decoder_rows.csv") is None:
        return None
    table = read_frame(results / "held-out" / "decoders.csv")
    rows = []
    for quality, own in table.sort_values("setting").groupby("setting"):
        at = own.set_index("decoder")
        row = {"quality": f"{quality:g}", "bits/dim": f"{at.bits_per_dim.iloc[0]:.3f}"}
        for name, values in (("LPIPS", at.lpips), ("DISTS", at.dists)):
            row |= {f"{name} {d}": f"{values[d]:.3f}" for d in ("vq", "perceptual", "gan", "ldm")}
        rows.append(row)
    return pd.DataFrame(rows)


def quantisers(results: Path) -> pd.DataFrame:
    q = read_frame(results / "quantizers_bd.csv")
    q = q[q.anchor == "scalar"].assign(
        change=lambda q: [
            _with_ends(r.bd_rate_percent, r.bd_rate_low, r.bd_rate_high, r.overlap_percent) for r in q.itertuples()
        ]
    )
    order = q[q.weights == "base"].quantizer.tolist()
    cells = q.pivot(index="quantizer", columns="weights", values="change").loc[order]
    return pd.DataFrame(
        {
            "quantiser": order,
            "a base that knows none, %": cells.base.tolist(),
            "the shipped model, %": cells.adapted.tolist(),
        }
    )


def speed(results: Path) -> pd.DataFrame:
    s = read_frame(results / "speed.csv")
    ours = s[s.codec == "ours"]
    sizes = s.pivot_table("bytes", ["direction", "threads"], "codec")
    files = [
        ", ".join(number(size / 1000, 1) for size in (r.bytes, *sizes.loc[(r.direction, r.threads), ["webp", "avif"]]))
        for r in ours.itertuples()
    ]
    kind = ours.direction + np.where(ours.decoder.isna(), "", " " + ours.decoder.fillna(""))
    return pd.DataFrame({"": kind, "threads": ours.threads, "kB: ours, WebP, AVIF": files, "seconds": ours.seconds.round(2), "over hyperprior": ours.ratio_hyperprior.round(2), "over WebP": ours.ratio_webp.round(1),
                         "over AVIF": ours.ratio_avif.round(1), "peak MB": ours.peak_mb, "kMAC/pixel": ours.kmac_per_pixel})  # fmt: skip


def speed_of_rivals(results: Path) -> pd.DataFrame:
    """One photograph of 768x512: size of the file, seconds, over those of the hyperprior and of our codec before it
    was made faster. Files of networks with random weights are no files of that picture: their size is left out."""
    s = read_frame(results / "speed_full.csv", keep_default_na=False)
    s = s[(s.width == 768) & ~s.variant.isin(("before", "before-avx2")) & (s.codec != "hyperprior")]
    s = s[s.variant != "numpy"].reset_index(drop=True)
    kind = (
        s.direction
        + np.where(s.decoder == "", "", " " + s.decoder)
        + np.where(s.effort.astype(str).isin(("", "1")), "", ", effort " + s.effort.astype(str))
    )
    named = s.codec.where(s.variant == "", s.codec + ", " + s.variant)
    values = {"over hyperprior": s.over_hyperprior, "over ours before": s.over_before}
    files = ["" if codec in NEURAL else number(size / 1000, 1) for codec, size in zip(s.codec, s.bytes, strict=True)]
    return pd.DataFrame({"codec": named, "": kind, "threads": s.threads, "kB": files, "seconds": [number(float(v), 2) if float(v) >= 0.1 else number(float(v), 4) for v in s.seconds],
                         **{name: ["" if v == "" else number(float(v), 2) for v in column] for name, column in values.items()}})  # fmt: skip


def cold(results: Path) -> pd.DataFrame:
    c = read_frame(results / "speed_cold.csv")
    return pd.DataFrame({"backend": c.backend, "threads": c.threads, "times as fast as torch": c.wall_ratio, "by processor time": c.processor_ratio,
                         "processor seconds": c.processor_s.round(2), "peak MB": c.peak_mb, "largest difference": c.largest_difference})  # fmt: skip


def dependencies(results: Path) -> pd.DataFrame:
    """What the core installation is made of, and which commands load it."""
    d = read_frame(results / "dependencies.csv")
    commands = list(d.columns[d.columns.get_loc("import_s") + 1 :])
    used = [", ".join(c.replace("_", " ") for c in commands if row[c] == "yes") for _, row in d.iterrows()]
    table = pd.DataFrame({"package": d.package, "MB": [number(v, 1) for v in d.own_mb], "brings, MB": [number(v, 1) for v in d.brings_mb],
                          "seconds to import": [number(v, 2) for v in d.import_s], "loaded by": used})  # fmt: skip
    total = {"package": "together", "MB": number(d.own_mb.sum(), 1), "brings, MB": number(d.brings_mb.sum(), 1)}
    return pd.concat([table, pd.DataFrame([total])], ignore_index=True).fillna("")


def browser(results: Path) -> pd.DataFrame:
    """Means over the files of one size."""
    groups = read_frame(results / "browser.csv").groupby(["width", "decoder"], as_index=False)
    b, files = groups.mean(numeric_only=True), groups.size()["size"]
    size = [f"{w}x{h}" for w, h in zip(b.width, b.height.astype(int), strict=True)]
    ratio = ["" if np.isnan(r) else f"{r:.1f}" for r in b.ratio_torch]
    return pd.DataFrame({"picture": size, "files": files, "decoder": b.decoder, "processor seconds": b.processor_s.round(1), "over torch": ratio,
                         "peak MB": b.peak_mb.round().astype(int)})  # fmt: skip


def coarse(results: Path) -> pd.DataFrame:
    c = read_frame(results / "coarse.csv")
    return pd.DataFrame(
        {
            "size": [f"1/{factor}" for factor in c.factor],
            "quality": c.quality,
            "read of the file": [f"{share:.0%}" for share in c.share_of_file],
            "between them": [f"{v:.1f}" for v in c.rmse_to_whole],
            "error of the smaller": [f"{v:.1f}" for v in c.rmse_to_original],
            "of the whole": [f"{v:.1f}" for v in c.whole_to_original],
            "sooner than onnx": [f"{v:.1f}" for v in c.onnx_ratio],
            "than torch": [f"{v:.1f}" for v in c.torch_ratio],
        }
    )


def memory(results: Path) -> pd.DataFrame:
    """Peaks at several sizes, beside those of the commit before memory was saved."""
    now, old = (read_frame(results / f"memory{name}.csv") for name in ("", "_before"))
    both = now.merge(old, "left", ["megapixels", "direction", "effort", "decoder"], suffixes=("", "_before"))

    def change(before: float, after: float) -> str:
        return f"{after:.0f}" if np.isnan(before) else f"{before:.0f} -> {after:.0f}"

    return pd.DataFrame(
        {"megapixels": f"{r.megapixels:g}", "": r.direction if r.direction == "decode" else f"encode, effort {r.effort:.0f}",
         "peak MB": change(r.peak_mb_before, r.peak_mb), "MB a megapixel": change(r.mb_per_megapixel_before, r.mb_per_megapixel)}
        for r in both.itertuples()
    )  # fmt: skip


def effort(results: Path) -> pd.DataFrame:
    e = read_frame(results / "effort_bd.csv")

    def change(row: pd.Series, prefix: str) -> str:
        names = ("bd_rate_percent", "bd_rate_low", "bd_rate_high", "overlap_percent")
        return _with_ends(*(getattr(row, prefix + name) for name in names))

    return pd.DataFrame({"effort": e.effort, "pictures": e.images, "processor seconds": e.cpu_s.round(1), "BD-rate against effort 1, %": [change(r, "") for r in e.itertuples()],
                         "BD-rate against bpg-444, %": [change(r, "bpg_") for r in e.itertuples()]})  # fmt: skip


def succession(results: Path) -> pd.DataFrame:
    """Mean bytes of the shipped model's files and of those of the one before, effort 1."""
    table = pd.read_csv(results / "succession.csv").query("codec == 'ours-vq'")
    (before,), (now,) = table.model_before.unique(), table.model.unique()
    return pd.DataFrame(
        {
            "quality": [f"{q:g}" for q in table.quality],
            f"bytes, model {before}": [f"{b:.0f}" for b in table.bytes_before],
            f"bytes, model {now}": [f"{b:.0f}" for b in table.bytes],
            "%": [f"{p:+.1f}" for p in table.bytes_percent],
        }
    )


def upscaling(results: Path) -> pd.DataFrame | None:
    u = of_these_weights(results / "semantic" / "upscaling_mean.csv")
    if u is None:
        return None
    names = [name for name in ("rmse", "psnr", "ms_ssim", "lpips", "dists", "fid", "small_rmse") if name in u]
    return u[["scale", "method"]].assign(
        **{LIST_NAMES.get(name, name): [f"{value:.{DIGITS.get(name, 3)}f}" for value in u[name]] for name in names}
    )


def drawings(results: Path) -> pd.DataFrame | None:
    """Bytes and RMSE of drawings: of the networks, by default, and without loss beside WebP and PNG."""
    d = of_these_weights(results / "drawings.csv")
    if d is None:
        return None
    rows = []
    for name, own in d.groupby("picture", sort=False):
        at = own.set_index("quality")
        row = {"picture": name}
        for quality in (20, 30, 50):
            lossy = f"{at.before[quality]} ({at.rmse[quality]:.1f})"
            kept = (
                "exact"
                if at.lossless[quality]
                else f"{at.after_rmse[quality]:.1f}" + ", reduced" * bool(at.reduced[quality])
            )
            row[f"networks at {quality}"] = lossy
            row[f"default at {quality}"] = (
                "same" if at.after[quality] == at.before[quality] else f"{at.after[quality]} ({kept})"
            )
        first = own.iloc[0]
        rows.append({**row, "exact, effort 2": first.strong, "WebP": first.webp, "PNG": first.png})
    return pd.DataFrame(rows)


def drawings_codecs(results: Path) -> pd.DataFrame | None:
    """RMSE of drawings within the bytes that the networks need: the best file of each codec that is no larger."""
    d, others = of_these_weights(results / "drawings.csv"), read_frame(results / "drawings_codecs.csv")
    if d is None:
        return None
    rows = []
    for r in d[d.quality.isin((20, 30, 40, 50))].itertuples():
        row = {"picture": r.picture, "quality": r.quality, "bytes": r.before, "networks": f"{r.rmse:.1f}",
               "default": "exact" if r.lossless else f"{r.after_rmse:.1f}" + ", reduced" * r.reduced}  # fmt: skip
        for codec, files in others[others.picture == r.picture].groupby("codec", sort=False):
            found = files[files.bytes <= r.before].rmse.min()
            row[codec] = "" if np.isnan(found) else f"{found:.1f}"
        similar = "" if np.isnan(r.ms_ssim) else f"{r.ms_ssim:.3f} -> {r.after_ms_ssim:.3f}"
        rows.append({**row, "MS-SSIM, networks -> default": similar})
    return pd.DataFrame(rows).fillna("")


def speckle(results: Path) -> pd.DataFrame | None:
    """What the encoder can do about saturated colours: RMSE, largest error and bytes of each way."""
    s = of_these_weights(results / "speckle.csv")
    if s is None:
        return None
    s = s.assign(text=[f"{r.rmse:.2f}, {r.max_error}" + ("" if np.isnan(r.bytes) else f", {r.bytes:.0f}") for r in s.itertuples()])  # fmt: skip
    wide = s.pivot(index="way", columns="picture", values="text").loc[s.way.unique(), s.picture.unique()]
    return wide.rename_axis(columns=None).reset_index()


def throughput(results: Path) -> pd.DataFrame:
    """What a picture costs with each engine, medians over the turns."""
    t = read_frame(results / "scale" / "throughput.csv")
    m = t.groupby("engine", sort=False).median(numeric_only=True)
    return pd.DataFrame(
        {
            "engine": m.index,
            "seconds a picture": m.wall_s_a_picture.map("{:.3f}".format),
            "times as fast as jobs 1": (1 / m.wall_ratio).map("{:.2f}".format),
            # Ray's actors are no children of the run: their processor time is not counted
            "processor seconds a picture": [
                "" if name.startswith("ray") else f"{v:.3f}" for name, v in m.cpu_s_a_picture.items()
            ],
        }
    )


def million(results: Path) -> pd.DataFrame:
    """The arithmetic for many pictures: those of the throughput, so many times."""
    t = read_frame(results / "scale" / "throughput.csv")
    t = t[t.engine == "jobs 1"]
    hours = t.cpu_s_a_picture.median() / 3600
    count = t.pictures.iloc[0] + FEW
    png, ldc = t.png_bytes.iloc[0] / count, t.ldc_bytes.iloc[0] / count
    return pd.DataFrame(
        {
            "pictures": f"{n:,}",
            "core-hours": f"{n * hours:,.0f}",
            "on 64 cores": f"{n * hours / 64:,.1f} hours"
            if n * hours / 64 < 72
            else f"{n * hours / 64 / 24:,.1f} days",
            "PNG, GB": f"{n * png / 1e9:,.0f}",
            ".ldc, GB": f"{n * ldc / 1e9:,.0f}",
            "saved, GB": f"{n * (png - ldc) / 1e9:,.0f}",
        }
        for n in (10**6, 10**8)
    )


def checks(results: Path) -> pd.DataFrame:
    """The long runs that are checked by hand."""
    return read_frame(results / "scale" / "checks.csv", dtype=str)


#: None stands for a table that was not measured with the shipped weights.
TABLES: dict[str, Callable[[Path], pd.DataFrame | None]] = {
    "kodak": kodak,
    "sets": sets,
    "rivals": rival_codecs,
    "decoders": decoders,
    "qualities": qualities,
    "quantisers": quantisers,
    "speed": speed,
    "speed_full": speed_of_rivals,
    "cold": cold,
    "dependencies": dependencies,
    "browser": browser,
    "coarse": coarse,
    "memory": memory,
    "effort": effort,
    "upscaling": upscaling,
    "drawings": drawings,
    "drawings_codecs": drawings_codecs,
    "speckle": speckle,
    "succession": succession,
    "throughput": throughput,
    "million": million,
    "checks": checks,
}


def body(name: str, results: Path) -> str:
    """A table as Markdown, or a sentence in its place."""
    table = TABLES[name](results)
    if table is None:
        return f"{NOT_MEASURED}\n"
    return markdown(table, note=name != "kodak")  # the text above that table explains the mark


def filled(text: str, results: Path) -> str:
    """Text of a page with all its tables made anew."""
    return re.sub(
        r"<!-- table:(\w+) -->.*?<!-- /table -->",
        lambda found: f"<!-- table:{found[1]} -->\n{body(found[1], results)}<!-- /table -->",
        text,
        flags=re.DOTALL,
    )


def pages(root: Path = ROOT) -> list[Path]:
    """The pages whose tables are filled."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


@told
def main() -> None:
    for page in pages():
        text = page.read_text()
        if (new := filled(text, ROOT / "results")) != text:
            page.write_text(new)


if __name__ == "__main__":
    main()
