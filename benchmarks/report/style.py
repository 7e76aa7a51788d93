"""Colours, line styles and axis names shared by the figures and the HTML report.

Colours are Okabe and Ito's palette (safe for colour-blind readers), families share one colour, and members differ by
dash and marker, so that the figures also work in grey print.
"""

from dataclasses import dataclass

from benchmarks.metrics import pictures, sets

AXIS_NAMES = {
    "bits_per_dim": "rate, bits/dim of the whole file",
    "rmse": "RMSE (0-255)",
    "psnr": "PSNR, dB",
    **{metric.name: metric.axis for metric in (*pictures.METRICS, *sets.METRICS)},
}

RC = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "pdf.fonttype": 42, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.6, "savefig.dpi": 200, "legend.frameon": False,
    "lines.linewidth": 1.4, "lines.markersize": 3.6,
}  # fmt: skip
COLUMN, PAGE = 3.5, 7.2  # inches: width of one column of text, and of two
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # for curves that have no colour of their own
SERIES_MARKERS = ("o", "s", "D", "^", "v")
DECODERS = {
    "vq": ("#000000", "o"),
    "perceptual": ("#0072B2", "v"),
    "gan": ("#009E73", "^"),
    "ldm": ("#D55E00", "D"),
}  # colour, marker


@dataclass(frozen=True)
class CurveStyle:
    """How one codec is drawn."""

    colour: str
    dash: tuple[float, ...] = ()  # on, off lengths in line widths; empty: solid
    marker: str = "o"
    width: float = 1.3


_STYLES = {
    "ours-vq": CurveStyle("#D55E00", marker="o", width=2.2),
    "ours-vq-e2": CurveStyle("#D55E00", (3, 1.5), "P", 2.0),
    "ours-vq-e9": CurveStyle("#D55E00", (4, 1.5), "s", 2.2),
    "ours-ldm": CurveStyle("#D55E00", (2, 1), "D", 2.0),
    "ours-gan": CurveStyle("#D55E00", (1, 1), "^", 2.0),
    "ours-perceptual": CurveStyle("#D55E00", (5, 1, 1, 1), "v", 2.0),
    "bpg-444": CurveStyle("#000000", marker="s", width=1.7),
    "bpg-420": CurveStyle("#000000", (3, 1.5), "s"),
    "jpeg": CurveStyle("#0072B2", marker="^", width=1.7),
    "jpeg-progressive": CurveStyle("#0072B2", (3, 1.5), "v"),
    "jpeg-444": CurveStyle("#0072B2", (1, 1), "<"),
    "jpeg2000": CurveStyle("#56B4E9", marker="D"),
    "webp": CurveStyle("#009E73", marker="o"),
    "avif": CurveStyle("#CC79A7", marker="o"),
    "jxl": CurveStyle("#E69F00", marker="D"),
    "heic": CurveStyle("#8C6D31", (3, 1.5), "o"),
    "vvc": CurveStyle("#555555", marker="P"),
}
OTHERS = (  # colours of what has no style of its own
    "#44AA99",
    "#882255",
    "#999933",
    "#332288",
    "#AA4499",
    "#117733",
)
OTHER_MARKERS = ("x", "*", "p", "h", "d")


def curve_style(codec: str, index: int = 0) -> CurveStyle:
    """Style of a codec; `index` picks a colour, and after all colours a marker, for those without a fixed one."""
    marker = OTHER_MARKERS[index // len(OTHERS) % len(OTHER_MARKERS)]
    return _STYLES.get(codec) or CurveStyle(OTHERS[index % len(OTHERS)], (4, 1, 1, 1), marker)
