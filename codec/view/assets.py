"""The files of the page. Those of ``page/`` are written by hand; the model and onnxruntime-web are added to them by
``build``.

Nothing that was fetched is kept in the repository: runtime.json names one version of the npm package with the hash of
its archive.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from codec.bitstream.container import MAGIC
from codec.errors import CodecError

PAGE = Path(__file__).parent / "page"
MODEL, RUNTIME = "model", "runtime"  # folders of the page that are built
INDEX = "index.html"
_PINNED = Path(__file__).with_name("runtime.json")
_BUILD = "python -m codec view --build"


def built(page: Path = PAGE) -> bool:
    """Whether ``build`` was done."""
    return (page / MODEL / "manifest.json").is_file() and (page / RUNTIME / "version.json").is_file()


def require(page: Path = PAGE) -> None:
    """Raises CodecError, with what to do, where the page was not built."""
    if not built(page):
        raise CodecError(f"the page is not built here; run '{_BUILD}' once (it needs npm)")


def build(export: Callable[[Path], None], say: Callable[[str], None], page: Path = PAGE) -> None:
    """Adds the model and onnxruntime-web to the page. export(folder): writes the model there; say: called with lines
    about what was done.

    Raises CodecError without npm, for a package that is not the pinned one, and where the folder cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".build-", dir=page.parent) as work:
            made = {name: Path(work, name) for name in (MODEL, RUNTIME)}
            fetch_runtime(made[RUNTIME], Path(work))
            export(made[MODEL])
            for name, folder in made.items():
                shutil.rmtree(page / name, ignore_errors=True)
                os.replace(folder, page / name)
    except OSError as error:
        raise CodecError(f"cannot write '{error.filename or page}': {error.strerror or error}") from error
    say(f"{page}: {size(page) / 1e6:.1f} MB")


def fetch_runtime(out: Path, work: Path) -> None:
    """Gets the pinned npm package and writes the files of it that the page needs, the large ones in gzip."""
    pinned = json.loads(_PINNED.read_text(encoding="utf-8"))
    with tarfile.open(_fetch(pinned, work)) as archive:
        out.mkdir()
        for member, name in pinned["files"].items():
            file = archive.extractfile(member)
            if file is None:
                raise CodecError(f"{pinned['package']} has no {member}")
            data = file.read()
            (out / name).write_bytes(gzip.compress(data, 9, mtime=0) if name.endswith(".bin") else data)
    version = {"package": pinned["package"], "version": pinned["version"]}
    (out / "version.json").write_text(json.dumps(version) + "\n", encoding="utf-8")


def _fetch(pinned: dict[str, str], work: Path) -> Path:
    """-> the archive, whose hash is the pinned one."""
    npm = shutil.which("npm")
    if npm is None:
        raise CodecError("npm is not on the PATH; it comes with Node")
    name = f"{pinned['package']}@{pinned['version']}"
    done = subprocess.run(
        [npm, "pack", name, "--ignore-scripts", "--silent", "--pack-destination", str(work)],
        capture_output=True,
        text=True,
        check=False,
        cwd=work,
    )
    found = sorted(work.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise CodecError(f"npm could not get {name}: {reason}")
    kind, _, wanted = pinned["integrity"].partition("-")
    if base64.b64encode(hashlib.new(kind, found[0].read_bytes()).digest()).decode() != wanted:
        raise CodecError(f"the package {name} is not the one that was pinned (its hash differs)")
    return found[0]


def files(page: Path = PAGE) -> dict[str, Path]:
    """Path below the page, with '/' -> file."""
    return {path.relative_to(page).as_posix(): path for path in sorted(page.rglob("*")) if path.is_file()}


def size(page: Path = PAGE) -> int:
    """Bytes of all files of the page."""
    return sum(path.stat().st_size for path in files(page).values())


def export_page(out: Path, pictures: dict[str, Path], force: bool, page: Path = PAGE) -> None:
    """Writes the page and pictures (address below the page -> file) as static files, for any web server.

    force: write into a folder that is not empty; pictures of a former page are removed. Raises CodecError.
    """
    require(page)
    if out.exists() and not out.is_dir():
        raise CodecError(f"the output '{out}' is no folder")
    if not force and out.is_dir() and any(out.iterdir()):
        raise CodecError(f"the folder '{out}' is not empty (-f writes into it)")
    try:
        # the index last: a copy that was broken off is no page
        names = sorted({**files(page), **pictures}.items(), key=lambda item: item[0] == INDEX)
        for name, source in names:
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        _remove_former(out, {out / name for name in pictures} | {path.resolve() for path in pictures.values()})
    except OSError as error:
        raise CodecError(f"cannot write '{error.filename or out}': {error.strerror or error}") from error


def _remove_former(out: Path, kept: set[Path]) -> None:
    """Removes the pictures of a page that was here before, by their addresses and by what is in them."""
    for path in out.glob("files/*/*"):
        if not path.parent.name.isdecimal() or not path.is_file() or kept & {path, path.resolve()}:
            continue
        with open(path, "rb") as file:
            ours = file.read(len(MAGIC)) == MAGIC
        if ours:
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
