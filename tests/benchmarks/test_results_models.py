"""Every committed table says of which model it is, and no table mixes models without saying so."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.analysis.models import find, wrong_models
from benchmarks.harness.errors import BenchmarkError
from benchmarks.report import tables
from codec import manifest

RESULTS = Path(__file__).parents[2] / "results"
SHIPPED = manifest.read().default


def test_the_committed_tables_are_of_the_shipped_model_or_say_of_which() -> None:
    assert wrong_models(RESULTS, SHIPPED) == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The committed tables, to be spoiled."""
    for path in RESULTS.rglob("*.csv"):
        target = tmp_path / path.relative_to(RESULTS)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def test_another_model_in_a_table_is_found(copy: Path) -> None:
    path = copy / "effort.csv"
    text = path.read_text()
    path.write_text(text.replace(f"model {SHIPPED},", "model 3,", 1))
    shutil.move(copy / "model-1" / "ablations.csv", copy / "ablations.csv")
    shutil.move(copy / "speed.csv", copy / "model-2" / "speed.csv")
    assert wrong_models(copy, SHIPPED) == [
        "ablations.csv: neither a column version nor models.csv says of which model it is",
        "effort.csv: rows of model 3 beside its own",
        "speed.csv: models.csv names a table that is not there",
    ]


def test_a_table_that_cannot_be_read_is_one_sentence_and_the_others_are_looked_at(copy: Path) -> None:
    (copy / "effort.csv").write_text("\n")
    shutil.copy(copy / "model-1" / "ablations.csv", copy / "ablations.csv")
    first, second = wrong_models(copy, SHIPPED)
    assert first.startswith("ablations.csv: neither") and "effort.csv cannot be read as a table" in second
    (copy / "models.csv").write_text("a\n1\n")
    with pytest.raises(BenchmarkError, match="does not have the columns table, model and of"):
        wrong_models(copy, SHIPPED)


def test_a_register_that_is_behind_is_found(copy: Path) -> None:
    path = copy / "models.csv"
    path.write_text(path.read_text().replace(f"\nspeed.csv,{SHIPPED},", "\nspeed.csv,3,"))
    assert wrong_models(copy, SHIPPED) == ["speed.csv: models.csv calls model 3 the shipped one"]


def test_a_new_default_makes_the_tables_of_the_old_one_wrong() -> None:
    assert any(sentence.startswith("kodak/rd.csv") for sentence in wrong_models(RESULTS, SHIPPED + 1))


def test_what_is_made_of_an_older_models_table_says_so(copy: Path) -> None:
    assert find(copy, "ablations.csv") == (copy / "model-1" / "ablations.csv", 1)
    assert set(tables.TABLES["ablations"](copy).model) == {"1"}
    pd.read_csv(copy / "model-1" / "ablations.csv").to_csv(copy / "ablations.csv", index=False)
    assert find(copy, "ablations.csv") == (copy / "ablations.csv", None)
    assert "model" not in tables.TABLES["ablations"](copy)
