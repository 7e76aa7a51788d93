"""Files wherever they lie: on disk, or anywhere fsspec reaches (the extra `remote`). Whole files in, whole files
out."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from codec import whole
from codec.errors import CodecError

#: In place of a file name: standard input or output.
STANDARD = "-"
#: Protocols of fsspec that are only read here: a web server takes nothing, and an archive is not written at one go.
_READ_ONLY = ("http", "https", "zip", "tar", "libarchive", "github", "data")

_ARCHIVES = ("zip://", "tar://", "libarchive://")

_CHANGED = "the file changed while it was read"


class SourceError(CodecError):
    """A source cannot be read as it should be."""


class OutputError(CodecError):
    """An output file cannot or must not be written."""


@dataclass(frozen=True)
class Source:
    """An open file, its bytes (None: not known), and its ETag or time of modification ("": not known)."""

    file: BinaryIO
    size: int | None = None
    stamp: str = ""


def is_url(name: str) -> bool:
    """Whether a name is one for fsspec: s3://bucket/key, zip://inner.png::outer.zip. a::b.png is a file."""
    return "://" in name


def shown(name: str) -> str:
    """A name as it is said and kept: that of a URL without user, password and query, which may be secrets."""
    if name == STANDARD or not is_url(name):
        return name
    return "::".join(map(_without_secrets, name.split("::")))


def said(name: str, standard: str) -> str:
    """A file as it is named to people."""
    return standard if name == STANDARD else shown(name)


def _without_secrets(url: str) -> str:
    """One URL of a chain, or a sentence with one in it."""
    if url.startswith(_ARCHIVES):  # in the name of a member each sign stands for itself
        return url
    url, users = re.subn(r"://[^/?#]*@", "://", url)
    if not users:  # a password with / in it, where there would be no number of a port
        url = re.sub(r"://[^/@:]*:(?!\d*(?:[/?#]|$)).*@", "://", url)
    # elsewhere than on the web ? is a sign of a glob as well, but not before a name and =
    return re.sub(r"(https?://[^?#]*)[?#].*|(\w://[^?]*)\?[\w.%-]+=.*", r"\1\2", url)


