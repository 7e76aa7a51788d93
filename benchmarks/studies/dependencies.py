"""What each dependency of the core installation weighs, how long it takes to import, and which commands load it.

    python -m benchmarks.studies.dependencies
    python -m benchmarks.studies.dependencies --repeats 9 --out results/dependencies

Sizes are those of the installed files, without compiled bytecode. Imports take turns in fresh processes; processor time
less that of an empty one. What is loaded is read off sys.modules at the end of each command, with the progress bar that
a terminal gets. Written: OUT.csv and OUT.json (machine, versions). Exit code 0; 1 if something cannot be measured; 2
for wrong usage.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image, ImageOps

from benchmarks.analysis.summary import run_metadata
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import packaged_images, read_image
from benchmarks.harness.table import write_rows
from benchmarks.harness.told import count, told

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "ldc-codec"
SIZE = (256, 192)

#: Name of a column -> what follows `python -m codec`; PHOTO, FILE and OUT stand for paths.
COMMANDS: dict[str, tuple[str, ...]] = {
    "help": ("--help",),
    "info": ("info", "FILE"),
    "encode": ("encode", "PHOTO", "-o", "OUT.ldc", "-f"),
    "encode_verify": ("encode", "PHOTO", "-o", "OUT.ldc", "-f", "--verify"),
    "decode": ("decode", "FILE", "-o", "OUT.png", "-f", "--backend", "torch"),
    "decode_ldm": ("decode", "FILE", "-o", "OUT.png", "-f", "--decoder", "ldm"),
}
SHARED = "shared"  # the last row: what several of the others bring
COLUMNS = ("package", "installed", "own_mb", "brings", "brings_mb", "import_s", *COMMANDS)

#: What `python -m codec` does, then the names of the modules that are loaded.
PROGRAM = """
import sys
sys.stderr.isatty = lambda: True
from codec.cli import main
code = 1
try:
    code = main(sys.argv[1:])
except SystemExit as error:
    code = error.code
finally:
    print("loaded", *sorted({name.split(".")[0] for name in sys.modules}))
sys.exit(code)
"""
#: torchvision's CUDA build beside a CPU build of torch needs help (codec._compat)
IMPORT = """
import os, sys
from codec import _compat
for name in sys.argv[1:]:
    if name in ("torchvision", "compressai"):
        _compat.import_torchvision()
    __import__(name)
