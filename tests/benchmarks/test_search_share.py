"""The choice of the search's weight: rows of crops, a run that goes on, and the table made of them."""

import sys

import matplotlib.cbook
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.studies.search_share import measure as search_share
from benchmarks.studies.search_share.report import table
from codec.coding import search as refine
from codec.training.data.held_out import EVERY


@pytest.fixture
def photo() -> Image.Image:
    """A whole photograph; that of the other benchmark tests is a small piece."""
    return Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")


def test_a_search_is_measured_as_the_codec_does_it(shipped, photo, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for k in range(EVERY + 1):  # the first and the last are held out
        photo.crop((0, k, 300, 300 + k)).save(tmp_path / "photos" / f"{k:02d}.png")
    monkeypatch.setattr(search_share, "LEVELS", (2880,))
    monkeypatch.setattr(search_share, "SHARES", (0.6,))
    monkeypatch.setattr(refine, "PLANS", (refine.Plan(0), refine.Plan(1)))
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "search_share",
            "--data",
            str(tmp_path / "photos"),
            "--cache",
            str(tmp_path / "cache"),
            "--count",
            "1",
            "--out",
            str(tmp_path / "out"),
        ],
    )
    search_share.main()
    rows = pd.read_csv(tmp_path / "out" / "search_share.csv")
    assert len(rows) == 2 and set(rows.search) == {"effort 1", "share 0.6"}
    crop = np.asarray(photo.crop((0, 0, 300, 300)))[22:278, 22:278]
    data = shipped.encode(crop, quality=45)
    own = rows[rows.search == "effort 1"].iloc[0]
    assert own.bits_per_dim == pytest.approx(8 * len(data) / crop.size, rel=0.04)
    assert own.rmse == pytest.approx(
        np.sqrt(np.square(shipped.decode_array(data).astype(float) - crop).mean()), rel=1e-3
    )
    before = (tmp_path / "out" / "search_share.csv").read_bytes()
    monkeypatch.setattr(search_share, "measure", lambda *_: pytest.fail("this was measured already"))
    search_share.main()
    assert (tmp_path / "out" / "search_share.csv").read_bytes() == before


def test_shares_against_effort_1():
    rate = np.array([0.01, 0.03, 0.1, 0.3])
    rows = pd.concat(pd.DataFrame({"crop": crop, "level": range(4), "search": name, "bits_per_dim": f * rate, "rmse": 20 / (1 + 10 * rate)})
                     for crop in range(3) for name, f in (("effort 1", 1.0), ("share 0.6", 0.9)))  # fmt: skip
    found = table(rows).set_index("search")
    assert found.crops.tolist() == [3, 3] and found.bd_rate_percent["share 0.6"] == pytest.approx(-10, abs=1e-3)
