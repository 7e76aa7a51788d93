"""Codecs from outside: those of installed packages (entry points `ldc.codecs`) and of files (`--plugin FILE.py`).

An entry point is named like its codec and gives a maker: a function, or class, that takes CodecOptions and returns a
BenchCodec. A file has the same in a dictionary CODECS, name -> maker.
"""

import hashlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from numbers import Real
from pathlib import Path
from typing import Any

from benchmarks.codecs.base import Allowed, BenchCodec, CodecAbsent, CodecBroken, CodecOptions, Search
from benchmarks.harness.errors import BenchmarkError

GROUP = "ldc.codecs"
Maker = Callable[[CodecOptions], BenchCodec]


@cache
def outside(files: tuple[str, ...]) -> dict[str, Maker]:
    """Name -> maker of the codecs of installed packages, then of files. Raises BenchmarkError for a file that is no
    plugin; a package is loaded when its codec is made, so that a broken one is in the way of no other codec."""
    found: dict[str, Maker] = {}
    for point in entry_points(group=GROUP):
        if point.name in found:
            raise BenchmarkError(f"there are two codecs {point.name!r}, one of them in {point.value}")
        found[point.name] = partial(_made_of, point)
    for file in files:
        own = _read(Path(file))
        if twice := sorted(set(own) & set(found)):
            raise BenchmarkError(f"there are two codecs {twice[0]!r}, one of them in {file}")
        found |= own
    return found


def _made_of(point: EntryPoint, options: CodecOptions) -> BenchCodec:
    try:
        maker = point.load()
    except (Exception, SystemExit) as error:  # whatever a stranger's module raises
        raise CodecBroken(f"{point.value} cannot be loaded ({error})") from error
    return maker(options)


def _read(path: Path) -> dict[str, Maker]:
    name = f"ldc_plugin_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BenchmarkError(f"the plugin {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a stranger's module raises
        raise BenchmarkError(f"the plugin {path} cannot be loaded ({error})") from error
    codecs = getattr(module, "CODECS", None)
    fits = isinstance(codecs, dict) and all(isinstance(name, str) and callable(codecs[name]) for name in codecs)
    if not fits:
        raise BenchmarkError(f"the plugin {path} has no dictionary CODECS of names and makers")
    return codecs


def checked(name: str, maker: Maker, options: CodecOptions) -> BenchCodec:
    """A codec from outside. Raises CodecBroken where its maker fails or makes something that is no codec, CodecAbsent
    where the maker says so."""
    try:
        made = maker(options)
    except CodecAbsent:
        raise
    except (Exception, SystemExit) as error:  # whatever a stranger's maker raises
        raise CodecBroken(f"it cannot be made ({type(error).__name__}: {error})") from error
    if wrong := [part for part, fits in _PARTS.items() if not fits(getattr(made, part, None))]:
        raise CodecBroken(
            f"what its maker gives ({made!r}) is no codec: {wrong[0]} is not as docs/add-a-codec.md has it"
        )
    return made


def _are_settings(found: Any) -> bool:
    return isinstance(found, Sequence) and len(found) > 0 and all(_is_number(setting) for setting in found)


def _is_number(found: Any) -> bool:
    return isinstance(found, Real) and not isinstance(found, bool) and math.isfinite(found)


_PARTS: dict[str, Callable[[Any], bool]] = {
    "version": lambda found: isinstance(found, str),
    "settings": _are_settings,
    "search": lambda found: isinstance(found, Search),
    "allowed": lambda found: found is None or isinstance(found, Allowed),
    "encode": callable,
    "decode": callable,
}
