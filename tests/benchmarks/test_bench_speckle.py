"""Saturated edges: the committed table says what the docs say, and the study measures real files."""

import numpy as np
import pandas as pd

from benchmarks.report.readme import ROOT
from benchmarks.studies import speckle


def test_a_look_lowers_the_error_of_saturated_edges_and_nothing_else_does():
    rows = pd.read_csv(ROOT / "results" / "speckle.csv").set_index(["picture", "way"])
    assert len(rows) == len(speckle.PICTURES) * (2 + len(speckle.EFFORTS) + len(speckle.SHARES))
    edges = rows.loc["saturated edges"]
    assert edges.rmse.drop(["effort 2", "not quantised, linear"]).min() > 0.95 * edges.rmse["effort 1"]
    assert edges.rmse["effort 2"] < 0.75 * edges.rmse["effort 1"]
    assert rows.loc["magenta"].rmse["effort 2"] < 0.75 * rows.loc["magenta"].rmse["effort 1"]
    assert edges.rmse["not quantised, linear"] > 10 * rows.loc["gray edges"].rmse["not quantised, linear"]


def test_the_study(shipped, monkeypatch):
    monkeypatch.setattr(speckle, "PICTURES", {"magenta": speckle.PICTURES["magenta"]})
    monkeypatch.setattr(speckle, "EFFORTS", ())
    rows = speckle.measure(shipped).set_index("way")
    data = shipped.encode(speckle.PICTURES["magenta"], quality=100, lossless=False)
    error = np.abs(shipped.decode_array(data).astype(int) - speckle.PICTURES["magenta"])
    assert (rows.bytes["effort 1"], rows.max_error["effort 1"]) == (len(data), error.max())
    assert (rows.bytes[[f"share of the rate x {s:g}" for s in speckle.SHARES]] > len(data)).all()
    assert pd.isna(rows.bytes["not quantised, linear"]) and rows.rmse["not quantised, linear"] < 3
