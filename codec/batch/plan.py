"""Which file is written for which input."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from codec.batch import files
from codec.batch.files import STANDARD, is_url, shown
from codec.batch.outcome import UsageError, explain
from codec.errors import CodecError

SHARD = ".tar"  # of WebDataset form: an input is all pictures in it, an output holds what is made of them
_STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task:
    """One file to make from another: paths, URLs, or STANDARD.

    made_folder: the folder of the target may be created. problem: why nothing can be made of the source, a folder
    that cannot be read. size, stamp: what a listing says of the source, bytes and ETag or time; None and "" where
    nothing was listed. ours: the manifest says that the target was made of this source, and it may be replaced.
    listed: it was found in a folder, not named.
    """

    source: str
    target: str
    made_folder: bool = False
    problem: str = ""
    size: int | None = None
    stamp: str = ""
    ours: bool = False
    listed: bool = False

    @property
    def is_shard(self) -> bool:
        return self.source.endswith(SHARD)


@dataclass(frozen=True, slots=True)
class _Found:
    """A file to be done, and the folder of what is made of it."""

    name: str
    folder: str
    size: int | None = None
    stamp: str = ""
    listed: bool = False


def plan(
    inputs: Sequence[str],
    output: str | None,
    suffix: str,
    wanted: Callable[[Path], bool],
    suffixes: Sequence[str] = (),
) -> list[Task]:
    """List the tasks for files, folders, URLs and '-', with targets that end in `suffix` unless `output` is a file.

    A folder stands for the files below it that are `wanted`, in sorted order, without hidden ones; so does a URL of
    a folder, and one with * or ?. Files that the same plan would make are left out, so that it can be carried out
    again, and so are those that it would make with one of the other `suffixes`. A .tar that is
    named is done as one file, the pictures in it one after another.
    Without `output` each target lies beside its source. With it, a single file goes to that file (or into it, when
    it is a folder), a single folder's tree is made again below it, and several inputs go below it, folders
    under their own names. Files that differ in their suffix only keep it, before the new one. Raises
    UsageError when that has no meaning.
    """
    if STANDARD in inputs:
        if len(inputs) > 1:
            raise UsageError("'-' (standard input) cannot be combined with other inputs")
        return [Task(STANDARD, STANDARD if output is None or output in _STDOUT else _named(output))]
    sources = [_named(name) for name in inputs]
    several = len(sources) > 1 or _stands_for_many(sources[0], wanted)
    feeds = wanted(Path("a" + suffix))  # what is made would be taken for an input
    out = None
    if output is not None:
        out = STANDARD if output in _STDOUT else _named(output)
        if several and (out == STANDARD or (not is_url(out) and os.path.isfile(out))):
            raise UsageError(f"several files cannot be written to '{shown(output)}'; give a folder")
        if is_url(out):
            _check(files.check_writable, out)
        if not several and not _is_folder(out, output):
            if sources[0].endswith(SHARD) != out.endswith(SHARD):
                raise UsageError(f"a {SHARD} of pictures is made of a {SHARD} of pictures; give a folder or a {SHARD}")
            return [Task(sources[0], out, made_folder=is_url(out))]

    problems: list[Task] = []
    found: list[_Found] = []
    for source in sources:
        if is_url(source):
            found += _remote(source, out, len(sources) > 1, wanted)
        elif not os.path.isdir(source):
            found.append(_Found(source, os.path.dirname(source) if out is None else out))
        else:
            name = Path(source).resolve().name
            top = source if out is None else _join(out, name) if len(sources) > 1 else out
            local, unread = _files_below(Path(source), wanted, _real(out) if feeds else None)
            if not local and not unread:
                raise UsageError(f"no suitable files in the folder '{source}'")
            found += [
                _Found(str(path), _below(top, path.parent.relative_to(source).as_posix()), listed=True)
                for path in local
            ]
            problems += [
                Task(str(path), str(path), problem=f"the folder cannot be read: {why}") for path, why in unread
            ]
    if feeds:
        found = _without_own(found, suffix, suffixes)
    return _name_targets(found, suffix, made_folder=out is not None) + problems


def sources(inputs: Sequence[str], wanted: Callable[[Path], bool]) -> list[Task]:
    """The files that are meant by files, folders and '-', without targets. Raises UsageError for a folder that has
    none."""
    found: list[Task] = []
    for name in inputs:
        if name == STANDARD or is_url(name) or not os.path.isdir(name):
            found.append(Task(name, ""))
            continue
        local, unread = _files_below(Path(name), wanted)
        there = [Task(str(path), "") for path in local]
        there += [Task(str(path), "", problem=f"the folder cannot be read: {why}") for path, why in unread]
        if not there:
            raise UsageError(f"no suitable files in the folder '{name}'")
        found += there
    return found


def _named(name: str) -> str:
    """A path or URL in the one form it has here."""
    if name.startswith("file://") and "::" not in name:
        name = name.removeprefix("file://")
    if not name:
        raise UsageError("an empty name is no file")
    if is_url(name):
        return name
    path = str(Path(name))
    return f".{os.sep}{path}" if path == STANDARD else path


def _is_folder(out: str, given: str) -> bool:
    if given.endswith(("/", os.sep)):
        return True
    if not is_url(out):
        return out != STANDARD and os.path.isdir(out)
    return not PurePosixPath(out).suffix


def _stands_for_many(source: str, wanted: Callable[[Path], bool]) -> bool:
    if not is_url(source):
        return os.path.isdir(source)
    return not _is_one(source, wanted)


def _is_one(url: str, wanted: Callable[[Path], bool]) -> bool:
    """Whether a URL is that of a file, told by its name, for asking costs a request each."""
    path = url.split("::")[0].split("?")[0] if url.startswith("http") else url.split("::")[0]
    return not _has_magic(path) and (wanted(Path(path)) or path.endswith(SHARD))


def _has_magic(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def _remote(url: str, out: str | None, several: bool, wanted: Callable[[Path], bool]) -> list[_Found]:
    """The files of a URL. A name of many is asked of the store once."""
    head, chain, rest = url.partition("::")
    if _is_one(url, wanted):
        folder = head.split("?")[0].rpartition("/")[0]
        if out is None:
            _check(files.check_writable, url)
        return [_Found(url, folder if out is None else out)]
    fs, path = _check(files.file_system, url)
    protocol = head.partition("://")[0]
    try:
        listing = fs.glob(path, detail=True) if _has_magic(path) else fs.find(path, detail=True)
    except Exception as error:  # of many libraries
        raise UsageError(f"'{shown(url)}' cannot be listed: {explain(error)}") from error
    base = path.rstrip("/")
    if _has_magic(path):
        base = path[: min(path.index(sign) for sign in "*?[" if sign in path)].rpartition("/")[0]
    found = []
    for name in sorted(listing):
        inner = name.removeprefix(base).lstrip("/")
        hidden = any(part.startswith(".") for part in inner.split("/"))
        if listing[name].get("type") == "directory" or hidden:
            continue
        if not (wanted(Path(name)) or (_has_magic(path) and name.endswith(SHARD))):
            continue
        full = name if "://" in name else f"{protocol}://{name}"
        if out is None:
            _check(files.check_writable, full + chain + rest)
            folder = full.rpartition("/")[0]
        else:
            top = _join(out, PurePosixPath(base).name) if several else out
            folder = _below(top, inner.rpartition("/")[0])
        found.append(_Found(full + chain + rest, folder, *files.listed(listing[name]), listed=True))
    if not found:
        raise UsageError(f"no suitable files in '{shown(url)}'")
    return found


def _check(function: Callable[[str], T], name: str) -> T:
    try:
        return function(name)
    except CodecError as error:
        raise UsageError(str(error)) from error


def _join(folder: str, name: str) -> str:
    if is_url(folder):
        return f"{folder.rstrip('/')}/{name}"
    return os.path.join(folder, name) if folder not in ("", ".") else name


def _below(folder: str, inner: str) -> str:
    return folder if inner in ("", ".") else _join(folder, inner)


def _without_own(found: Sequence[_Found], suffix: str, suffixes: Sequence[str]) -> list[_Found]:
    """Without the files that may be made of others. One that was named and has another suffix than this plan makes
    stays; UsageError for the others that were named."""
    made: dict[str, str] = {}
    for one in found:
        for name in _names_of_made(one, (suffix, *suffixes)):
            made.setdefault(_join(one.folder, name), one.name)
    now = {_join(one.folder, name) for one in found for name in _names_of_made(one, (suffix,))}
    left = []
    for one in found:
        source = made.get(one.name, one.name)
        if source == one.name or not (one.listed or one.name in now):
            left.append(one)
        elif not one.listed:
            raise UsageError(f"'{shown(one.name)}' is an input, and what is made of '{shown(source)}'")
    return left


def _names_of_made(one: _Found, suffixes: Sequence[str]) -> Iterator[str]:
    for suffix in suffixes:
        yield _renamed(one.name, suffix)
        yield _base(one.name) + suffix


def _real(folder: str | None) -> str | None:
    return None if folder is None or is_url(folder) else os.path.realpath(folder)


def _name_targets(found: Sequence[_Found], suffix: str, made_folder: bool) -> list[Task]:
    """photo.jpg -> photo.ldc, but photo.jpg.ldc and photo.png.ldc when both are to go to one folder."""
    short = [_join(one.folder, _renamed(one.name, suffix)) for one in found]
    count = Counter(short)
    tasks: list[Task] = []
    taken: dict[str, str] = {}
    for one, target in zip(found, short, strict=True):
        if count[target] > 1 and not one.name.endswith(SHARD):
            target = _join(one.folder, _base(one.name) + suffix)
        if target in taken:
            raise UsageError(
                f"'{shown(taken[target])}' and '{shown(one.name)}' would both be written to '{shown(target)}'"
            )
        taken[target] = one.name
        folder = made_folder or is_url(target)
        tasks.append(Task(one.name, target, folder, size=one.size, stamp=one.stamp, listed=one.listed))
    return tasks


def _base(name: str) -> str:
    """The last part of a path or URL."""
    if is_url(name):
        name = name.split("::")[0].split("?")[0]
    return PurePosixPath(name).name if is_url(name) else os.path.basename(name)


def _renamed(name: str, suffix: str) -> str:
    base = _base(name)
    return base if base.endswith(SHARD) else Path(base).with_suffix(suffix).name


def _files_below(
    folder: Path, wanted: Callable[[Path], bool], leave_out: str | None = None
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The wanted files below a folder, sorted, without hidden files and folders, and the folders that cannot be read.
    Pipes and devices are no files here: to open one may wait for ever. leave_out: the real path of a folder."""
    found, unread = [], []

    def note(error: OSError) -> None:
        unread.append((Path(error.filename or folder), error.strerror or str(error)))

    for here, folders, names in os.walk(folder, onerror=note):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and (leave_out is None or os.path.realpath(os.path.join(here, name)) != leave_out)
        ]
        paths = (Path(here, name) for name in names if not name.startswith("."))
        found += [path for path in paths if wanted(path) and (os.path.isfile(path) or not os.path.exists(path))]
    return sorted(found), sorted(unread)
