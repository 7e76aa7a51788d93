"""Everything measured again: what of it, when, and what is kept of it."""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import renew
from benchmarks.analysis.models import wrong_models
from codec import manifest
from codec.manifest import NAME, package_folder

ROOT = Path(__file__).parents[2]
MODEL = manifest.read().default
ROW = "from pathlib import Path; p = Path('{table}'); p.write_text((p.read_text() if p.is_file() else '') + 'row\\n')"


def step(name: str, *, of: tuple[str, ...] = ("base",), code: str = "pass", **others) -> renew.Step:
    return renew.Step(name, (f'-c "{code}"',), of, 1, **others)


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    """A folder with results of an older model."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "models.csv").write_text('table,model,of\na.csv,3,"one, two"\nb.csv,3,other\n')
    for name in "ab":
        (tmp_path / "results" / f"{name}.csv").write_text("x\n1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(renew, "LAST", ())
    return tmp_path


def called(monkeypatch, steps: list[renew.Step], *arguments: str) -> int:
    monkeypatch.setattr(renew, "STEPS", tuple(steps))
    monkeypatch.setattr(sys, "argv", ["renew", "--jobs", "2", *arguments])
    return renew.main()


def test_what_was_measured_is_registered_and_not_measured_again(place, monkeypatch, capsys):
    steps = [
        step("first", code=ROW.format(table="first"), tables=("a.csv",)),
        step("second", code=ROW.format(table="second")),
    ]
    called(monkeypatch, steps)
    called(monkeypatch, steps)
    assert (place / "first").read_text() == "row\n" == (place / "second").read_text()
    found = pd.read_csv(place / "results" / "models.csv", dtype=str).set_index("table")
    assert found.model.to_dict() == {"a.csv": str(MODEL), "b.csv": "3"} and found.of["a.csv"] == "one, two"
    assert (place / "results" / "models.csv").read_text().startswith(f'table,model,of\na.csv,{MODEL},"one, two"\n')
    capsys.readouterr()
    assert called(monkeypatch, steps, "--list") == 0 and "nothing is to be done" in capsys.readouterr().out


def test_other_weights_of_a_kind_renew_what_depends_on_them(place, monkeypatch, capsys):
    steps = [step("files"), step("pictures", of=("base", "semantic"))]
    called(monkeypatch, steps)
    real = json.loads((package_folder() / NAME).read_text())
    name = next(n for n, e in real["semantic"].items() if e["model"] == real["default"])
    real["semantic"][name]["sha256"] = "0" * 64
    (place / NAME).write_text(json.dumps(real))
    monkeypatch.setattr(renew, "package_folder", lambda: place)
    capsys.readouterr()
    called(monkeypatch, steps, "--list")
    assert capsys.readouterr().out.split(":")[0] == "pictures"


def test_a_step_that_fails_is_named_and_the_others_go_on(place, monkeypatch, capsys):
    steps = [
        step("bad", code="1 / 0", tables=("a.csv",)),
        step("good", code=ROW.format(table="good"), tables=("b.csv",)),
    ]
    assert called(monkeypatch, steps) == 1
    assert "bad failed" in capsys.readouterr().out and "ZeroDivisionError" in (place / "runs/renew/bad.log").read_text()
    found = pd.read_csv(place / "results" / "models.csv", dtype=str).set_index("table").model
    assert found.to_dict() == {"a.csv": "3", "b.csv": str(MODEL)}
    called(monkeypatch, [step("bad", code=ROW.format(table="now"), tables=("a.csv",)), steps[1]])
    assert (place / "now").is_file() and (place / "good").read_text() == "row\n"


def test_rows_of_older_weights_go_once_and_others_stay(place, monkeypatch):
    """A step that was interrupted keeps the rows that it has."""
    table = "results/merged.csv"
    (place / table).write_text("old\n")
    (place / "results" / "models.csv").write_text("table,model,of\na.csv,3,x\nb.csv,3,x\nmerged.csv,3,x\n")
    code = ROW.format(table=table) + "; q = Path('again'); done = q.is_file(); q.write_text(''); 1 / done"
    called(monkeypatch, [step("merged", code=code, anew=("merged.csv",))])
    called(monkeypatch, [step("merged", code=code, anew=("merged.csv",))])
    assert (place / table).read_text() == "row\nrow\n"


def test_what_needs_an_input_that_is_not_named_is_left_out(place, monkeypatch, capsys):
    called(monkeypatch, [renew.Step("pictures", ("-c pass {photos} {hub}",), ("base",), 1), step("other")], "--list")
    said = capsys.readouterr()
    assert "pictures is left out: it needs --photos and --weights-cache" in said.err and said.out.startswith("other")


def test_the_command_says_what_is_wrong(place, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        called(monkeypatch, [step("one")], "--only", "two")
    assert "unknown step 'two'" in capsys.readouterr().err
    (place / "results" / "models.csv").unlink()
    with pytest.raises(SystemExit):
        called(monkeypatch, [step("one")])
    assert "root of the repository" in capsys.readouterr().err


def test_the_committed_tables_were_renewed_with_the_shipped_weights():
    now = renew.digests(json.loads((package_folder() / NAME).read_text()))
    inputs = dict.fromkeys(renew.OPTIONS, "given")
    assert renew.wanted(renew.STEPS, inputs, renew.read(ROOT / "results" / renew.DONE), now) == []
    assert renew.wanted(renew.STEPS, inputs, {}, now) == list(renew.STEPS)


def test_every_table_that_names_its_model_is_renewed_or_registered():
    """What follows the weights is a step, what does not is a study of the model that models.csv names."""
    register = pd.read_csv(ROOT / "results" / "models.csv", dtype=str).set_index("table").of
    steps = {name for one in renew.STEPS for name in one.tables}
    assert steps <= set(register.index)
    assert not [name for name, of in register.items() if "the shipped model" in of and name not in steps | STUDIES]


STUDIES = {
    # of the architecture, or of machines: measured when those change
    "assignment.csv", "assignment_curvature.csv", "browser.csv", "dependencies.csv", "filters.csv", "memory.csv", "memory_before.csv",
    "narrow_prior.csv", "narrow_prior_speed.csv", "scale/checks.csv", "scale/throughput.csv", "search_share.csv", "speed_full.csv",
}  # fmt: skip


def test_all_tables_of_an_older_model_are_found_at_the_end(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("*.p*", "*.html"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(renew, "LAST", ())
    assert called(monkeypatch, [step("one")]) == 0 and "all tables are of the weights" in capsys.readouterr().out
    path = tmp_path / "results" / "effort.csv"
    path.write_text(path.read_text().replace(f"model {MODEL},", "model 3,", 1))
    assert called(monkeypatch, [step("one")]) == 1 and "effort.csv: rows of model 3" in capsys.readouterr().out
    assert wrong_models(tmp_path / "results", MODEL)
