"""Which file is written for which input, and writing it so that no half file is ever seen."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codec.errors import CodecError

#: In place of a file name: standard input or output.
STANDARD = Path("-")
_STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


class OutputError(CodecError):
    """An output file cannot or must not be written."""


class UsageError(CodecError):
    """The inputs and the output that were asked for do not go together."""


@dataclass(frozen=True)
class Job:
    """One file to make from another. Either may be STANDARD. `made_folder`: its folder may be created.

    problem: why nothing can be made of the source, a folder that cannot be read.
    """

    source: Path
    target: Path
    made_folder: bool = False
    problem: str = ""


def plan(inputs: Sequence[str], output: str | None, suffix: str, wanted: Callable[[Path], bool]) -> list[Job]:
    """List the jobs for files, folders and '-', with targets that end in `suffix` unless `output` is a file.

    A folder stands for the files below it that are `wanted`, in sorted order, without hidden ones. Without
    `output` each target lies beside its source. With it, a single file goes to that file (or into it, when
    it is a folder), a single folder's tree is made again below it, and several inputs go below it, folders
    under their own names. Files that differ in their suffix only keep it, before the new one. Raises
    UsageError when that has no meaning.
    """
    if "-" in inputs:
        if len(inputs) > 1:
            raise UsageError("'-' (standard input) cannot be combined with other inputs")
        return [Job(STANDARD, STANDARD if output is None or output in _STDOUT else Path(output))]
    sources = [Path(name) for name in inputs]
    several = len(sources) > 1 or sources[0].is_dir()
    if output is None:
        out = None
    else:
        out = STANDARD if output in _STDOUT else Path(output)
        if several and (out == STANDARD or out.is_file()):
            raise UsageError(f"several files cannot be written to '{output}'; give a folder")
        if not several and not (out.is_dir() or output.endswith(("/", os.sep))):
            return [Job(sources[0], out)]

    problems: list[Job] = []
    pairs: list[tuple[Path, Path]] = []  # a source and the folder of its target
    for source in sources:
        if not source.is_dir():
            pairs.append((source, source.parent if out is None else out))
            continue
        top = source if out is None else out / source.resolve().name if len(sources) > 1 else out
        files, unread = _files_below(source)
        found = [path for path in files if wanted(path)]
        if not found and not unread:
            raise UsageError(f"no suitable files in the folder '{source}'")
        pairs += [(path, top / path.parent.relative_to(source)) for path in found]
        problems += [Job(path, path, problem=f"the folder cannot be read: {why}") for path, why in unread]
    return _name_targets(pairs, suffix, made_folder=out is not None) + problems


def _name_targets(pairs: Sequence[tuple[Path, Path]], suffix: str, made_folder: bool) -> list[Job]:
    """photo.jpg -> photo.ldc, but photo.jpg.ldc and photo.png.ldc when both are to go to one folder."""
    short = [folder / source.with_suffix(suffix).name for source, folder in pairs]
    count = Counter(short)
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    for (source, folder), target in zip(pairs, short, strict=True):
        if count[target] > 1:
            target = folder / (source.name + suffix)
        if target in taken:
            raise UsageError(f"'{taken[target]}' and '{source}' would both be written to '{target}'")
        taken[target] = source
        jobs.append(Job(source, target, made_folder))
    return jobs


def _files_below(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """All files below a folder, sorted, without hidden files and folders, and the folders that cannot be read."""
    found, unread = [], []

    def note(error: OSError) -> None:
        unread.append((Path(error.filename or folder), error.strerror or str(error)))

    for here, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, name) for name in names if not name.startswith(".")]
    return sorted(found), sorted(unread)


def check_target(job: Job, force: bool) -> None:
    """Raise OutputError when the target must not or cannot be written, before work is spent on it."""
    target = job.target
    if target == STANDARD:
        return
    if target.is_dir():
        raise OutputError(f"the output '{target}' is a folder")
    if target.exists():
        if job.source != STANDARD and job.source.exists() and target.samefile(job.source):
            raise OutputError("the output would overwrite the input")
        if not force and target.is_file():
            raise OutputError(f"the output '{target}' exists (-f overwrites it)")
    elif not target.parent.is_dir() and not job.made_folder:
        raise OutputError(f"the folder of the output '{target}' does not exist")


def write_target(job: Job, data: bytes, force: bool) -> None:
    """Write the target of a job whole or not at all: to a temporary file beside it, which is then renamed.

    Raises OutputError.
    """
    check_target(job, force)  # again: another process may have made the file in the meantime
    try:
        if job.target.exists() and not job.target.is_file():
            job.target.write_bytes(data)  # /dev/null or a pipe, which has no other name: not to be replaced by a file
            return
        target = Path(os.path.realpath(job.target))  # renaming onto a link would replace the link
        if job.made_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, data)
    except OSError as error:
        raise OutputError(f"cannot write '{job.target}': {error.strerror or error}") from error


def _replace(target: Path, data: bytes) -> None:
    # Not tempfile: its files are readable by their owner only, whatever the user's umask says.
    start = os.fsencode(target.name)[:100].decode("utf-8", "ignore")  # a name may have 255 bytes
    temporary = target.with_name(f".{start}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, target)
    except BaseException:  # KeyboardInterrupt included
        temporary.unlink(missing_ok=True)
        raise
