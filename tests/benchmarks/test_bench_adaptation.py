"""Runs of adaptation are set against one another step by step."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.studies import adaptation


def test_a_tenth_fewer_bits_is_ten_percent(tmp_path, monkeypatch, capsys):
    level, rate = np.arange(4), np.array([0.01, 0.03, 0.1, 0.3])
    for name, factors in (("a", (1.0, 0.8)), ("b", (0.9, 0.88))):
        (tmp_path / name).mkdir()
        rows = [
            pd.DataFrame({"step": s, "level": level, "bits_per_dim": f * rate, "rmse": 20 - 5 * level, "seconds": 1.0})
            for s, f in zip((10, 20), factors, strict=True)
        ]
        pd.concat(rows).to_csv(tmp_path / name / "validation.csv", index=False)
        (tmp_path / name / "config.json").write_text(json.dumps({"steps": 20, "quantizer": name}))
    command = ["adaptation", f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}", "--results", str(tmp_path)]
    monkeypatch.setattr("sys.argv", command)
    adaptation.main()
    found = pd.read_csv(tmp_path / "adaptation.csv")
    assert len(found) == 16
    bd = found.groupby(["quantizer", "step"]).bd_rate_percent.first()
    np.testing.assert_allclose([bd["a", 10], bd["a", 20], bd["b", 10], bd["b", 20]], [0, 0, -10, 10], atol=1e-3)
    (tmp_path / "b" / "config.json").write_text(json.dumps({"steps": 30, "quantizer": "b"}))
    with pytest.raises(SystemExit, match="same settings"):
        adaptation.main()
    monkeypatch.setattr("sys.argv", ["adaptation", f"a={tmp_path / 'c'}"])
    with pytest.raises(SystemExit, match="there is no"):
        adaptation.main()
