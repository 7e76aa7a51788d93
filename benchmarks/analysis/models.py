"""Which model a committed table is of.

Tables in RESULTS are of the shipped model: their rows name it in a column `version`, or RESULTS/models.csv names it for
them. Those of older models lie in RESULTS/model-N, and what is made of them says so. A test holds this.
"""

import re
from pathlib import Path

from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import read_frame

SHIPPED = "the shipped model"  # in the register: the table follows the weights
REGISTER = "models.csv"  # of the tables without a column `version`: table, model, of
_OLDER = re.compile(r"model-(\d+)")


def find(results: Path, name: str) -> tuple[Path, int | None]:
    """A table of RESULTS, or else of the newest older model that has one, with the id of that model."""
    if (results / name).is_file():
        return results / name, None
    older = [(int(found[1]), folder / name) for folder in results.iterdir() if (found := _OLDER.fullmatch(folder.name))]
    there = [(model, path) for model, path in sorted(older) if path.is_file()]
    return (there[-1][1], there[-1][0]) if there else (results / name, None)


def _said(path: Path) -> set[str] | None:
    """The models that the rows of a table name; None: it has no column ``version``."""
    if "version" not in read_frame(path, nrows=0):
        return None
    versions = read_frame(path, usecols=["version"], dtype=str).version.dropna()
    return {number for text in versions.unique() for number in re.findall(r"\bmodel (\d+)", text)}


def wrong_models(results: Path, shipped: int) -> list[str]:
    """One sentence for each table that does not say of which model it is, or says another than its place does."""
    register = read_frame(results / REGISTER, dtype=str)
    if not {"table", "model", "of"} <= set(register):
        raise BenchmarkError(f"{results / REGISTER} does not have the columns table, model and of")
    register = register.set_index("table")
    sentences = [
        f"{name}: {REGISTER} calls model {row.model} the shipped one"
        for name, row in register.iterrows()
        if SHIPPED in row["of"] and str(shipped) not in row.model.split()
    ]
    register = register.model
    tables = {path.relative_to(results).as_posix(): path for path in results.rglob("*.csv")}
    del tables[REGISTER]
    for name, path in sorted(tables.items()):
        place = _OLDER.match(name)
        allowed = {place[1]} if place else {str(shipped)}
        try:
            said = _said(path)
        except BenchmarkError as error:
            sentences.append(str(error))
            continue
        if name in register.index:
            allowed |= set(register[name].split())
        elif not place and said is None:
            sentences.append(f"{name}: neither a column version nor {REGISTER} says of which model it is")
        if said is not None and said - allowed:
            sentences.append(f"{name}: rows of model {', '.join(sorted(said - allowed))} beside its own")
    gone = sorted(set(register.index) - set(tables))
    return sentences + [f"{name}: {REGISTER} names a table that is not there" for name in gone]
