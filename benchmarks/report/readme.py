"""Tables of README.md from committed results: python -m benchmarks.report.readme

Text between <!-- table:NAME --> and <!-- /table --> is replaced. A test keeps the committed README equal to what this makes.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report.tables import LIST_NAMES, markdown

RATES = (0.02, 0.05, 0.1, 0.2, 0.35)  # bits/dim
SHOWN = ("ours-vq", "jpeg", "jpeg2000", "webp", "jxl", "heic", "avif", "bpg-444")


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
            row[f"BD-rate against {anchor}, %"] = "0" if name == anchor else f"{b.bd_rate_percent:+.1f} ({b.bd_rate_low:+.1f} to {b.bd_rate_high:+.1f})"
        for rate in RATES:
            inside = points.bits_per_dim.min() <= rate <= points.bits_per_dim.max()
            row[f"RMSE at {rate:g}"] = f"{np.interp(np.log(rate), np.log(points.bits_per_dim), points.rmse):.2f}" if inside else ""
        rows.append(row)
    return pd.DataFrame(rows)


def decoders(results: Path) -> pd.DataFrame:
    """The decoders of the same files; intervals are those of the difference to vq."""
    d = pd.read_csv(results / "kodak" / "decoders.csv")

    def with_interval(row: pd.Series, metric: str, digits: int) -> str:
        text = f"{row[metric]:.{digits}f}"
        if row.decoder == "vq":
            return text
        return f"{text} ({row[f'{metric}_minus_vq_low']:+.{digits}f} to {row[f'{metric}_minus_vq_high']:+.{digits}f})"

    return pd.DataFrame(
        {"bits/dim": f"{r.bits_per_dim:.3f}", "decoder": r.decoder, "RMSE": with_interval(r, "rmse", 2), "sqz_dist": with_interval(r, "sqz_dist", 3),
         "sqz_kid": with_interval(r, "sqz_kid", 0), "MDSI": with_interval(r, "mdsi", 4)}
        for _, r in d.sort_values(["bits_per_dim", "decoder"], kind="stable").iterrows()
    )  # fmt: skip


def quantisers(results: Path) -> pd.DataFrame:
    q = pd.read_csv(results / "quantizers_bd.csv")
    q = q[q.anchor == "scalar"].assign(change=lambda q: [f"{r.bd_rate_percent:+.1f} ({r.bd_rate_low:+.1f} to {r.bd_rate_high:+.1f})" for r in q.itertuples()])
    order = q[q.weights == "base"].quantizer.tolist()
    cells = q.pivot(index="quantizer", columns="weights", values="change").loc[order]
    return pd.DataFrame({"quantiser": order, "a base that knows none, %": cells.base.tolist(), "the shipped model, %": cells.adapted.tolist()})


def speed(results: Path) -> pd.DataFrame:
    s = pd.read_csv(results / "speed.csv")
    ours = s[s.codec == "ours"]
    kind = ours.direction + np.where(ours.decoder.isna(), "", " " + ours.decoder.fillna(""))
    return pd.DataFrame({"": kind, "threads": ours.threads, "seconds": ours.seconds.round(2), "over hyperprior": ours.ratio_hyperprior.round(2), "over WebP": ours.ratio_webp.round(1),
                         "over AVIF": ours.ratio_avif.round(1), "peak MB": ours.peak_mb, "kMAC/pixel": ours.kmac_per_pixel})  # fmt: skip


def effort(results: Path) -> pd.DataFrame:
    e = pd.read_csv(results / "effort_bd.csv")

    def change(row: pd.Series, prefix: str) -> str:
        return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(getattr(row, f"{prefix}bd_rate_{name}") for name in ("percent", "low", "high")))

    return pd.DataFrame({"effort": e.effort, "pictures": e.images, "processor seconds": e.cpu_s.round(1), "BD-rate against effort 1, %": [change(r, "") for r in e.itertuples()],
                         "BD-rate against bpg-444, %": [change(r, "bpg_") for r in e.itertuples()]})  # fmt: skip


def upscaling(results: Path) -> pd.DataFrame:
    u = pd.read_csv(results / "semantic" / "upscaling_mean.csv")
    digits = {"rmse": 2, "psnr": 2, "ms_ssim": 4, "sqz_dist": 3, "sqz_kid": 0, "small_rmse": 2}
    return u[["scale", "method"]].assign(**{LIST_NAMES.get(name, name): [f"{value:.{n}f}" for value in u[name]] for name, n in digits.items()})


TABLES: dict[str, Callable[[Path], pd.DataFrame]] = {"kodak": kodak, "decoders": decoders, "quantisers": quantisers, "speed": speed, "effort": effort, "upscaling": upscaling}


def filled(text: str, results: Path) -> str:
    """README text with all its tables made anew."""
    return re.sub(
        r"<!-- table:(\w+) -->.*?<!-- /table -->",
        lambda found: f"<!-- table:{found[1]} -->\n{markdown(TABLES[found[1]](results))}<!-- /table -->",
        text,
        flags=re.DOTALL,
    )


def main() -> None:
    root = Path(__file__).resolve().parents[2]
    readme = root / "README.md"
    readme.write_text(filled(readme.read_text(), root / "results"))


if __name__ == "__main__":
    main()
