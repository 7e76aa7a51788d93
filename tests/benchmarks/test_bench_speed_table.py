"""benchmarks/speed/table.py: a tiny run for real, what is resumed, its ratios. No time is compared with anything."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks.analysis.bdrate import Curve, shared_range
from benchmarks.harness.errors import BenchmarkError
from benchmarks.report import rate_time
from benchmarks.speed import table
from benchmarks.speed.table import Entry, Group

SMALL = (
    Group("tiny", 1, None, 2, tuple(Entry("jpeg", "", way) for way in ("encode", "decode"))),
    Group("search", 1, 0.002, 1, (Entry("ours", "numpy", "encode", "", 2), Entry("ours", "", "encode"), Entry("ours", "", "decode", "vq"))),
)  # fmt: skip


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    monkeypatch.setattr(table, "picture", lambda megapixels: picture)
    monkeypatch.setattr(table, "groups", lambda turns: list(SMALL))
    return tmp_path / "speed"


def lines(out) -> list[dict[str, str]]:
    with open(out.with_suffix(".csv")) as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_groups_are_measured_once_and_gone_on_with(tiny, capsys):
    arguments = ["--out", str(tiny), "--turns", "2"]
    assert table.main([*arguments, "--groups", "tiny"]) == 0
    first = lines(tiny)
    assert [(r["group"], r["codec"], r["direction"], r["repeats"]) for r in first] == [
        ("tiny", "jpeg", way, "2") for way in ("encode", "decode")
    ]
    assert float(first[0]["cold_s"]) >= float(first[0]["startup_s"]) and int(first[0]["bytes"]) > 300
    assert table.main([*arguments, "--minutes", "0"]) == 1
    assert "out of time before search" in capsys.readouterr().err and lines(tiny) == first
    assert table.main(arguments) == 0
    now = lines(tiny)
    assert now[:2] == first and [(r["variant"], r["direction"], r["effort"]) for r in now[2:]] == [
        ("numpy", "encode", "2"), ("", "encode", "1"), ("", "decode", ""),
    ]  # fmt: skip
    assert all(float(r["processor_s"]) > 0 and int(r["bytes"]) > 100 and r["cold_s"] == "" for r in now[2:])
    assert now[3]["bytes"] == now[4]["bytes"]
    assert json.loads(tiny.with_suffix(".json").read_text())["method"]["over_X"]


def test_ratios_are_of_the_same_turn_and_instructions():
    facts = {"bytes": 9, "startup_s": 1.0, "first_s": 0.5, "peak_mb": 2.0, "loaded_mb": 1.0}

    def worker(seconds):
        return SimpleNamespace(job=SimpleNamespace(brief=False), facts=facts, seconds=seconds, processor=[2 * s for s in seconds], joules=[None])  # fmt: skip

    ours, entry = worker([1.0, 8.0, 3.0]), Entry("ours", "avx2", "decode", "vq")
    others = [(Entry("hyperprior", "", "decode"), worker([9.0])), (Entry("hyperprior", "avx2", "decode"), worker([2.0, 2.0, 2.0])),
              (Entry("ours", "before", "decode", "vq"), worker([7.0])), (Entry("ours", "before-avx2", "decode", "vq"), worker([4.0, 4.0, 4.0]))]  # fmt: skip
    line = table.row(Group("g", 1, None, 3, ()), entry, ours, [(entry, ours), *others], (1000, 500))
    assert set(line) == set(table.COLUMNS)
    assert (line["over_hyperprior"], line["over_before"], line["processor_over_before"]) == (1.5, 0.75, 0.75)
    assert (line["seconds_per_megapixel"], line["cold_s"], line["joules"], line["effort"]) == (6, 1.5, None, None)


def test_the_plan():
    plan = {group.name: group for group in table.groups(5)}
    assert {entry.codec for entry in plan["small-1"].entries} == {"ours", *table.PEERS}
    assert {(e.variant, e.effort) for e in plan["efforts-1"].entries} == {
        (v, n) for v in ("", "before") for n in (2, 3, 5, 9)
    }
    assert [group.megapixels for group in plan.values() if group.megapixels] == [0.4, 2, 12, 48]
    assert table.SETTINGS["avx2"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"


def test_wrong_usage(capsys, tmp_path):
    for arguments in (["--groups", "none"], ["--turns", "1"], ["--before", str(tmp_path)]):
        with pytest.raises(SystemExit, match="2"):
            table.main(arguments)
    assert "is no checkout of this project" in capsys.readouterr().err


def test_the_figure_of_rate_and_time(tmp_path):
    (tmp_path / "kodak").mkdir()
    rates, rmse = np.array([0.05, 0.1, 0.2, 0.4]), np.array([16, 11, 8, 5.5])
    (tmp_path / "kodak" / "mean.csv").write_text(
        "codec,setting,bits_per_dim,psnr\n"
        + "".join(
            f"{codec},1,{rate * share},{20 * np.log10(255 / error)}\n"
            for codec, share in (("jpeg", 1), ("ours-vq", 0.25))
            for rate, error in zip(rates, rmse, strict=True)
        )
    )
    rows = [
        ("small-1", "ours", "", "decode", "vq", 0.5), ("small-1", "ours", "numpy", "decode", "vq", 0.6), ("small-1", "jpeg", "", "decode", "", 0.01),
        ("small-1", "ours", "", "decode", "ldm", 9), ("small-2", "jpeg", "", "decode", "", 9), ("small-1", "jpeg", "", "encode", "", 9),
        ("small-1", "mbt2018-mean", "", "decode", "", 0.4), ("small-1", "ours", "before", "decode", "vq", 9),
    ]  # fmt: skip
    names = ("group", "codec", "variant", "direction", "decoder", "seconds")
    with open(tmp_path / "speed_full.csv", "w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    found = rate_time.dots(tmp_path).table
    assert found.label.tolist() == ["ours", "ours, without numba", "jpeg", "mbt2018-mean"]
    assert found.seconds.tolist() == [0.5, 0.6, 0.01, 0.4]
    assert found.saved_percent[:3].tolist() == pytest.approx([75, 75, 0], abs=1e-6)
    assert 30 < found.saved_percent[3] < 90 and found.published.tolist() == [False, False, False, True]
    low, high = rate_time.dots(tmp_path).within
    assert low > 20 * np.log10(255 / 16) - 1e-9 and high < 20 * np.log10(255 / 5.5) + 1e-9
    (axes,) = rate_time.rate_time(tmp_path).axes
    assert f"at PSNR of {low:.1f} to {high:.1f} dB" in axes.get_ylabel()
    drawn = [x for line in rate_time.rate_time(tmp_path).axes[0].lines for x in line.get_xdata()]
    assert sorted(drawn) == [0.01, 0.4, 0.5, 0.6]


def test_savings_of_the_figure_are_over_a_range_that_all_curves_have(tmp_path):
    """The same curve with points of better pictures only seemed to save less: each was averaged over its own range."""
    (tmp_path / "kodak").mkdir()
    psnr, share = np.array([24, 28, 32, 36, 40.0]), np.array([0.2, 0.3, 0.5, 0.7, 0.9])
    curves = {"jpeg": (psnr, np.ones(5)), "ours-vq": (psnr, share), "webp": (psnr[2:], share[2:])}
    rows = [
        (c, 1, 2 ** (p / 6) * s / 100, p) for c, (many, less) in curves.items() for p, s in zip(many, less, strict=True)
    ]
    pd.DataFrame(rows, columns=["codec", "setting", "bits_per_dim", "psnr"]).to_csv(tmp_path / "kodak" / "mean.csv")
    timed = [("small-1", codec, "", "decode", "", 1.0) for codec in ("ours", "webp")]
    columns = ["group", "codec", "variant", "direction", "decoder", "seconds"]
    pd.DataFrame(timed, columns=columns).to_csv(tmp_path / "speed_full.csv")
    found = rate_time.dots(tmp_path)
    assert found.within == pytest.approx((32, 40))
    assert found.table.saved_percent[0] == pytest.approx(found.table.saved_percent[1], abs=1.0)
    with pytest.raises(BenchmarkError, match="do not all share a range"):
        shared_range([Curve(np.array([1, 2.0]), np.array([9, 8.0])), Curve(np.array([1, 2.0]), np.array([5, 4.0]))])
