"""Everything measured again: what of it, when, and what is kept of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.analysis.models import SHIPPED, wrong_models
from benchmarks.renew import __main__ as command
from benchmarks.renew.state import DONE, Marks, digests
from benchmarks.renew.steps import STEPS, Step
from codec import manifest
from codec.manifest import NAME, package_folder

ROOT = Path(__file__).parents[2]
MODEL = manifest.read().default
ROW = "from pathlib import Path; p = Path('{table}'); p.write_text((p.read_text() if p.is_file() else '') + 'row\\n')"


def step(name: str, *, of: tuple[str, ...] = ("base",), code: str = "pass", **others) -> Step:
    return Step(name, (f'-c "{code}"',), of, 1, **others)


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    """A folder with results of an older model."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "models.csv").write_text('table,model,of\na.csv,3,"one, two"\nb.csv,3,other\n')
    for name in "ab":
        (tmp_path / "results" / f"{name}.csv").write_text("x\n1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "LAST", ())
    return tmp_path


def called(monkeypatch, steps: list[Step], *arguments: str) -> int:
    monkeypatch.setattr(command, "STEPS", tuple(steps))
    monkeypatch.setattr(sys, "argv", ["renew", "--jobs", "2", *arguments])
    return command.main()


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
    monkeypatch.setattr(command, "package_folder", lambda: place)
    capsys.readouterr()
    called(monkeypatch, steps, "--list")
    assert capsys.readouterr().out.split(":")[0] == "pictures"


def test_a_step_that_fails_is_named_and_the_others_go_on(place, monkeypatch, capsys):
    steps = [
        step("bad", code="1 / 0", tables=("a.csv",)),
        step("good", code=ROW.format(table="good"), tables=("b.csv",)),
    ]
    assert called(monkeypatch, steps) == 1
    said = capsys.readouterr()
    assert "bad failed" in said.out and "bad is of other weights" in said.out and said.err.count("bad failed") == 1
    assert "ZeroDivisionError" in (place / "runs/renew/bad.log").read_text()
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
    called(monkeypatch, [Step("pictures", ("-c pass {held_out} {hub}",), ("base",), 1), step("other")], "--list")
    said = capsys.readouterr()
    assert "pictures is left out: it needs --photos and --weights-cache" in said.err and said.out.startswith("other")


def test_what_was_left_out_is_named_at_the_end(place, monkeypatch, capsys):
    steps = [step("one"), step("two")]
    assert called(monkeypatch, steps, "--only", "one") == 1 and "two is of other weights" in capsys.readouterr().out


def test_a_report_that_failed_is_made_the_next_time(place, monkeypatch, capsys):
    monkeypatch.setattr(command, "LAST", ('-c "1 / 0"',))
    assert called(monkeypatch, [step("one")]) == 1 and "failed" in capsys.readouterr().out
    monkeypatch.setattr(command, "LAST", (f'-c "{ROW.format(table="report")}"',))
    for _ in range(2):
        called(monkeypatch, [step("one")])
    assert (place / "report").read_text() == "row\n"


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"one": 3}', "\udcff"])
def test_marks_that_cannot_be_read_are_one_sentence(text: str, place: Path, monkeypatch) -> None:
    path = place / "results" / DONE
    path.write_text(text, errors="surrogateescape")
    before = path.read_bytes()
    with pytest.raises(SystemExit, match=r"results/renewed\.json does not hold what was measured"):
        called(monkeypatch, [step("one")], "--list")
    assert path.read_bytes() == before


def test_a_file_in_the_place_of_the_folder_for_logs_is_one_sentence(place: Path, monkeypatch) -> None:
    (place / "file").touch()
    with pytest.raises(SystemExit, match="cannot open file: File exists"):
        called(monkeypatch, [step("one")], "--out", "file")


