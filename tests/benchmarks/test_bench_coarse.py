"""benchmarks/speed/coarse.py on one small picture: its rows. No time is compared."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.report.readme import coarse as table
from benchmarks.speed import coarse as speed


def test_rows(tmp_path, photo, capsys):
    (tmp_path / "in").mkdir()
    Image.fromarray(photo[:48, :64]).save(tmp_path / "in" / "a.png")
    words = ["--images", tmp_path / "in", "--qualities", "60", "--repeats", "1", "--out", tmp_path / "coarse"]
    assert speed.main([str(word) for word in words]) == 0
    rows = pd.read_csv(tmp_path / "coarse.csv")
    assert list(rows.columns) == list(speed.COLUMNS) and list(rows.factor) == [2, 4, 8, 16]
    assert rows.share_of_file.is_monotonic_decreasing and rows.share_of_file.iloc[0] == 1
    assert (rows.rmse_to_whole < 8).all() and (rows.onnx_ratio > 0).all() and (rows.torch_ratio > 0).all()
    assert (tmp_path / "coarse.json").is_file() and len(table(tmp_path)) == 4


def test_errors_are_of_means_over_squares():
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    small = speed.reduced(pixels, 2)
    assert small.shape == (2, 2, 3) and small[0, 0, 0] == np.mean([0, 3, 12, 15])
    assert speed.rmse(small, small + 2) == pytest.approx(2)


def test_one_sentence_without_pictures(tmp_path):
    with pytest.raises(SystemExit, match="no images in this folder"):
        speed.main(["--images", str(tmp_path), "--out", str(tmp_path / "coarse")])
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="2"):
        speed.main(["--repeats", "0"])
