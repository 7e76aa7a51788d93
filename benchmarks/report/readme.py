"""Tables of README.md and docs/*.md from committed results: python -m benchmarks.report.readme

Text between <!-- table:NAME --> and <!-- /table --> is replaced. A test keeps the committed pages equal to what this makes.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report.tables import DIGITS, LIST_NAMES, markdown
from codec import manifest, zoo

ROOT = Path(__file__).resolve().parents[2]
NOT_MEASURED = "Not measured with the shipped weights yet."
DECODER_METRICS = ("rmse", "lpips", "dists", "fid")
RATES = (0.02, 0.05, 0.1, 0.2, 0.35)  # bits/dim
SHOWN = ("ours-vq", "jpeg", "jpeg2000", "webp", "jxl", "heic", "avif", "bpg-444")


def of_these_weights(path: Path) -> pd.DataFrame | None:
    """A table with a column ``version``; None if it is not there, or if a decoder in it had other weights than the shipped ones."""
    if not path.is_file():
        return None
    table = pd.read_csv(path)
    used = set(re.findall(r"model (\d+), (\w+) ([0-9a-f]{8})", " ".join(table.version.dropna().unique())))
    shipped = manifest.read()
    known = {
        (str(m), name, zoo.weights_hash(shipped, name, m)) for m in shipped.models for name in shipped.decoders_of(m)
    }
    return table if used <= known else None


def kodak(results: Path) -> pd.DataFrame:
    """BD-rates against BPG 4:4:4 and JPEG, and RMSE at a few rates (interpolated on the mean curve, log rate)."""
    bd = pd.read_csv(results / "kodak" / "bd.csv").set_index(["anchor", "codec"])
    mean = pd.read_csv(results / "kodak" / "mean.csv", dtype={"setting": str})
    rows = []
    for name in SHOWN:
        points = mean[mean.codec == name].sort_values("bits_per_dim")
        row = {"codec": name}
        for anchor in ("bpg-444", "jpeg"):
            b = bd.loc[(anchor, name)]
            row[f"BD-rate against {anchor}, %"] = (
                "0" if name == anchor else f"{b.bd_rate_percent:+.1f} ({b.bd_rate_low:+.1f} to {b.bd_rate_high:+.1f})"
            )
        for rate in RATES:
            inside = points.bits_per_dim.min() <= rate <= points.bits_per_dim.max()
            row[f"RMSE at {rate:g}"] = (
                f"{np.interp(np.log(rate), np.log(points.bits_per_dim), points.rmse):.2f}" if inside else ""
            )
        rows.append(row)
    return pd.DataFrame(rows)


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


def before(results: Path) -> pd.DataFrame:
    """The semantic stage and the one before it, on the same files of held-out photographs."""
    now, old = (pd.read_csv(results / "held-out" / f"decoders{name}.csv") for name in ("", "_before"))
    both = now.merge(old, on=["decoder", "setting"], suffixes=("", "_before")).sort_values(["bits_per_dim", "decoder"])
    metrics = {"rmse": 2, "lpips": 3, "dists": 3, "fid": 0, "kid": 4}
    return pd.DataFrame(
        {"bits/dim": f"{r.bits_per_dim:.3f}", "decoder": r.decoder,
         **{LIST_NAMES.get(m, m): f"{getattr(r, m + '_before'):.{n}f} -> {getattr(r, m):.{n}f}" for m, n in metrics.items()}}
        for r in both[both.decoder != "vq"].itertuples()
    )  # fmt: skip


def quantisers(results: Path) -> pd.DataFrame:
    q = pd.read_csv(results / "quantizers_bd.csv")
    q = q[q.anchor == "scalar"].assign(
        change=lambda q: [
            f"{r.bd_rate_percent:+.1f} ({r.bd_rate_low:+.1f} to {r.bd_rate_high:+.1f})" for r in q.itertuples()
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
    s = pd.read_csv(results / "speed.csv")
    ours = s[s.codec == "ours"]
    kind = ours.direction + np.where(ours.decoder.isna(), "", " " + ours.decoder.fillna(""))
    return pd.DataFrame({"": kind, "threads": ours.threads, "seconds": ours.seconds.round(2), "over hyperprior": ours.ratio_hyperprior.round(2), "over WebP": ours.ratio_webp.round(1),
                         "over AVIF": ours.ratio_avif.round(1), "peak MB": ours.peak_mb, "kMAC/pixel": ours.kmac_per_pixel})  # fmt: skip


def effort(results: Path) -> pd.DataFrame:
    e = pd.read_csv(results / "effort_bd.csv")

    def change(row: pd.Series, prefix: str) -> str:
        return "{:+.1f} ({:+.1f} to {:+.1f})".format(
            *(getattr(row, f"{prefix}bd_rate_{name}") for name in ("percent", "low", "high"))
        )

    return pd.DataFrame({"effort": e.effort, "pictures": e.images, "processor seconds": e.cpu_s.round(1), "BD-rate against effort 1, %": [change(r, "") for r in e.itertuples()],
                         "BD-rate against bpg-444, %": [change(r, "bpg_") for r in e.itertuples()]})  # fmt: skip


def upscaling(results: Path) -> pd.DataFrame | None:
    u = of_these_weights(results / "semantic" / "upscaling_mean.csv")
    if u is None:
        return None
    names = [name for name in ("rmse", "psnr", "ms_ssim", "lpips", "dists", "fid", "small_rmse") if name in u]
    return u[["scale", "method"]].assign(
        **{LIST_NAMES.get(name, name): [f"{value:.{DIGITS.get(name, 3)}f}" for value in u[name]] for name in names}
    )


def drawings(results: Path) -> pd.DataFrame | None:
    """Bytes of drawings: with loss (and their RMSE), by default, and without loss beside WebP and PNG."""
    d = of_these_weights(results / "drawings.csv")
    if d is None:
        return None
    rows = []
    for name, own in d.groupby("picture", sort=False):
        at = own.set_index("quality")
        row = {"picture": name}
        for quality in (20, 50, 100):
            row[f"lossy at {quality} (RMSE)"] = f"{at.before[quality]} ({at.rmse[quality]:.1f})"
        for quality in (20, 50, 100):
            row[f"default at {quality}"] = f"{at.after[quality]}" + (", exact" if at.lossless[quality] else "")
        first = own.iloc[0]
        rows.append({**row, "WebP": first.webp, "exact, effort 2": first.strong, "WebP -z 9": first.webp_strong, "PNG": first.png})  # fmt: skip
    return pd.DataFrame(rows)


#: None stands for a table that was not measured with the shipped weights.
TABLES: dict[str, Callable[[Path], pd.DataFrame | None]] = {
    "kodak": kodak,
    "decoders": decoders,
    "before": before,
    "quantisers": quantisers,
    "speed": speed,
    "effort": effort,
    "upscaling": upscaling,
    "drawings": drawings,
}


def body(name: str, results: Path) -> str:
    """A table as Markdown, or a sentence in its place."""
    table = TABLES[name](results)
    return f"{NOT_MEASURED}\n" if table is None else markdown(table)


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


def main() -> None:
    for page in pages():
        text = page.read_text()
        if (new := filled(text, ROOT / "results")) != text:
            page.write_text(new)


if __name__ == "__main__":
    main()
