"""`integrate`: what a freedesktop desktop is told of our files, for one user.

Three small files below the user's data folder (XDG_DATA_HOME), each with a line that says whose it is:

    mime/packages/ldc-codec.xml             shared-mime-info: suffix, first bytes and name of the type
    thumbnailers/ldc-codec.thumbnailer      what file managers start for a preview
    applications/ldc-codec.desktop          "Open with": the page of `view`, where it is built

Nothing else is written or removed. The indexes that a desktop keeps of such files are made by its own programs, where
there are any.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codec.batch import files
from codec.bitstream.container import MIME_TYPE, SUFFIX
from codec.cli.report import say
from codec.errors import CodecError

COMMENT = "LDC picture"
MARK = "Made by python -m codec integrate, which also removes it."
MIME, THUMBNAILER, VIEWER = (
    "mime/packages/ldc-codec.xml",
    "thumbnailers/ldc-codec.thumbnailer",
    "applications/ldc-codec.desktop",
)
#: (program, folder below the data folder): each makes the index of a folder anew
INDEXERS = (("update-mime-database", "mime"), ("update-desktop-database", "applications"))


@dataclass(frozen=True)
class DesktopFile:
    """A file of the desktop: its path below the data folder, and what it holds."""

    path: str
    text: str


def run_integrate(args: argparse.Namespace) -> int:
    if sys.platform in ("win32", "darwin"):
        raise CodecError("only desktops that follow freedesktop.org can be told of the files, as those of Linux")
    home = data_home()
    if args.remove:
        remove(home)
        return 0
    from codec.view import assets

    wanted = entries(command(), viewer=assets.built())
    if args.dry_run:
        for entry in wanted:
            print(f"{home / entry.path}\n\n{entry.text}")
    else:
        install(home, wanted)
    if not assets.built():
        say("'Open with' is left out: the page is not built (python -m codec view --build, then integrate again)")
    return 0


def data_home() -> Path:
    """XDG_DATA_HOME, or ~/.local/share where that is not set or not absolute, as the specification says."""
    named = os.environ.get("XDG_DATA_HOME", "")
    return Path(named) if os.path.isabs(named) else Path.home() / ".local" / "share"


def command() -> list[str]:
    """What starts the command line from any folder. Raises CodecError where only this shell finds the package."""
    words = [sys.executable, "-P", "-m", "codec"]  # -P: not what lies in the folder where the desktop is
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if subprocess.run([*words, "--version"], cwd="/", env=env, capture_output=True, check=False).returncode:
        raise CodecError("the desktop would not find the package, as it is not installed here (pip install)")
    return words


def entries(words: Sequence[str], viewer: bool) -> list[DesktopFile]:
    """The files. words: what starts the command line. viewer: the page is built."""
    start = " ".join(map(_quoted, words))
    mime = f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- {MARK} -->
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
  <mime-type type="{MIME_TYPE}">
    <comment>{COMMENT}</comment>
    <generic-icon name="image-x-generic"/>
    <magic priority="60">
      <match type="string" offset="0" value="\\x8aLDC"/>
    </magic>
    <glob pattern="*{SUFFIX}"/>
  </mime-type>
</mime-info>
"""
    thumbnailer = f"""# {MARK}
[Thumbnailer Entry]
TryExec={_escaped(words[0])}
Exec={start} thumbnail -f --size %s -o %o %i
MimeType={MIME_TYPE};
"""
    desktop = f"""# {MARK}
[Desktop Entry]
Type=Application
Name=LDC viewer
Comment=Shows LDC pictures in the browser, until its terminal is closed
TryExec={_escaped(words[0])}
Exec={start} view %F
Terminal=true
NoDisplay=true
Icon=image-x-generic
MimeType={MIME_TYPE};
"""
    made = [DesktopFile(MIME, mime), DesktopFile(THUMBNAILER, thumbnailer)]
    return [*made, DesktopFile(VIEWER, desktop)] if viewer else made


def install(home: Path, wanted: Sequence[DesktopFile]) -> None:
    """Write the files, over older ones of ours. Raises CodecError, before anything is written, for one of another."""
    for entry in wanted:
        _check_ours(home / entry.path)
    for entry in wanted:
        files.write(str(home / entry.path), entry.text.encode(), made_folder=True)
        say(f"written: {home / entry.path}")
    _index(home)


def remove(home: Path) -> None:
    """Remove the files that are there. Raises CodecError, before anything is removed, for one of another."""
    there = [home / path for path in (MIME, THUMBNAILER, VIEWER) if (home / path).is_file()]
    for path in there:
        _check_ours(path)
    for path in there:
        try:
            path.unlink()
        except OSError as error:
            raise CodecError(f"cannot remove '{path}': {error.strerror or error}") from error
        say(f"removed: {path}")
    if there:
        _index(home)
    else:
        say(f"nothing to remove below {home}")


def _check_ours(path: Path) -> None:
    try:
        ours = not path.exists() or MARK.encode() in path.read_bytes()
    except OSError as error:
        raise CodecError(f"cannot read '{path}': {error.strerror or error}") from error
    if not ours:
        raise CodecError(f"'{path}' was made by something else and is left alone; nothing was changed")


def _index(home: Path) -> None:
    for name, folder in INDEXERS:
        program = shutil.which(name)
        if program is None or not (home / folder).is_dir():
            continue
        done = subprocess.run([program, str(home / folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
            say(f"note: {name} failed: {reason}")


def _quoted(word: str) -> str:
    """A word of an Exec line."""
    word = word.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./-]+", word):
        return word
    return _escaped('"' + re.sub(r'(["`$\\])', r"\\\1", word) + '"')


def _escaped(value: str) -> str:
    """A value of a key file."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")