def test_a_step_that_takes_all_cores_runs_alone(place, monkeypatch):
    code = "import time, pathlib; p = pathlib.Path('{0}'); p.touch(); time.sleep(.4); n = len(list(pathlib.Path('.').glob('at-*'))); pathlib.Path('saw-{0}').write_text(str(n)); p.unlink()"
    names = "at-1", "at-whole", "at-2", "at-3"
    called(monkeypatch, [step(n, code=code.format(n), whole=n == "at-whole") for n in names])
    seen = {n: int((place / f"saw-{n}").read_text()) for n in names}
    assert seen["at-whole"] == 1 and max(seen.values()) == 2


def test_tables_measured_elsewhere_are_kept_and_what_is_left_over_goes(place, monkeypatch, capsys):
    names = "('rd.csv', 'mean.csv', 'bd.csv', 'run.json')"
    code = f"from pathlib import Path; Path('runs/set').mkdir(parents=True, exist_ok=True); [(Path('runs/set') / n).write_text(n) for n in {names}]; Path('results/old.csv').touch()"
    called(monkeypatch, [step("set", code=code, copies=(("runs/set", "sets/one"),), gone=("old.csv",))])
    assert (place / "results/sets/one/bd.csv").read_text() == "bd.csv" and not (place / "results/old.csv").exists()
    assert called(monkeypatch, [step("none", copies=(("runs/nothing", "sets/two"),))]) == 1
    assert "none failed" in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupt_stops_the_commands_and_is_one_sentence(place):
    (place / "long.py").write_text("import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)")
    (place / "run.py").write_text(
        "import sys; from benchmarks.renew import __main__ as m; from benchmarks.renew.steps import Step;"
        "m.STEPS = tuple(Step(n, ('long.py',), ('base',), 1) for n in 'ab'); sys.exit(m.main())"
    )
    given = [sys.executable, "run.py", "--jobs", "1"]
    run = subprocess.Popen(
        given, cwd=place, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    while not ((pid := place / "pid").is_file() and pid.read_text()):
        assert run.poll() is None
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    assert "interrupted" in run.communicate(timeout=60)[1].splitlines()[-1] and run.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_command_says_what_is_wrong(place, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        called(monkeypatch, [step("one")], "--only", "two")
    with pytest.raises(SystemExit):
        called(monkeypatch, [step("one")], "--jobs", "0")
    assert "unknown step 'two'" in capsys.readouterr().err
    (place / "results" / "models.csv").unlink()
    with pytest.raises(SystemExit):
        called(monkeypatch, [step("one")])
    assert "root of the repository" in capsys.readouterr().err


def test_the_committed_tables_were_renewed_with_the_shipped_weights(tmp_path):
    now = digests(json.loads((package_folder() / NAME).read_text()))
    inputs = dict.fromkeys(command.OPTIONS, "given")
    assert command.wanted(STEPS, inputs, Marks(ROOT / "results" / DONE), now) == []
    assert command.wanted(STEPS, inputs, Marks(tmp_path / "none"), now) == list(STEPS)


def test_every_table_that_names_its_model_is_renewed_or_registered():
    """What follows the weights is a step, what does not is a study of the model that models.csv names."""
    register = pd.read_csv(ROOT / "results" / "models.csv", dtype=str).set_index("table").of
    steps = {name for one in STEPS for name in one.tables}
    assert steps <= set(register.index)
    assert not [name for name, of in register.items() if SHIPPED in of and name not in steps | STUDIES]


STUDIES = {
    # of the architecture, or of machines: measured when those change
    "assignment.csv", "assignment_curvature.csv", "browser.csv", "dependencies.csv", "filters.csv", "memory.csv", "memory_before.csv",
    "narrow_prior.csv", "narrow_prior_speed.csv", "scale/checks.csv", "scale/throughput.csv", "search_share.csv", "speed_full.csv",
}  # fmt: skip


def test_all_tables_of_an_older_model_are_found_at_the_end(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("*.p*", "*.html"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "LAST", ())
    assert called(monkeypatch, []) == 0 and "all tables are of the weights" in capsys.readouterr().out
    path = tmp_path / "results" / "effort.csv"
    path.write_text(path.read_text().replace(f"model {MODEL},", "model 3,", 1))
    assert called(monkeypatch, []) == 1 and "effort.csv: rows of model 3" in capsys.readouterr().out
    assert wrong_models(tmp_path / "results", MODEL)
