"""The tables of README.md are those that benchmarks/report/readme.py makes from the committed results."""

import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.report.readme import TABLES, filled

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "README.md").read_text()


def test_readme_is_up_to_date(text: str) -> None:
    assert filled(text, ROOT / "results") == text, "run: python benchmarks/report/readme.py"


def test_every_marker_is_closed_and_known(text: str) -> None:
    names = re.findall(r"<!-- table:(\w+) -->", text)
    assert {"kodak", "quantisers", "speed", "effort"} <= set(names) <= set(TABLES)
    assert len(names) == len(set(names)) == text.count("<!-- /table -->")
    assert not re.search(r"@[A-Z]+@", text)


def test_a_stale_table_is_replaced(tmp_path: Path) -> None:
    frame = pd.DataFrame({"effort": [1, 9], "images": 8, "cpu_s": [0.512, 15.04], "bd_rate_percent": [0.0, -5.54], "bd_rate_low": [0.0, -6.1], "bd_rate_high": [0.0, -5.0],
                          "bpg_bd_rate_percent": [5.0, -0.84], "bpg_bd_rate_low": 1.0, "bpg_bd_rate_high": 9.0})  # fmt: skip
    frame.to_csv(tmp_path / "effort_bd.csv", index=False)
    new = filled("Before\n<!-- table:effort -->\n| 1 |\n<!-- /table -->\nafter\n", tmp_path)
    assert new.startswith("Before\n<!-- table:effort -->\n| effort |") and new.endswith("|\n<!-- /table -->\nafter\n")
    assert "-5.5 (-6.1 to -5.0)" in new and "-0.8 (+1.0 to +9.0)" in new and "| 1 |\n" not in new
