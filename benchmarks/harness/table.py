"""The table of measurements: one CSV row per image x codec x setting, safe against a kill at any moment.

A row is appended by one write. A line that a kill cut short is removed when the table is next opened. Everything
else that changes the file writes a new one beside it and renames it over the old one.
"""

import csv
import io
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.harness.errors import BenchmarkError

KEY = ("image_hash", "codec", "setting", "version")
_FIRST = (
    "codec", "setting", "version", "image", "image_hash", "width", "height", "bytes", "bits_per_dim", "bpp", "rmse", "psnr", "ms_ssim",
)  # fmt: skip
TIMES = ("encode_s", "decode_s", "metrics_s")
_TEXTS = {*KEY, "image"} - {"setting"}
_ABOVE_ZERO = {"width", "height", "bytes", "bits_per_dim", "bpp"}
_FROM_ZERO = {"rmse", *TIMES}
_NEVER_EMPTY = {"setting", "rmse", "psnr", *_ABOVE_ZERO}

Row = dict[str, str]
Key = tuple[str, ...]


def row_key(row: Mapping[str, str]) -> Key:
    """What identifies a measurement: image hash, codec, setting, tool version."""
    return tuple(row[name] for name in KEY)


def setting_text(setting: float) -> str:
    """A setting as the table has it: as short as can be, and the same number when it is read."""
    text = f"{setting:g}"
    return text if float(text) == setting else repr(float(setting))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a whole CSV file atomically."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


class Table:
    """Opened for one run; holds a lock so that two runs cannot write to one table."""

    def __init__(self, path: Path, metrics: Sequence[str]) -> None:
        self.path = path
        self._lock = FileLock(path.with_name("." + path.name + ".lock"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise BenchmarkError(f"{path}: another run is writing to this table") from None
        except OSError as error:
            raise BenchmarkError(f"{path.parent}: cannot write to the output folder ({error.strerror})") from None
        try:
            self._open(metrics)
        except OSError as error:
            self._lock.release()
            raise BenchmarkError(f"{path}: cannot write the table ({error.strerror})") from None
        except BaseException:
            self._lock.release()
            raise

    def _open(self, metrics: Sequence[str]) -> None:
        kept, old_columns, changed = _read(self.path)
        extra = [name for name in (*old_columns, *metrics) if name not in (*_FIRST, *TIMES)]
        self.columns = (*_FIRST, *dict.fromkeys(extra), *TIMES)
        self.rows: dict[Key, Row] = {row_key(row): row for row in kept}
        if changed or tuple(old_columns) != self.columns or len(kept) != len(self.rows):
            self._rewrite()
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    def has(self, key: Key, metrics: Sequence[str]) -> bool:
        """Whether this measurement is there with all these metrics."""
        row = self.rows.get(key)
        return row is not None and all(row.get(name) for name in metrics)

    def append(self, row: Mapping[str, object]) -> None:
        """Add one measurement; a row of the same key replaces the older one."""
        text = {name: "" if row.get(name) is None else str(row[name]) for name in self.columns}
        if old := self.rows.get(row_key(text)):
            text |= {name: old[name] for name in self.columns if not text[name]}
        buffer = io.StringIO()
        csv.DictWriter(buffer, self.columns, lineterminator="\n").writerow(text)
        os.write(self._descriptor, buffer.getvalue().encode())
        self.rows[row_key(text)] = text

    def finish(self, versions: Mapping[str, str]) -> None:
        """Sort and compact; rows of other versions of the codecs in `versions` go to superseded.csv."""
        fresh = {
            (row["image_hash"], row["codec"], row["setting"]) for row in self.rows.values() if _current(row, versions)
        }
        stale = {
            key for key, row in self.rows.items()
            if not _current(row, versions) and (row["image_hash"], row["codec"], row["setting"]) in fresh
        }  # fmt: skip
        self._archive(stale)
        self._rewrite()

    def retire(self, pictures: Mapping[str, str]) -> list[str]:
        """Move rows of pictures that have changed since to superseded.csv; returns the names of those pictures.

        pictures: name -> hash of the pixels now. A mean over what a picture was and what it is would be of no set.
        """
        present = set(pictures.values())
        changed = {
            key for key, row in self.rows.items()
            if row["image"] in pictures and row["image_hash"] not in present
        }  # fmt: skip
        names = sorted({self.rows[key]["image"] for key in changed})
        if changed:
            self._archive(changed)
            self._rewrite()
            os.close(self._descriptor)  # of the file that was replaced
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        return names

    def _archive(self, stale: Collection[Key]) -> None:
        if not stale:
            return
        archive = self.path.with_name("superseded.csv")
        old, old_columns, _ = _read(archive)
        moved = {row_key(row): row for row in [*old, *(self.rows[key] for key in stale)]}
        columns = tuple(dict.fromkeys((*self.columns, *old_columns)))
        write_rows(archive, columns, [_filled(row, columns) for row in sorted(moved.values(), key=_order)])
        self.rows = {key: row for key, row in self.rows.items() if key not in stale}

    def close(self) -> None:
        """Let go of the file and the lock."""
        os.close(self._descriptor)
        self._lock.release()

    def _rewrite(self) -> None:
        rows = sorted(self.rows.values(), key=_order)
        write_rows(self.path, self.columns, [_filled(row, self.columns) for row in rows])


def _current(row: Row, versions: Mapping[str, str]) -> bool:
    return versions.get(row["codec"], row["version"]) == row["version"]


def _filled(row: Row, columns: Sequence[str]) -> Row:
    return {name: row.get(name, "") for name in columns}


def _order(row: Row) -> tuple[object, ...]:
    return row["codec"], row["version"], row["image"], row["image_hash"], float(row["setting"])


def _fits(name: str, text: str) -> bool:
    """Whether a column can hold this. Columns that are not known are metrics, which have no number where they cannot be
    computed; PSNR is infinite without error."""
    if name in _TEXTS or (not text and name not in _NEVER_EMPTY):
        return True
    try:
        number = float(text)
    except ValueError:
        return False
    if name == "setting":
        return math.isfinite(number)
    if name in _ABOVE_ZERO:
        return 0 < number < math.inf
    if name in _FROM_ZERO:
        return 0 <= number < math.inf
    return name != "psnr" or not math.isnan(number)


def _read(path: Path) -> tuple[list[Row], list[str], bool]:
    """Rows, columns, and whether a line cut short by a kill was left out."""
    if not path.exists():
        return [], [], True
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    try:
        text = whole.decode()
    except UnicodeDecodeError as error:
        raise BenchmarkError(
            f"{path}: line {whole[: error.start].count(10) + 1} is not UTF-8 text; mend or remove it, nothing was changed"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""))
    columns = next(reader, [])
    if columns and not set(KEY) <= set(columns):
        raise BenchmarkError(f"{path}: this file is not a table of measurements; choose another --out")
    rows = []
    for fields in reader:
        row = dict(zip(columns, fields, strict=False))
        wrong = [f"{name} is {text!r}" for name, text in row.items() if not _fits(name, text)]
        if len(fields) != len(columns):
            wrong = [f"it has {len(fields)} fields in place of {len(columns)}"]
        if wrong:
            raise BenchmarkError(
                f"{path}: line {reader.line_num} is damaged ({wrong[0]}); mend or remove it, nothing was changed"
            )
        rows.append(row)
    return rows, columns, whole != data
