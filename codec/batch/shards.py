"""Shards of WebDataset form: tar files whose members a.jpg, a.json, b.jpg ... are samples. Pictures become others,
other files are copied, folders have no member of their own, and a shard with anything else in it is refused."""

from __future__ import annotations

import copy
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from codec.batch.files import SourceError, shown
from codec.batch.outcome import Done, Enlargement, Packed, Report


@dataclass(frozen=True)
class Member:
    """A file in a shard."""

    name: str
    data: bytes
    info: tarfile.TarInfo


def read(file: BinaryIO) -> Iterator[Member]:
    """The files of a shard, in order, one at a time in memory. Raises SourceError for bytes that are none, and for a
    member that is no plain file: a link to a picture has nothing to link to any more, and of a sparse file of a few
    bytes there may be gigabytes."""
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for info in tar:
                if info.isdir():
                    continue
                member = tar.extractfile(info) if info.isreg() and not info.issparse() else None
                if member is None:
                    raise SourceError(f"'{info.name}' in the tar file is a link, sparse or special, not a plain file")
                data = member.read()
                if len(data) != info.size:
                    raise SourceError("the tar file is cut short")
                yield Member(info.name, data, info)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise SourceError(f"not a sound tar file: {error}") from error


def member_url(shard: str, name: str) -> str:
    """How fsspec names a member."""
    return f"tar://{name}::{shard}"


def report(
    command: str, source: str, target: str, done: Sequence[Done], written: int, read: int, seconds: float
) -> Packed:
    """What became of a shard as a whole."""
    pictures = sum(isinstance(one.outcome, (Report, Enlargement)) for one in done)
    failed = len(done) - pictures
    return Packed(command, shown(source), shown(target), pictures, failed, read, written, seconds)


class Writer:
    """Makes the bytes of a shard. SourceError where what was made of a member would share its name with another."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._bytes, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._names: set[str] = set()
        self._made: set[str] = set()

    def add(self, member: Member) -> None:
        """A copy."""
        if member.name in self._made:
            raise _shared(member.name)
        self._put(member, member.name, member.data)

    def add_made(self, like: Member, suffix: str, data: bytes) -> str:
        """What was made of a member, and the name it got: a.jpg -> a.ldc, or a.jpg.ldc where that is taken."""
        name = os.path.splitext(like.name)[0] + suffix
        if name in self._names:
            name = like.name + suffix
        if name in self._names:
            raise _shared(name)
        self._made.add(name)
        self._put(like, name, data)
        return name

    def _put(self, like: Member, name: str, data: bytes) -> None:
        """A member with the time and rights of another."""
        info = copy.copy(like.info)
        info.name, info.size, info.type = name, len(data), tarfile.REGTYPE
        info.pax_headers = {}
        self._names.add(name)
        self._tar.addfile(info, io.BytesIO(data))

    def close(self) -> bytes:
        self._tar.close()
        return self._bytes.getvalue()


def _shared(name: str) -> SourceError:
    return SourceError(f"two members of the new tar file would be named '{name}'")
