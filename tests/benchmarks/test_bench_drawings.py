"""What drawings cost: the committed table keeps the promise, and the study measures what it says."""

import io

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.report.readme import ROOT
from benchmarks.studies.drawings import measure
from benchmarks.studies.drawings.pictures import PICTURES, icon


def test_lossless_files_are_never_larger_than_webp_by_more_than_the_header():
    rows = pd.read_csv(ROOT / "results" / "drawings.csv")
    assert set(rows.picture) == set(PICTURES) and len(rows) == len(PICTURES) * len(measure.QUALITIES)
    exact = rows[rows.lossless]
    assert (exact.after <= exact.before).all() and (exact.after <= exact.webp + exact.header).all()
    assert (rows.strong <= rows.webp_strong + rows.header).all() and (rows.strong < rows.png).all()
    reduced = rows[rows.reduced]
    assert len(reduced) and (reduced.after <= reduced.before).all()
    assert (reduced.after_rmse**2 < 0.7 * reduced.rmse**2).all()
    assert (reduced.after_ms_ssim.dropna() > reduced.ms_ssim.dropna()).all()
    other = rows[~rows.lossless & ~rows.reduced]
    assert (other.after == other.before).all() and (other.after_rmse == other.rmse).all()
    assert (exact.after_rmse == 0).all() and not (rows.lossless & rows.reduced).any()
    assert set(exact.quality[exact.picture == "text"]) == {30, 40, 50, 100}


def test_the_study(shipped, monkeypatch):
    monkeypatch.setattr(measure, "PICTURES", {"text": icon, "plot": icon})
    monkeypatch.setattr(measure, "QUALITIES", (0, 100))
    rows = measure.sizes(shipped)
    out = io.BytesIO()
    icon().save(out, "WEBP", lossless=True)
    assert rows.lossless.tolist() == 2 * [False, True] and set(rows.webp) == {len(out.getvalue())}
    lossy = shipped.encode(icon(), quality=0, lossless=False)
    seen = measure.rgba(icon())
    error = (measure.rgba(shipped.decode(lossy)) - seen)[..., :3]
    assert (rows.before[0], rows.max_error[0]) == (len(lossy), np.abs(error).max())
    assert rows.after[1] == len(shipped.encode(icon(), lossless=True)) < rows.before[1]
    assert not rows.reduced[1] and rows.after_rmse[1] == 0 < rows.rmse[1]
    bits = 8 / (icon().width * icon().height)
    assert (rows.cost_before > rows.before * bits).all() and rows.cost_exact[0] == round(rows.strong[0] * bits, 4)
    monkeypatch.setattr(measure, "PHOTOGRAPHS", ())
    monkeypatch.setattr(measure, "TRIED", (0, 100))
    tried = measure.tries(shipped, repeats=1)
    assert tried.lossless.tolist() == 2 * [False, True] and (tried.ratio > 0).all()


def test_pictures_are_the_same_each_time():
    for name, make in PICTURES.items():
        first, again = np.asarray(make()), np.asarray(make())
        assert (first == again).all() and len(np.unique(first)) > 1, name
    hidden = np.asarray(Image.fromarray(np.full((1, 1, 4), (9, 8, 7, 0), np.uint8)))
    assert (measure.rgba(Image.fromarray(hidden)) == 0).all()
