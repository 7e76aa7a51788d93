"""The manifest of a run: a table with one row a file, appended as the files are done, so that it outlives a kill.

A .csv is appended to itself. A .parquet is made in the end of a journal beside it, which is such a .csv.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from codec.batch.files import is_url, shown
from codec.batch.outcome import Done, Enlargement, Failure, Packed, Report, Skipped, UsageError
from codec.batch.plan import Task
from codec.errors import CodecError
from codec.whole import written

COLUMNS = (
    "source",
    "size",
    "stamp",
    "command",
    "options",
    "output",
    "output_bytes",
    "width",
    "height",
    "bits_per_dim",
    "quality",
    "rmse",
    "psnr",
    "ms_ssim",
    "seconds",
    "status",
    "error",
)
DONE, FAILED = "done", "failed"
LOST, CHANGED = "lost", "changed"
_WHOLE = ("size", "output_bytes", "width", "height")
_REAL = ("bits_per_dim", "quality", "rmse", "psnr", "ms_ssim", "seconds")
JOURNAL = ".journal"


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a run that goes on needs to know of a row."""

    size: str
    stamp: str
    options: str
    output: str
    bytes: str  # of the output; "": not known
    failed: bool


class Ledger:
    """The manifest of one run; close it. options: what decides the outputs, the same for all files of the run."""

    def __init__(
        self, name: str, command: str, options: str, goes_on: bool, fresh: bool, more: str | None = None
    ) -> None:
        """goes_on: with the rows that are there. fresh: in their place. more: options that leave nothing to do either.
        Raises UsageError where neither is right."""
        path = Path(name)
        if is_url(name) or path.suffix not in (".csv", ".parquet"):
            raise UsageError(f"the manifest '{shown(name)}' has to be a .csv or a .parquet on this machine")
        self._path, self._command, self._options = path, command, options
        self._enough = {options, more}
        self._rows = path if path.suffix == ".csv" else path.with_name(path.name + JOURNAL)
        if path.suffix == ".parquet":
            _pyarrow()
        begun = self._rows.exists()
        there = path.exists() or begun
        if there and not goes_on and not fresh:
            raise UsageError(f"the manifest '{path}' is there (--resume goes on with it, -f starts it again)")
        self._kept: dict[str, _Kept] = {}
        self._outputs: set[str] = set()
        self._again = False  # whether a file has more than one row
        self._file: IO[str] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._rows, "a+", newline="", encoding="utf-8")  # noqa: SIM115
            _lock(self._file, path)
            if fresh and not goes_on:
                self._check_ours()
                self._file.truncate(0)
                path.unlink() if path != self._rows and path.exists() else None
            self._load()
        except OSError as error:
            self._give_up(begun)
            raise UsageError(f"the manifest '{path}' cannot be written: {error.strerror or error}") from error
        except BaseException:
            self._give_up(begun)
            raise

    def _check_ours(self) -> None:
        """UsageError where a file of another kind lies in the place of the manifest, before it is started again."""
        _whole_bytes(self._rows)
        if self._path != self._rows and self._path.exists():
            next(_from_parquet(self._path))

    def _load(self) -> None:
        """Take up the rows that are there, and cut off one that was not finished."""
        assert self._file is not None
        end = self._file.seek(0, os.SEEK_END)
        if end == 0 and self._path != self._rows and self._path.exists():
            for line in _from_parquet(self._path):
                self._file.write(line)
            self._file.flush()
        whole = _whole_bytes(self._rows)  # looks first: not a byte of another table may go
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)
        if whole == 0:
            self._file.write(_line(COLUMNS))
            self._file.flush()
            return
        for row in _rows(self._rows, self._path):
            source = row["source"]
            if row["command"] == self._command:
                self._outputs.add(row["output"])
            self._again |= source in self._kept
            failed = row["status"] == FAILED
            output = row["output"], row["output_bytes"]
            self._kept[source] = _Kept(row["size"], row["stamp"], row["options"], *output, failed)

    def status(self, name: str, size: int | None, stamp: str, target: str) -> str:
        """DONE or FAILED for a source that was so with the same settings and target, and has not changed since; else
        ""."""
        kept = self._kept.get(_name(name))
        if kept is None or kept.options not in self._enough:
            return ""
        if kept.output not in ("", _name(target)):
            return ""
        same = (kept.size, kept.stamp) == ("" if size is None else str(size), stamp)
        if kept.failed:  # it may be that nothing was known of it
            return FAILED if same or not kept.stamp else ""
        return DONE if same else ""

    def made(self, name: str) -> bool:
        """Whether a file is what this command made of another."""
        return _name(shown(name)) in self._outputs

    def owned(self, task: Task) -> Task:
        """A task that knows whether its output is known to have been made of its source."""
        kept = self._kept.get(_name(shown(task.source)))
        ours = kept is not None and kept.output == _name(shown(task.target))
        return replace(task, ours=ours and self.output_of(task) != CHANGED)

    def output_of(self, task: Task) -> str:
        """LOST for what was made of a source and is not there any more, or empty, as after a power loss; CHANGED where
        it has another size; else "", also for what is not on this machine."""
        kept = self._kept.get(_name(shown(task.source)))
        if kept is None or kept.failed or is_url(task.target):
            return ""
        path = task.target if kept.output == _name(task.target) else kept.output
        if not (size := _size(path)):
            return LOST
        return "" if kept.bytes in ("", str(size)) else CHANGED

    def append(self, done: Iterable[Done]) -> None:
        """One row for each, in one write. Raises CodecError where that fails."""
        assert self._file is not None
        text = io.StringIO(newline="")
        for one in done:
            self._again |= _name(one.outcome.input) in self._kept
            text.write(_line([str(value) for value in self._row(one)]))
        try:
            self._file.write(text.getvalue())
            self._file.flush()
        except OSError as error:
            raise CodecError(f"the manifest '{self._path}' cannot be written: {error.strerror or error}") from error

    def _row(self, done: Done) -> list[object]:
        outcome = done.outcome
        row: dict[str, object] = dict.fromkeys(COLUMNS, "")
        row |= {"source": _name(outcome.input), "size": "" if done.size is None else done.size, "stamp": done.stamp}
        row |= {"command": self._command, "options": self._options, "status": DONE}
        if isinstance(outcome, Failure):
            row |= {"status": FAILED, "error": outcome.error}
        else:
            row["output"] = _name(outcome.output)
        if isinstance(outcome, (Report, Enlargement, Packed)):
            row |= {"output_bytes": outcome.output_bytes, "seconds": f"{outcome.seconds:.4f}"}
        if isinstance(outcome, Packed) and outcome.failed:
            row |= {
                "status": FAILED,
                "error": f"{outcome.failed} pictures failed, {outcome.pictures} are in the output",
            }
        if isinstance(outcome, (Report, Enlargement)):
            row |= {"width": outcome.width, "height": outcome.height}
        if isinstance(outcome, Report):
            row |= {"bits_per_dim": f"{outcome.bits_per_dim:.8g}", "quality": f"{outcome.quality:.8g}"}
            for name in ("rmse", "psnr", "ms_ssim"):
                row[name] = "" if (value := getattr(outcome, name)) is None else f"{value:.7g}"
        if isinstance(outcome, Skipped):
            row["error"] = outcome.skipped
        return [row[name] for name in COLUMNS]

    def close(self) -> None:
        """Leave one row a file, the last of each, and make the .parquet."""
        if self._file is None:
            return
        try:
            self._file.flush()
            if self._again:
                _keep_last(self._rows, self._path)
            if self._rows != self._path:
                _to_parquet(self._rows, self._path)
        except OSError as error:
            raise CodecError(f"the manifest '{self._path}' cannot be written: {error.strerror or error}") from error
        finally:
            self.release()
        if self._rows != self._path:
            self._rows.unlink()

    def _give_up(self, begun: bool) -> None:
        """Leave the folder as it was. begun: the rows were there before."""
        opened = self._file is not None
        self.release()
        if opened and not begun:
            self._rows.unlink(missing_ok=True)

    def release(self) -> None:
        """Close the file as it is."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk: what was not written was told already
                self._file.close()
            self._file = None


def _size(path: str) -> int:
    """0: there is nothing."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _line(values: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(map(_text, values))
    return text.getvalue()


