"""The tables of README.md and docs are those that benchmarks/report/readme.py makes from the committed results."""

import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.report.readme import NOT_MEASURED, ROOT, TABLES, decoders, filled, pages, speed, speed_of_rivals
from codec import manifest, zoo

PAGES = [page for page in pages() if "<!-- table:" in page.read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_page_is_up_to_date(page: Path) -> None:
    text = page.read_text()
    assert filled(text, ROOT / "results") == text, "run: python -m benchmarks.report.readme"


def test_every_marker_is_closed_and_known() -> None:
    found = []
    for page in PAGES:
        text = page.read_text()
        names = re.findall(r"<!-- table:(\w+) -->", text)
        assert len(names) == text.count("<!-- /table -->")
        assert not re.search(r"@[A-Za-z]+@", text)
        found += names
    assert sorted(found) == sorted(TABLES)


def test_the_readme_is_short_and_has_the_headline_table_alone() -> None:
    text = (ROOT / "README.md").read_text()
    assert re.findall(r"<!-- table:(\w+) -->", text) == ["kodak"] and NOT_MEASURED not in text
    lines = text.splitlines()
    assert len(lines) <= 130
    assert not [line for line in lines if len(line) > 112 and not line.startswith(("|", "!"))]


def test_a_table_of_other_weights_is_left_out(tmp_path: Path) -> None:
    assert decoders(tmp_path) is None
    shipped = manifest.read()
    now = zoo.weights_hash(shipped, "ldm", shipped.default)
    frame = pd.DataFrame(
        {"decoder": ["ldm"], "bits_per_dim": 0.01, "rmse": 15.0, "rmse_minus_vq_low": 0.5, "rmse_minus_vq_high": 0.75}
    )
    (tmp_path / "kodak").mkdir()
    for digest in (now, "00000000"):
        frame.assign(version=f"codec 0.1.0, model {shipped.default}, ldm {digest}, 1 step, effort 1").to_csv(
            tmp_path / "kodak" / "decoders.csv", index=False
        )
        table = decoders(tmp_path)
        if digest == now:
            assert table.RMSE.tolist() == ["15.00 (+0.50 to +0.75)"]
        else:
            assert table is None and NOT_MEASURED in filled("<!-- table:decoders --><!-- /table -->", tmp_path)


def test_a_stale_table_is_replaced(tmp_path: Path) -> None:
    frame = pd.DataFrame({"effort": [1, 9], "images": 8, "cpu_s": [0.512, 15.04], "bd_rate_percent": [0.0, -5.54], "bd_rate_low": [0.0, -6.1], "bd_rate_high": [0.0, -5.0],
                          "bpg_bd_rate_percent": [5.0, -0.84], "bpg_bd_rate_low": 1.0, "bpg_bd_rate_high": 9.0,
                          "overlap_percent": [100.0, 90.0], "bpg_overlap_percent": [80.0, 43.0]})  # fmt: skip
    frame.to_csv(tmp_path / "effort_bd.csv", index=False)
    new = filled("Before\n<!-- table:effort -->\n| 1 |\n<!-- /table -->\nafter\n", tmp_path)
    assert new.startswith("Before\n<!-- table:effort -->\n| effort |")
    assert new.endswith("|\n\n† The curves share less than 50 % of the anchor's range.\n<!-- /table -->\nafter\n")
    assert (
        "-5.5 (-6.1 to -5.0)" in new
        and "-0.8 (+1.0 to +9.0) † |" in new
        and "| 1 |\n" not in new
        and new.count("†") == 2
    )


def test_times_stand_beside_the_size_of_the_file(tmp_path: Path) -> None:
    """A file of WebP that was seven times as large stood beside ours without a word."""
    columns = ["codec", "direction", "decoder", "threads", "seconds", "bytes", "peak_mb", "kmac_per_pixel"]
    lines = [
        (codec, "encode", None, 1, 0.1, size, 1, 1.0)
        for codec, size in (("ours", 5476), ("webp", 37974), ("avif", 47860))
    ]
    ratios = {f"ratio_{peer}": 1.0 for peer in ("hyperprior", "webp", "avif")}
    pd.DataFrame(lines, columns=columns).assign(**ratios).to_csv(tmp_path / "speed.csv", index=False)
    assert speed(tmp_path)["kB: ours, WebP, AVIF"].tolist() == ["5.5, 38.0, 47.9"]
    found = speed_of_rivals(ROOT / "results").set_index("codec").kB
    assert float(found["jpeg"].iloc[0]) > float(found["ours"].iloc[0]) > 1
    assert set(found["cheng2020-anchor"]) == {""}  # its weights are random
