"""Figures: labels never overlap, every curve is labelled, files are there; the label layout is optimal."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from PIL import Image

from benchmarks.analysis.published import DRAWN, FOLDER, GENERATIVE, drawn_curves, published_points
from benchmarks.report import plots
from benchmarks.report.curve_labels import spread
from benchmarks.report.plots import _RC, _panel, draw_figures
from benchmarks.report.style import curve_style

CODECS = (
    "ours-vq",
    "ours-ldm",
    "jpeg",
    "jpeg-progressive",
    "jpeg-444",
    "jpeg2000",
    "webp",
    "avif",
    "jxl",
    "heic",
    "bpg-420",
    "bpg-444",
    "compressai-mbt2018",
)


def means() -> pd.DataFrame:
    """Thirteen codecs whose curves end almost at one point: the worst case for labels."""
    rows = []
    for index, codec in enumerate(CODECS):
        for rate in np.geomspace(0.03, 0.8, 8):
            rmse = 14 * (rate / 0.03) ** -0.55 * (1 + 0.01 * index)
            rows.append(
                {
                    "codec": codec,
                    "setting": "1",
                    "version": "v",
                    "bits_per_dim": rate,
                    "rmse": rmse,
                    "psnr": 20 * np.log10(255 / rmse),
                    "ms_ssim": 1 - rmse / 200,
                }
            )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("metric", ["rmse", "psnr", "ms_ssim"])
@pytest.mark.parametrize("log", [False, True])
def test_labels_do_not_overlap_and_stay_inside_the_figure(metric: str, log: bool) -> None:
    with plt.rc_context(_RC):
        figure, axes = plt.subplots(figsize=(7.6, 5.4))
        figure.subplots_adjust(left=0.1, right=0.8, top=0.93, bottom=0.14)
        _panel(axes, means(), metric, "kodak", log)
        figure.canvas.draw()
        texts = [text for text in axes.texts if text.get_text()]
        boxes = [text.get_window_extent() for text in texts]
        plt.close(figure)
    names = {text.get_text() for text in texts}
    assert set(CODECS) <= names
    (key,) = (name for name in names if name.startswith("published"))
    letters = [line[0] for line in key.splitlines()[1:]]
    assert len(letters) >= 4 and set(letters) <= names  # each published curve has its letter and its name
    for index, box in enumerate(boxes):
        assert box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:index])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_spread_keeps_order_and_gap(values: list[float]) -> None:
    places = spread(sorted(values), 0.04, 0, 1)
    assert np.all(np.diff(places) >= 0.04 - 1e-9)
    assert places.min() >= -1e-9 and places.max() <= 1 + 1e-9


def test_spread_leaves_free_labels_alone_and_centres_a_crowd() -> None:
    assert spread([0.1, 0.5, 0.9], 0.1, 0, 1) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([0.5, 0.5, 0.5], 0.1, 0, 1) == pytest.approx([0.4, 0.5, 0.6])


def test_every_metric_is_drawn_as_pdf_and_png(tmp_path: Path) -> None:
    written = draw_figures(means(), tmp_path, "kodak", ["log"])
    assert [path.name for path in written] == ["rate_rmse_log.png", "rate_psnr_log.png", "rate_ms_ssim_log.png"]
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 700
        assert path.with_suffix(".pdf").read_bytes()[:5] == b"%PDF-"


@pytest.mark.parametrize(
    "name", ["jpeg", "compressai-bmshj2018-hyperprior", "a-codec-of-$\\somebody$-with-a-long-name"]
)
def test_names_and_titles_of_any_length_are_whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names were cut at the edge of the figure."""
    seen = []

    def look(figure: plt.Figure, stem: Path) -> Path:
        figure.canvas.draw()
        axes = figure.axes[0]
        seen.append((figure.bbox.bounds[2], axes.bbox.width, [t.get_window_extent().x1 for t in axes.texts]))
        seen.append(axes.title.get_window_extent() if axes.title.get_text() else axes._left_title.get_window_extent())
        plt.close(figure)
        return stem

    monkeypatch.setattr(plots, "_save", look)
    table = means()[["codec", "bits_per_dim", "ms_ssim"]].replace({"codec": {"jpeg": name}})
    table = table.rename(columns={"ms_ssim": "sqz_dist"})  # the longest name of an axis
    draw_figures(table, tmp_path, "a $\\folder$ of pictures " * 4, ["log"])
    (width, axes_width, ends), title = seen
    assert axes_width == pytest.approx(532) and max(ends) < width and title.x1 < width


def test_codecs_from_outside_are_told_apart() -> None:
    """The seventh had colour, dash and marker of the first."""
    styles = [curve_style(f"codec-{n}", n) for n in range(30)]
    assert len(set(styles)) == 30 and curve_style("jpeg", 7) == curve_style("jpeg", 1)


def test_the_published_systems_of_the_figure_are_in_the_table() -> None:
    assert set(drawn_curves("kodak", "psnr")) == set(DRAWN)
    assert set(drawn_curves("kodak", "rmse")) == set(DRAWN)
    for curve in drawn_curves("kodak", "rmse").values():
        assert curve.bits_per_dim.is_monotonic_increasing and curve.rmse.is_monotonic_decreasing
    assert drawn_curves("no such set", "rmse") == {} and drawn_curves("kodak", "gmsd") == {}


def test_perceptual_metrics_have_the_generative_codecs_too() -> None:
    assert set(drawn_curves("kodak", "lpips")) == set(GENERATIVE)
    assert not set(drawn_curves("kodak", "psnr")) & {"DiffEIC", "RDEIC", "StableCodec"}
    assert drawn_curves("kodak", "fid") == {}  # of unknown or other patches
    assert set(drawn_curves("clic2020-test", "fid")) == {"HiFiC", "MS-ILLM"}


def test_every_published_point_has_a_system_and_a_source() -> None:
    total = 0
    for path in FOLDER.glob("*.csv"):
        points = published_points(path.stem)
        assert points.system.notna().all() and points.source.notna().all()
        assert (points.rmse.dropna() >= 0).all()
        total += len(points)
    assert total == 4391
    vtm = drawn_curves("kodak", "psnr")["VTM"].iloc[0]
    raw = published_points("kodak")
    assert (3 * vtm.bits_per_dim, vtm.psnr) == pytest.approx(
        tuple(raw[raw.system == "CompressAI:vtm"].sort_values("bpp")[["bpp", "psnr"]].iloc[0])
    )
