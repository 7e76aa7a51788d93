"""Commands of the benchmarks end with a sentence where they are given what cannot be used, and leave tables alone."""

import ast
import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest

import benchmarks
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.told import count, qualities, told
from codec.errors import PictureError

ROOT = Path(benchmarks.__file__).parent
OF_ITS_OWN = {"rd_curve.py", "speed/worker.py"}  # tells on its own, is started by another command
REFUSALS = [
    ("estimate", "--images missing --out table.csv", "missing: there is no such folder"),
    ("estimate", "--images empty --out table.csv", "empty: no images in this folder"),
    ("estimate", "--images bad --out table.csv", "bad/x.png: cannot be read as a picture"),
    ("effort", "--images missing", "missing: there is no such folder"),
    ("effort", "--images empty", "empty: no images in this folder"),
    ("effort", "--images pictures --efforts 2 --out new", "effort 1, which the others are compared with"),
    ("emphasis", "--images missing --weights-cache empty", "missing: there is no such folder"),
    ("precision", "--images missing", "missing: there is no such folder"),
    ("precision", "--images empty", "empty: no images in this folder"),
    ("precision", "--images pictures --decoders vq,wizard --out new", "there is no decoder 'wizard' (there are: vq"),
    ("precision", "--images pictures --decoders vq --out new", "a.png: both sides need 161 pixels, for MS-SSIM"),
    ("rivals", "--results missing", "cannot open missing/kodak/mean.csv"),
    ("narrow_prior", "--data empty --cache empty --run missing", "cannot open missing/narrow.pt"),
    ("search_share.report", "--results .", "search_share.csv cannot be read as a table"),
]


@pytest.fixture
def place(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: pictures, an empty folder, one with a file that is no picture, a table."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(bytes(300))
    (tmp_path / "table.csv").write_text("a\n1\n")
    (tmp_path / "search_share.csv").write_text("\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("study", "words", "sentence"), REFUSALS)
def test_a_study_tells_what_it_cannot_use(study, words, sentence, place: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", [study, *words.split()])
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"benchmarks.studies.{study}").main()
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert (place / "table.csv").read_text() == "a\n1\n" and not (place / "new").exists()


@pytest.mark.parametrize("words", ["--efforts 12", "--efforts x", "--every 0"])
def test_wrong_numbers_are_wrong_usage(words: str, place: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["effort", "--images", "pictures", *words.split()])
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module("benchmarks.studies.effort").main()
    assert words.split()[0] in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("words", ["--pictures 0", "--size x", "--size 9", "--turns 0", "--engines boat"])
def test_throughput_refuses_what_it_cannot_divide_by(words: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["throughput", "--out", "none.csv", *words.split()])
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module("benchmarks.scale.throughput").main()
    assert words.split()[0] in capsys.readouterr().err.splitlines()[-1]


def commands() -> list[Path]:
    return [path for path in ROOT.rglob("*.py") if 'if __name__ == "__main__":' in path.read_text()]


def test_every_command_is_told() -> None:
    found = {}
    for path in commands():
        mains = [node for node in ast.parse(path.read_text()).body if getattr(node, "name", "") == "main"]
        found[path.relative_to(ROOT).as_posix()] = [ast.unparse(d) for main in mains for d in main.decorator_list]
    assert len(found) > 30
    assert {name for name, decorators in found.items() if decorators != ["told"]} == OF_ITS_OWN


def test_told_says_what_happened_and_nothing_else() -> None:
    def refused(error: BaseException) -> str:
        @told
        def main() -> None:
            raise error

        with pytest.raises(SystemExit) as caught:
            main()
        return str(caught.value)

    assert refused(BenchmarkError("no tool")) == "no tool" and refused(PictureError("no picture")) == "no picture"
    assert refused(FileNotFoundError(2, "No such file", "a.csv")) == "cannot open a.csv: No such file"
    assert refused(KeyboardInterrupt()).startswith("interrupted")
    with pytest.raises(ZeroDivisionError):  # a fault of ours keeps its traceback
        told(lambda: 1 // 0)()


def test_numbers() -> None:
    assert count("3") == 3 and qualities("0,42.5,100") == [0, 42.5, 100]
    for kind, text in (
        (count, "0"),
        (count, "x"),
        (count, "-1"),
        (qualities, "101"),
        (qualities, "1,"),
        (qualities, "nan"),
    ):
        with pytest.raises(Exception, match=text):
            kind(text)


@pytest.mark.parametrize("data", [b"", b"\n", b"a,b\n1,2\n1,2,3\n", b"\xff\xfe\x80\n\x81"])
def test_a_file_that_is_no_table_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(BenchmarkError, match=r"t\.csv cannot be read as a table \(.+\)$"):
        read_frame(tmp_path / "t.csv")


def test_a_table_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "t.csv"
    write_frame(pd.DataFrame({"a": [1 / 3]}), path, "%.3g")
    assert path.read_bytes() == b"a\n0.333\n"

    def broken(self: pd.DataFrame, path: Path, **options: object) -> None:
        path.write_text("a\n")
        raise OSError(28, "No space left", str(path))

    monkeypatch.setattr(pd.DataFrame, "to_csv", broken)
    with pytest.raises(OSError, match="No space"):
        write_frame(pd.DataFrame({"a": [1]}), path)
    assert path.read_bytes() == b"a\n0.333\n" and list(path.parent.iterdir()) == [path]
