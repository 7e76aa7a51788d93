"""benchmarks/speed/browser.py on small pictures: its rows, and that it writes nothing when a decoder is wrong. No
time is compared."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.harness.chromium import PROGRAM
from benchmarks.report.readme import browser as table
from benchmarks.speed import browser as speed
from codec.view import assets

pytestmark = pytest.mark.slow

needs_page = pytest.mark.skipif(PROGRAM is None or not assets.built(), reason="no Chromium, or the page is not built")


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "SMALL", (64, 48))
    return ["--repeats", "1", "--qualities", "40", "--large", "0", "--out", str(tmp_path / "browser")]


@needs_page
def test_rows_of_the_same_file(small, tmp_path, capsys, monkeypatch):
    assert speed.main(small) == 0
    rows = pd.read_csv(tmp_path / "browser.csv")
    assert list(rows.columns) == list(speed.COLUMNS) and list(rows.decoder) == ["browser", "torch", "onnx"]
    assert rows.bytes.nunique() == 1 and (rows.peak_mb > 30).all() and (rows.first_s >= rows.seconds).all()
    assert rows.stall_ms[0] >= 0 and rows.progress_steps[0] >= 1
    assert rows.max_difference[0] <= 1 and rows.seconds[0] >= rows.codes_s[0] and (rows.processor_s > 0).all()
    assert list(table(tmp_path).decoder) == ["browser", "onnx", "torch"]


def test_rows_of_other_files_stay(tmp_path):
    path = tmp_path / "browser.csv"
    path.write_text("decoder,width,quality,seconds\nbrowser,768,25,1\nbrowser,4000,50,9\n")
    rows = speed.merged(path, [{"decoder": "browser", "width": 768, "quality": q, "seconds": 2} for q in (10, 25)])
    assert [(int(r["width"]), int(r["quality"]), int(r["seconds"])) for r in rows] == [
        (768, 10, 2),
        (768, 25, 2),
        (4000, 50, 9),
    ]


def test_windows_of_the_photograph_differ():
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8))
    cuts = [np.asarray(speed.window(photo, (48, 32), k)) for k in range(6)]
    assert all(cut.shape == (32, 48, 3) for cut in cuts) and not np.array_equal(cuts[0], cuts[5])


def test_without_the_page_one_sentence(small, monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "PROGRAM", "chromium")
    monkeypatch.setattr(speed.assets, "built", lambda: False)
    with pytest.raises(SystemExit, match="view --build"):
        speed.main(small)
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="2"):
        speed.main(["--repeats", "0", "--large", "0"])
