"""A model's files beside those of the model before."""

import pandas as pd
import pytest

from benchmarks.studies import succession


def table(path, model: int, rows: list[tuple]) -> str:
    names = ["codec", "setting", "image_hash", "bytes", "rmse"]
    found = pd.DataFrame(rows, columns=names)
    found["version"] = [f"codec 0.1.0, model {model}, vq" if c.startswith("ours") else "1" for c in found.codec]
    found.to_csv(path, index=False)
    return str(path)


def test_change_of_bytes_by_quality(tmp_path):
    old = [("ours-vq", "20", "a", 100, 5.0), ("ours-vq", "20", "b", 400, 7.0), ("ours-vq", "5", "a", 50, 9.0)]
    new = [("ours-vq", "20", "a", 90, 5.0), ("ours-vq", "20", "b", 360, 7.0), ("jpeg", "20", "a", 9, 9.0)]
    before, rows = table(tmp_path / "before.csv", 5, [*old, ("jpeg", "20", "a", 9, 9.0)]), tmp_path / "rd.csv"
    table(rows, 6, new)
    out = tmp_path / "out.csv"
    succession.main(["--before", before, "--rows", str(rows), "--out", str(out)])
    (row,) = pd.read_csv(out).to_dict("records")
    assert row["bytes_percent"] == pytest.approx(-10) and (row["bytes_before"], row["bytes"]) == (250, 225)
    assert (row["model_before"], row["model"], row["pictures"], row["quality"]) == (5, 6, 2, 20)
    assert row["rmse"] == row["rmse_before"] == 6


def test_tables_that_share_nothing_or_are_not_there_are_refused(tmp_path):
    before = table(tmp_path / "before.csv", 5, [("ours-vq", "20", "a", 100, 5.0)])
    rows = table(tmp_path / "rd.csv", 6, [("ours-vq", "30", "a", 100, 5.0)])
    with pytest.raises(SystemExit, match="share no picture"):
        succession.main(["--before", before, "--rows", rows, "--out", str(tmp_path / "out.csv")])
    with pytest.raises(SystemExit, match=r"missing.csv"):
        succession.main(["--before", str(tmp_path / "missing.csv"), "--rows", rows])
