"""What the desktop is told, in a home folder of the test, and the thumbnailer as a file manager starts it."""

import configparser
import io
import os
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codec
from codec import coarse
from codec.cli import integrate, main
from codec.cli.thumbnail import thumbnail
from codec.view import assets

ROOT, GOLDEN = Path(codec.__file__).parent.parent, Path(__file__).parents[1] / "golden"
MIME = "{http://www.freedesktop.org/standards/shared-mime-info}"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The data folder of a user who has other files there, with the page built."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(assets, "built", lambda: True)
    folder = tmp_path / "home" / ".local" / "share"
    (folder / "thumbnailers").mkdir(parents=True)
    (folder / "thumbnailers" / "other.thumbnailer").write_text("[Thumbnailer Entry]\n")
    return folder


def found(home: Path) -> dict[str, bytes]:
    """Files that are no index of the desktop's own programs."""
    places = ("packages", "thumbnailers", "applications")
    paths = [path for path in home.rglob("*") if path.is_file() and path.parent.name in places]
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in paths if path.name != "mimeinfo.cache"}


def key_file(path: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read(path)
    return parser[parser.sections()[0]]


def test_install_and_remove(home, capsys):
    before = found(home)
    assert main(["integrate", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert found(home) == before and not (home / "mime").exists()
    for _ in range(2):  # twice does no harm
        assert main(["integrate", "--install"]) == 0
        now = found(home)
        assert set(now) - set(before) == {integrate.MIME, integrate.THUMBNAILER, integrate.VIEWER}
        assert all(now[name].decode() in said.out and str(home / name) in said.out for name in set(now) - set(before))
    assert main(["integrate", "--remove"]) == 0
    assert found(home) == before
    capsys.readouterr()
    assert main(["integrate", "--remove"]) == 0
    assert "nothing to remove" in capsys.readouterr().err


def test_media_type(home):
    """The structure that shared-mime-info's specification asks for, and the first bytes of a real file."""
    assert main(["integrate", "--install"]) == 0
    root = ET.parse(home / integrate.MIME).getroot()
    (kind,) = root
    assert root.tag == f"{MIME}mime-info" and kind.tag == f"{MIME}mime-type" and kind.get("type") == "image/x-ldc"
    assert [part.tag for part in kind] == [MIME + name for name in ("comment", "generic-icon", "magic", "glob")]
    assert kind.find(f"{MIME}glob").get("pattern") == "*.ldc"
    (match,) = kind.find(f"{MIME}magic")
    assert (match.get("type"), match.get("offset")) == ("string", "0")
    magic = match.get("value").encode().decode("unicode_escape").encode("latin-1")
    assert magic == (GOLDEN / "model6-pixel.ldc").read_bytes()[: len(magic)]


@pytest.mark.skipif(shutil.which("update-mime-database") is None, reason="shared-mime-info is not installed")
def test_index_of_media_types(home):
    assert main(["integrate", "--install"]) == 0
    assert "50:image/x-ldc:*.ldc" in (home / "mime" / "globs2").read_text()
    assert b"\x8aLDC" in (home / "mime" / "magic").read_bytes()
    assert main(["integrate", "--remove"]) == 0
    assert "ldc" not in (home / "mime" / "globs2").read_text()


@pytest.mark.parametrize("python", [None, "a b/$x/50%\\n\"'`/python"])
def test_thumbnailer(home, tmp_path, monkeypatch, python):
    """As tumbler starts it: from the root folder, into a file that is there and has no suffix."""
    if python is not None:
        program = tmp_path / python
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
    assert main(["integrate", "--install"]) == 0
    entry = key_file(home / integrate.THUMBNAILER)
    assert entry["MimeType"] == "image/x-ldc;"
    assert entry["TryExec"].replace("\\\\", "\\") == sys.executable
    source = tmp_path / "my $photo.ldc"
    source.write_bytes((GOLDEN / "model6-photo-q95.ldc").read_bytes())
    target = tmp_path / "made"
    target.write_bytes(b"")
    line = entry["Exec"].replace("\\\\", "\\")
    split = subprocess.run(["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True)
    words = split.stdout.splitlines()
    values = {"%i": str(source), "%o": str(target), "%s": "40"}
    words = [values.get(word, word.replace("%%", "%")) for word in words]
    assert words[0] == sys.executable
    done = subprocess.run(words, cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    with Image.open(target) as image:
        assert image.format == "PNG" and image.size == (40, 33)


def test_viewer(home, monkeypatch, capsys):
    assert main(["integrate", "--install"]) == 0
    entry = key_file(home / integrate.VIEWER)
    assert entry["Type"] == "Application" and entry["Terminal"] == "true" and entry["MimeType"] == "image/x-ldc;"
    assert entry["Exec"].endswith(" -P -m codec view %F")
    if validate := shutil.which("desktop-file-validate"):
        subprocess.run([validate, str(home / integrate.VIEWER)], check=True)
    assert main(["integrate", "--remove"]) == 0
    monkeypatch.setattr(assets, "built", lambda: False)
    assert main(["integrate", "--install"]) == 0
    assert set(found(home)) >= {integrate.MIME, integrate.THUMBNAILER} and integrate.VIEWER not in found(home)
    assert "view --build" in capsys.readouterr().err


def test_files_of_others_are_left_alone(home, capsys):
    path = home / integrate.THUMBNAILER
    path.write_text("[Thumbnailer Entry]\nExec=other\n")
    before = found(home)
    for what in ("--install", "--remove"):
        assert main(["integrate", what]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "left alone" in said and str(path) in said
        assert found(home) == before


def test_the_folder_that_is_named(home, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert main(["integrate", "--install"]) == 0
    assert set(found(tmp_path / "data")) == {integrate.MIME, integrate.THUMBNAILER, integrate.VIEWER}
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # which the specification says to ignore
    assert integrate.data_home() == home


def test_what_the_desktop_would_not_find(home, monkeypatch, tmp_path, capsys):
    """A Python in which the package is not installed."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    before = found(home)
    assert main(["integrate", "--install"]) == 1
    assert "not installed here" in capsys.readouterr().err and found(home) == before


def test_one_of_three():
    for words in ([], ["--install", "--remove"]):
        with pytest.raises(SystemExit, match="2"):
            main(["integrate", *words])


@pytest.mark.parametrize("name", ["photo-q50", "alpha-odd", "gray-odd", "pixel"])
@pytest.mark.parametrize("size", [8, 2000])
def test_thumbnail(name, size, tmp_path):
    source, target = GOLDEN / f"model6-{name}.ldc", tmp_path / "small.png"
    assert main(["thumbnail", str(source), "-o", str(target), "--size", str(size)]) == 0
    full = Image.open(source.with_suffix(".png"))
    with Image.open(target) as image:
        assert image.mode == full.mode and max(image.size) == min(size, max(full.size))
        assert abs(image.width * full.height - image.height * full.width) <= max(full.size) / 2
        if size > max(full.size):  # decoded whole
            assert np.abs(np.asarray(image, int) - np.asarray(full, int)).max() <= 1


@pytest.mark.slow
def test_thumbnail_is_near_to_the_picture(shipped, photo):
    """To what the whole picture gives, reduced by squares of pixels in the same way."""
    data = shipped.encode(photo, quality=60)
    full = shipped.decode(data)
    for size, most in ((32, 1.5), (128, 2.5), (400, 1.5)):
        with Image.open(io.BytesIO(thumbnail(data, size))) as image:
            factor = coarse.factor_for(full.size, image.size)
            box = (0, 0, full.width / factor, full.height / factor)
            wanted = full.reduce(factor).resize(image.size, Image.Resampling.LANCZOS, box=box)
            assert np.sqrt(np.mean((np.asarray(image, float) - np.asarray(wanted, float)) ** 2)) < most


def test_thumbnail_of_a_lossless_file(tmp_path):
    source = tmp_path / "a.ldc"
    source.write_bytes(codec.encode(Image.effect_noise((90, 60), 50), lossless=True))
    assert main(["thumbnail", str(source), "-o", str(tmp_path / "a.png"), "--size", "30"]) == 0
    assert Image.open(tmp_path / "a.png").size == (30, 20)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:9] + b"?" + data[10:], lambda data: b""])
def test_no_thumbnail_of_what_is_damaged(damage, tmp_path, capsys):
    source, target = tmp_path / "a.ldc", tmp_path / "a.png"
    source.write_bytes(damage((GOLDEN / "model6-photo-q50.ldc").read_bytes()))
    assert main(["thumbnail", str(source), "-o", str(target), "--size", "10"]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and str(source) in said.err and not target.exists()


def test_thumbnail_overwrites_only_when_told(tmp_path, capsys):
    source, target = GOLDEN / "model6-pixel.ldc", tmp_path / "a.png"
    target.write_bytes(b"mine")
    assert main(["thumbnail", str(source), "-o", str(target)]) == 1
    assert "-f overwrites it" in capsys.readouterr().err and target.read_bytes() == b"mine"
    assert main(["thumbnail", str(source), "-o", str(target), "-f"]) == 0
    assert Image.open(target).size == (1, 1)


def test_thumbnail_to_standard_output(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").write_bytes(b"mine")
    assert main(["thumbnail", str(GOLDEN / "model6-photo-q95.ldc"), "-o", "-", "--size", "40"]) == 0
    with Image.open(io.BytesIO(capfdbinary.readouterr().out)) as image:
        assert image.format == "PNG" and image.size == (40, 33)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"-": b"mine"}
