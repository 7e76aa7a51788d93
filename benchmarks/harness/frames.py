"""Tables as data frames: read with a sentence where a file is no table, and written whole or not at all."""

import os
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.harness.errors import BenchmarkError


def read_frame(path: Path, **options: Any) -> pd.DataFrame:
    """A CSV file; options: of pandas. Raises BenchmarkError for one that is no table, OSError for one that cannot be
    opened."""
    try:
        return pd.read_csv(path, **options)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path} cannot be read as a table ({' '.join(str(error).split())})") from None


def write_frame(frame: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """A CSV file beside which nothing is left; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        frame.to_csv(part, index=False, float_format=float_format, lineterminator="\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