t = os.times()
print(t.user + t.system)
"""


def needs(name: str) -> list[str]:
    """Names of the distributions that one requires here, without extras."""
    found = (Requirement(text) for text in metadata.requires(name) or ())
    return sorted({canonicalize_name(r.name) for r in found if r.marker is None or r.marker.evaluate({"extra": ""})})


def closure(name: str, direct: Iterable[str] = ()) -> set[str]:
    """A distribution and all that it brings, as far as they are installed; direct: what is there anyhow, and the way
    through it is not followed."""
    seen: set[str] = set()
    waiting, known = [canonicalize_name(name)], set(direct) - {canonicalize_name(name)}
    while waiting:
        if (one := waiting.pop()) not in seen | known and _installed(one):
            seen.add(one)
            waiting += needs(one)
    return seen


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def megabytes(name: str) -> float:
    """Of its files, in 10**6 bytes, without compiled bytecode. Raises BenchmarkError where no list of them was kept."""
    files = metadata.distribution(name).files
    if files is None:
        raise BenchmarkError(f"{name} has no list of its files")
    paths = {Path(str(file.locate())).resolve() for file in files if file.suffix != ".pyc"}
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


@functools.cache
def owners() -> dict[str, list[str]]:
    """Names of the modules of each distribution."""
    found: dict[str, list[str]] = {}
    for module, own in metadata.packages_distributions().items():
        for name in own:
            found.setdefault(canonicalize_name(name), []).append(module)
    return found


def modules(name: str) -> list[str]:
    """What a distribution is imported as; first the one that has its name."""
    found = [module for module in owners().get(name, ()) if module.isidentifier() and not module.startswith("_")]
    return sorted(found, key=lambda module: (canonicalize_name(module) != name, module))


def shared_out(direct: Iterable[str]) -> dict[str, list[str]]:
    """Each direct dependency -> what it brings that is neither a direct one nor brought by another."""
    direct = list(direct)
    brought = {name: closure(name, direct) - {name} for name in direct}
    return {
        name: sorted(own - {other for n, others in brought.items() if n != name for other in others})
        for name, own in brought.items()
    }


def import_seconds(names: Sequence[str], repeats: int) -> dict[str, float]:
    """Processor seconds that importing each takes more than nothing, medians over turns."""
    measured: dict[str, list[float]] = {name: [] for name in ("", *names)}
    for turn in range(-1, repeats):  # the first one warms the file cache
        for name in measured if turn % 2 else reversed(measured):
            taken = float(_python(IMPORT, *([] if not name else modules(name)[:1])).split()[-1])
            if turn >= 0:
                measured[name].append(taken)
    return {name: max(0.0, median(a - b for a, b in zip(measured[name], measured[""], strict=True))) for name in names}


def loaded(words: Iterable[str]) -> set[str]:
    """Names of the modules at the end of a command."""
    lines = _python(PROGRAM, *words).splitlines()
    return set(next(line for line in reversed(lines) if line.startswith("loaded ")).split()[1:])


def _python(program: str, *words: str) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(words) or 'python'} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def measure(folder: Path, repeats: int) -> list[dict[str, object]]:
    """Lines of the table, the heaviest first. folder: for the files of the commands."""
    direct = needs(PROJECT)
    if missing := [name for name in direct if not _installed(name)]:
        raise BenchmarkError(f"not installed: {', '.join(missing)}")
    photo, file = folder / "photo.png", folder / "photo.ldc"
    ImageOps.fit(Image.fromarray(read_image(packaged_images()[0])), SIZE).save(photo)
    _python(PROGRAM, "encode", str(photo), "-o", str(file), "--no-lossless")
    paths = {
        "PHOTO": str(photo),
        "FILE": str(file),
        "OUT.ldc": str(folder / "out.ldc"),
        "OUT.png": str(folder / "out.png"),
    }
    used = {column: loaded(paths.get(word, word) for word in words) for column, words in COMMANDS.items()}
    brings, seconds = shared_out(direct), import_seconds(direct, repeats)
    rows: list[dict[str, object]] = [
        {
            "package": name,
            "installed": metadata.version(name),
            "own_mb": round(megabytes(name), 1),
            "brings": " ".join(brings[name]),
            "brings_mb": round(sum(map(megabytes, brings[name])), 1),
            "import_s": round(seconds[name], 2),
            **{column: "yes" if used[column] & set(modules(name)) else "no" for column in COMMANDS},
        }
        for name in direct
    ]
    rows.sort(key=lambda row: -(float(str(row["own_mb"])) + float(str(row["brings_mb"]))))
    every = set().union(*map(closure, direct)) - set(direct)
    shared = sorted(every - {name for own in brings.values() for name in own})
    row = {"package": SHARED, "brings": " ".join(shared), "brings_mb": round(sum(map(megabytes, shared)), 1)}
    return [*rows, row]


@told
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; turns errors into a sentence and an exit code, prints the table."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.studies.dependencies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=count, default=5, help="turns of the imports (default 5)")
    out = ROOT / "results" / "dependencies"
    parser.add_argument("--out", type=Path, default=out, help="without suffix (default results/dependencies)")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(Path(folder), options.repeats)
    except metadata.PackageNotFoundError as error:
        raise BenchmarkError(str(error)) from None
    write_rows(options.out.with_suffix(".csv"), COLUMNS, rows)
    method = re.sub(r"\s+", " ", (__doc__ or "").split("\n\n")[2])
    facts = {"commands": {name: "python -m codec " + " ".join(words) for name, words in COMMANDS.items()}}
    options.out.with_suffix(".json").write_text(run_metadata(method=method, repeats=options.repeats, **facts))
    for row in rows:
        print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
