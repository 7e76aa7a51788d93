"""Published codecs beside ours: numbers by hand, the committed table, and that nothing published passes as measured."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.analysis.published import FOLDER, published_points
from benchmarks.report.readme import kodak, rival_codecs
from benchmarks.studies import rivals

RESULTS = Path(__file__).parents[2] / "results"


def test_equal_curves_at_a_tenth_more_bytes_are_ten_percent() -> None:
    """Ours is made up: the points of a published codec with a tenth more bytes, and half of it against the anchors."""
    points = published_points("kodak")
    points = points[points.system == rivals.RIVALS["ELIC"]]
    rows = [
        points.assign(codec=name, version="codec 1, model 5", bits_per_dim=factor * points.bits_per_dim)
        for name, factor in (("ours-vq", 1.1), ("bpg-444", 2.0), ("jpeg", 4.0))
    ]
    said = pd.DataFrame({"system": ["PULSE"], "bd_rate_percent": 1.5, "anchor": "HM-1", "source": "x", "note": "y"})
    found = rivals.table(pd.concat(rows), said).set_index("codec")
    elic = found.loc["ELIC", ["ours_percent", "ours_overlap_percent", "bpg_percent", "jpeg_percent"]]
    np.testing.assert_allclose(elic.astype(float), [10, 100, -50, -75], atol=1e-3)
    pulse = found.loc["PULSE"]
    assert pulse.said_percent == 1.5 and pulse.said_anchor == "HM-1" and np.isnan(pulse.ours_percent)


def test_the_committed_table_follows_from_the_committed_curves() -> None:
    means = pd.read_csv(RESULTS / "kodak" / "mean.csv", dtype={"setting": str})
    made = rivals.table(means, pd.read_csv(FOLDER / "rates" / "kodak.csv")).reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_csv(RESULTS / "kodak" / "rivals.csv"), made, check_dtype=False, atol=2e-3)
    assert list(made.codec[:1]) == ["HM"] and made.said_source.str.contains("second hand").sum() == 5


def test_the_headline_table_names_what_is_published() -> None:
    table = kodak(RESULTS).set_index("codec")
    published = {name for name in table.index if name.endswith("(published)")}
    assert published == {f"{name} (published)" for name in rivals.RIVALS if name != "HM"}
    measured = set(pd.read_csv(RESULTS / "kodak" / "rd.csv", usecols=["codec"]).codec)
    assert set(table.index) - published <= measured
    values = table["our bytes at equal RMSE, %"]
    assert values["PULSE (published)"] == "no curve" and values["ours-vq"] == "0"
    assert all(values[f"{name} (published)"].startswith("+") for name in ("VTM", "ELIC", "DCVC-RT intra"))
    curve, _ = rivals.published_curve(rivals.RIVALS["VTM"])
    assert float(table.loc["VTM (published)", "RMSE at 0.2"]) == pytest.approx(
        np.interp(np.log(0.2), np.log(np.sort(curve.rate)), -np.sort(-curve.rmse)), abs=0.006
    )
    assert rival_codecs(RESULTS).curve.tolist()[-1] == "none"
