"""Files that are whole or not there, whatever ends the process or the machine that writes them."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

#: The names of files that are not whole yet.
PARTS = ".*.part"


@contextlib.contextmanager
def written(target: Path) -> Iterator[Path]:
    """A hidden name beside a file, to write to. The file gets what is under it, all on the disk, when nothing was
    raised; else it stays as it was. One that is replaced leaves its mode; a link stays a link."""
    target = Path(os.path.realpath(target))
    # Not tempfile: its files are readable by their owner only, whatever the user's umask says.
    start = os.fsencode(target.name)[:100].decode("utf-8", "ignore")  # a name may have 255 bytes
    part = target.with_name(f".{start}.{secrets.token_hex(4)}.part")
    mode = _mode(target)
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if mode is None else 0o600))
        yield part
        _to_disk(part)
        if mode is not None:
            with contextlib.suppress(OSError):  # a file system without modes
                os.chmod(part, mode)
        os.replace(part, target)
    except BaseException:  # KeyboardInterrupt included
        part.unlink(missing_ok=True)
        raise


def replace(target: Path, data: bytes) -> None:
    """Write a file of these bytes."""
    with written(target) as part:
        part.write_bytes(data)


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:  # there is no such file
        return None


def _to_disk(path: Path) -> None:
    """Else the name may outlive a power loss, and the bytes not."""
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)