def _text(text: str) -> str:
    """A value as it is kept: one line, in UTF-8, whatever is in it."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text


def _name(name: str) -> str:
    """A name as it is kept: no two names are kept as the same."""
    return _text(name if os.sep == "\\" else name.replace("\\", "\\\\"))


def _rows(path: Path, named: Path) -> Iterator[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        try:
            for row in reader:
                if None in row or None in row.values():  # too many values, or too few
                    raise UsageError(f"the manifest '{named}' is damaged in line {reader.line_num}")
                yield row
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageError(f"the manifest '{named}' is damaged after line {reader.line_num}") from error


def _whole_bytes(path: Path) -> int:
    """Bytes up to the end of the last row that is whole: no value has a line end in it. UsageError for what is no
    manifest."""
    header = _line(COLUMNS).encode()
    with open(path, "rb") as file:
        first = file.readline(len(header) + 1)
        if len(first) < len(header) and header.startswith(first):
            return 0  # new, or cut off in its first line
        if first.rstrip(b"\r\n") != header.rstrip(b"\n"):
            raise UsageError(f"'{path}' is not a manifest of this version")
        whole = len(first)
        for line in file:
            whole += len(line) if line.endswith(b"\n") else 0
    return whole


def _keep_last(path: Path, named: Path) -> None:
    """Rewrite a .csv with the last row of each source only."""
    last = {row["source"]: number for number, row in enumerate(_rows(path, named))}
    with written(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        file.write(_line(COLUMNS))
        for number, row in enumerate(_rows(path, named)):
            if last[row["source"]] == number:
                file.write(_line([row[name] for name in COLUMNS]))


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise UsageError("a manifest in .parquet needs pyarrow (pip install 'ldc-codec[parquet]'); take .csv") from None
    return pyarrow


def _to_parquet(rows: Path, path: Path) -> None:
    """A .csv as .parquet, a block at a time."""
    pa = _pyarrow()
    kinds = {name: pa.int64() if name in _WHOLE else pa.float64() if name in _REAL else pa.string() for name in COLUMNS}
    convert = pa.csv.ConvertOptions(column_types=kinds, strings_can_be_null=False, quoted_strings_can_be_null=False)
    try:
        with (
            written(path) as part,
            pa.csv.open_csv(rows, convert_options=convert) as reader,
            pa.parquet.ParquetWriter(part, reader.schema) as writer,
        ):
            for batch in reader:
                writer.write_batch(batch)
    except pa.ArrowException as error:
        raise CodecError(f"the manifest '{path}' cannot be made of '{rows}': {error}") from error


def _from_parquet(path: Path) -> Iterator[str]:
    """The lines of the .csv that a .parquet was made of."""
    pa = _pyarrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            if tuple(file.schema_arrow.names) != COLUMNS:
                raise UsageError(f"'{path}' is not a manifest of this version")
            yield _line(COLUMNS)
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    yield _line(["" if row[name] is None else str(row[name]) for name in COLUMNS])
    except pa.ArrowException as error:
        raise UsageError(f"'{path}' is not a manifest: {error}") from error


def _lock(file: IO[str], path: Path) -> None:
    """One run at a time writes a manifest. The lock goes with the process."""
    try:
        import fcntl
    except ImportError:  # Windows, where this is not checked
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UsageError(f"another run writes the manifest '{path}'") from error
