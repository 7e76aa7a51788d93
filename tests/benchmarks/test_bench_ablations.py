"""Bjontegaard differences of the ablations."""

import pandas as pd
import pytest

from benchmarks.studies.ablations import report as ablations


def test_a_variant_with_more_bits_is_worse_by_so_much():
    rows = []
    for factor, variant, more in (
        ("reference", ablations.ANCHOR, 1.0),
        ("context", "worse", 1.25),
        ("start", "better", 0.9),
    ):
        for crop in range(3):
            for level in range(4):
                rows.append(
                    (factor, variant, 100, 1e9, 200, level, crop, more * (1 + crop) * 0.02 * 2**level, 16.0 / 2**level)
                )
    points = pd.DataFrame(
        rows, columns=["factor", "variant", "steps", "operations", "seconds", "level", "crop", "bits_per_dim", "rmse"]
    )
    found = ablations.table(points)
    assert list(found.variant) == ["worse", "better"] and list(found.factor) == ["context", "start"]
    assert list(found.bd_rate_percent) == pytest.approx([25, -10], abs=1e-6)
    assert (found.low <= found.bd_rate_percent + 1e-9).all() and (found.crops == 3).all()


def test_without_points_it_says_what_to_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["ablations", "--results", str(tmp_path)])
    with pytest.raises(SystemExit, match="ablations.measure"):
        ablations.main()