def file_system(name: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it. CodecError where there is none for it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise CodecError(f"{shown(name)}: URLs need the extra 'remote' (pip install 'ldc-codec[remote]')") from None
    try:
        fs, path = url_to_fs(name)
    except Exception as error:  # no such protocol, no package for it, no archive: of many libraries
        raise CodecError(f"{shown(name)}: {_said(error)}") from error
    return fs, path


@contextlib.contextmanager
def opened(name: str, in_blocks: bool = False) -> Iterator[Source]:
    """A source, open for reading. Raises SourceError in the end where a file on disk changed meanwhile.

    in_blocks: it will be read little by little, and a remote one is fetched in larger blocks.
    """
    if name == STANDARD:
        if sys.stdin is None or sys.stdin.closed:
            raise CodecError("it is closed")
        yield Source(sys.stdin.buffer)
        return
    if is_url(name):
        with _fetched(name, in_blocks) as source:
            yield source
        return
    with open(name, "rb") as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            yield Source(file)
            return
        try:
            yield Source(file, before.st_size, _time(before))
        except Exception as error:  # cut off in the middle, it looks damaged
            if _changed(file, before):
                raise SourceError(_CHANGED) from error
            raise
        if _changed(file, before):
            raise SourceError(_CHANGED)


def _changed(file: BinaryIO, before: os.stat_result) -> bool:
    after = os.fstat(file.fileno())
    return (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)


@contextlib.contextmanager
def _fetched(name: str, in_blocks: bool) -> Iterator[Source]:
    fs, path = file_system(name)
    try:
        # a picture is one request, of which nothing is kept; a member of an archive has no such choice
        file = fs.open(path, "rb", **({} if in_blocks or "::" in name else {"cache_type": "none"}))
    except Exception as error:  # of many libraries
        raise SourceError(f"cannot be read: {_said(error)}") from error
    with file:
        details = getattr(file, "details", None) or {}
        yield Source(cast(BinaryIO, _Reader(file)), getattr(file, "size", None), _stamp(details))


class _Reader:
    """Reads a remote file in order. What it raises is a SourceError, for one sentence is all that is said of it."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._file.read(size))
        except Exception as error:
            raise SourceError(f"cannot be read: {_said(error)}") from error


def facts(name: str) -> tuple[int | None, str]:
    """Size and stamp of a source without reading it; (None, "") where they are not known."""
    try:
        if is_url(name):
            fs, path = file_system(name)
            info = fs.info(path)
            return info.get("size"), _stamp(info)
        found = os.stat(name)
        return found.st_size, _time(found)
    except Exception:  # whoever opens it will say why
        return None, ""


def listed(info: dict[str, Any]) -> tuple[int | None, str]:
    """Size and stamp of a file that fsspec has listed."""
    return info.get("size"), _stamp(info)


def _stamp(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "date_time"):
        if value := info.get(key):
            return value.isoformat() if isinstance(value, datetime) else str(value).strip('"')
    return ""


def _time(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns / 1e9:.6f}"


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, FileNotFoundError):
        return "No such file or directory"
    return shown(" ".join(str(error).split())) or type(error).__name__


def check_target(source: str, target: str, force: bool, made_folder: bool) -> None:
    """Raise OutputError when the target must not or cannot be written, before work is spent on it.

    made_folder: its folder may be created.
    """
    if target == STANDARD:
        return
    if is_url(target):
        check_writable(target)
        if not force and exists(target):
            raise OutputError(f"the output '{shown(target)}' exists (-f overwrites it)")
        return
    path = Path(target)
    if path.is_dir():
        raise OutputError(f"the output '{target}' is a folder")
    if path.exists():
        if source != STANDARD and os.path.exists(source) and path.samefile(source):
            raise OutputError("the output would overwrite the input")
        if not force and path.is_file():
            raise OutputError(f"the output '{target}' exists (-f overwrites it)")
    elif not path.parent.is_dir() and not made_folder:
        raise OutputError(f"the folder of the output '{target}' does not exist")


def check_writable(url: str) -> None:
    """OutputError for a URL to which nothing can be written at one go."""
    protocol = re.split("::|://", url)[0]
    if "::" in url or protocol in _READ_ONLY:
        raise OutputError(f"nothing can be written to '{shown(url)}': {protocol} is for reading only here")


def exists(target: str) -> bool:
    """Whether there is such a file. OutputError where a store does not say."""
    if not is_url(target):
        return Path(target).is_file()
    fs, path = file_system(target)
    try:
        return bool(fs.exists(path))
    except Exception as error:
        raise OutputError(f"cannot look for '{shown(target)}': {_said(error)}") from error


def content(target: str) -> bytes | None:
    """The bytes of an output that is there, or None."""
    try:
        if is_url(target):
            fs, path = file_system(target)
            return bytes(fs.cat_file(path))
        return Path(target).read_bytes()
    except FileNotFoundError:
        return None
    except Exception as error:
        raise OutputError(f"cannot read '{shown(target)}': {_said(error)}") from error


def put(target: str, data: bytes, made_folder: bool) -> None:
    """``write``, or to standard output. Raises OutputError."""
    if target == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write(target, data, made_folder)


def write(target: str, data: bytes, made_folder: bool) -> None:
    """Write a file whole or not at all: on disk to a temporary file that is then renamed, to a store as one object.

    Raises OutputError.
    """
    if is_url(target):
        fs, path = file_system(target)
        try:
            fs.pipe_file(path, data)
        except Exception as error:
            raise OutputError(f"cannot write '{shown(target)}': {_said(error)}") from error
        return
    there = Path(target)
    try:
        if there.exists() and not there.is_file():
            there.write_bytes(data)  # /dev/null or a pipe, which has no other name: not to be replaced by a file
            return
        if made_folder:
            Path(os.path.realpath(there)).parent.mkdir(parents=True, exist_ok=True)
        whole.replace(there, data)
    except OSError as error:
        raise OutputError(f"cannot write '{target}': {error.strerror or error}") from error
