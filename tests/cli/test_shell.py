"""What shells do to a program: streams that are closed, pipes with names, long names, and names that steer a
terminal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codec
from codec import cli
from codec.bitstream import container
from codec.cli.report import printable
from tests.support.fake_codec import FakeCodec
from tests.support.files import tiff

ROOT = Path(codec.__file__).parent.parent
PROGRAM = (
    "import sys, codec.batch.backend as c; from tests.support.fake_codec import FakeCodec; "
    "c.load_codec = lambda args, model: FakeCodec(); from codec.cli import main; sys.exit(main())"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "a.png")
    monkeypatch.setattr("codec.batch.backend.load_codec", lambda args, model: FakeCodec())
    monkeypatch.setattr("codec.cli.commands.cores", lambda: 1)
    return tmp_path


def shell(line: str, folder: Path, code: int = 0) -> subprocess.CompletedProcess:
    """Run a line of bash in which CODEC is the command line over a codec without a network."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = f"CODEC() {{ '{sys.executable}' -c '{PROGRAM}' \"$@\"; }}\n"
    result = subprocess.run(
        ["bash", "-c", start + line], capture_output=True, cwd=folder, env=env, check=False, stdin=subprocess.DEVNULL
    )
    assert result.returncode == code, result
    assert b"Traceback" not in result.stderr and b"internal error" not in result.stderr
    return result


def test_standard_output_by_its_file_name(folder):
    piped = shell("CODEC encode a.png -o /dev/stdout | cat", folder).stdout
    assert container.parse(piped).header.width == 8
    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        shell(f"CODEC encode a.png -o {name} > b.ldc", folder)
        assert (folder / "b.ldc").read_bytes() == piped


@pytest.mark.parametrize(
    "environment", ["PYTHONIOENCODING=ascii", "PYTHONIOENCODING=latin-1", "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"]
)
def test_names_that_standard_output_has_no_signs_for(environment, folder):
    shell("CODEC encode a.png -o 漢é.ldc", folder)
    said = shell(f"export {environment}; CODEC info 漢é.ldc && CODEC info --json 漢é.ldc", folder).stdout
    assert b".ldc\n" in said and b"width           8\n" in said and b"\\u" in said


def test_output_into_a_command(folder):
    shell("CODEC encode a.png -o >(cat > b.ldc); wait $!; sleep .2", folder)
    assert container.parse((folder / "b.ldc").read_bytes()).header.width == 8
    shell("CODEC decode b.ldc -o >(cat > c.png); wait $!; sleep .2", folder)
    assert Image.open(folder / "c.png").size == (8, 8)


def test_closed_standard_error(folder):
    shell("CODEC encode missing.png -o - 2>&- > b.ldc", folder, code=1)
    assert (folder / "b.ldc").read_bytes() == b""
    shell("CODEC encode a.png -o b.ldc -f 2>&-", folder)
    assert container.parse((folder / "b.ldc").read_bytes()).header.width == 8
    assert shell("CODEC encode --nonsense 2>&-", folder, code=2).stdout == b""


def test_closed_standard_input_and_output(folder):
    assert b"standard input: it is closed" in shell("CODEC encode - -o b.ldc <&-", folder, code=1).stderr
    assert not (folder / "b.ldc").exists()
    for line in ("encode a.png -o -", "encode a.png --json", "info a.ldc"):
        assert shell(f"CODEC {line} >&-", folder, code=1).stderr == b"ldc: error: standard output is closed\n"
    assert shell("CODEC encode a.png >&-", folder).stderr.count(b"\n") == 1  # a file is all that was asked for


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_standard_output(folder, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    shell("CODEC encode a.png", folder)
    for line in ("--version", "--help", "encode --help", "man", "info a.ldc", "info a.ldc --json", "decode a.ldc -o -"):
        said = shell(f"CODEC {line} > /dev/full", folder, code=1).stderr
        assert said == b"ldc: error: No space left on device\n" or line.startswith("decode"), line
        assert b"No space left on device" in said and said.count(b"\n") == 1


def test_ctrl_c_before_the_program_has_begun():
    """While what it needs is imported."""
    program = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == sys.argv[1]: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from codec.cli import main\n"
        "sys.exit(main(['--version']))"
    )
    for module in ("codec.batch.outcome", "codec.cli.parser", "codec.cli.commands", "codec.batch.work", "logging"):
        result = subprocess.run(
            [sys.executable, "-c", program, module],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert (result.returncode, result.stderr) == (130, b"ldc: error: interrupted\n"), module


def test_ctrl_c_before_the_command_line_is_there_and_when_it_has_ended(tmp_path):
    """In Python's own words it would be a traceback."""
    program = (
        "import atexit, os, runpy, signal, sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == sys.argv[1]: raise KeyboardInterrupt\n"
        "if sys.argv[1] == 'end': atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "sys.argv[1:] = sys.argv[1:] if sys.argv[1] == 'codec.cli' else ['--version']\n"
        "runpy.run_module('codec', run_name='__main__', alter_sys=True)"
    )
    for moment, ends, said in (("codec.cli", 130, b"ldc: error: interrupted\n"), ("end", -signal.SIGINT, b"")):
        result = subprocess.run([sys.executable, "-c", program, moment], capture_output=True, cwd=ROOT, check=False)
        assert (result.returncode, result.stderr) == (ends, said), moment


def test_little_is_imported_before_ctrl_c_is_caught():
    program = "import sys; before = set(sys.modules); import codec; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, cwd=ROOT, check=True)
    assert not {b"typing", b"re", b"dataclasses"} & set(result.stdout.split())


@pytest.mark.parametrize("name", ["図" * 80, "é" * 120, "a" * 245, "\N{GRINNING FACE}" * 61])
def test_long_names(name, folder, capfd):
    (folder / "a.png").rename(folder / f"{name}.png")
    assert cli.main(["encode", str(folder / f"{name}.png")]) == 0, capfd.readouterr()
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.ldc", f"{name}.png"]


def test_a_name_that_is_too_long_is_refused_before_the_work(folder, capfd, monkeypatch):
    monkeypatch.setattr("codec.batch.backend.load_codec", lambda args, model: pytest.fail("work was done"))
    assert cli.main(["encode", str(folder / "a.png"), "-o", str(folder / ("a" * 300))]) == 1
    assert "name too long" in capfd.readouterr().err.lower()


def test_a_folder_that_cannot_be_read_is_said(folder, capfd, monkeypatch):
    (folder / "shut").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert cli.main(["encode", str(folder)]) == 1
    assert (folder / "a.ldc").exists()
    said = capfd.readouterr().err
    assert f"ldc: error: {folder / 'shut'}: the folder cannot be read: Permission denied\n" in said
    assert cli.main(["decode", str(folder), "-f"]) == 1


def test_names_do_not_steer_the_terminal(folder, capfd):
    evil = "a\x1b[2Jb\nc\u202ed\x9b.png"
    (folder / "a.png").rename(folder / evil)
    assert cli.main(["encode", str(folder / evil)]) == 0
    assert cli.main(["encode", str(folder / evil)]) == 1
    with pytest.raises(SystemExit):
        cli.main(["encode", "x", "--\x1b[2J"])
    assert cli.main(["encode", str(folder / evil), str(folder / "missing\x1b"), "-f"]) == 1
    said = capfd.readouterr().err
    assert not set(said) & set("\x1b\u202e\x9b") and r"a\x1b[2Jb\nc\u202ed\x9b" in said
    assert printable("naïve 図 \N{FAMILY} b.png") == "naïve 図 \N{FAMILY} b.png"
    assert printable("\udcff") == "\\udcff"


def test_bytes_that_are_no_text(folder, capfd):
    name = os.fsdecode(b"\xff\xfe.png")
    (folder / "a.png").rename(folder / name)
    assert cli.main(["encode", str(folder / name)]) == 0
    assert r"\udcff\udcfe" in capfd.readouterr().err


def test_a_damaged_tiff_is_one_line(folder, capfd):
    samples = np.arange(60).reshape(4, 5, 3)
    data = bytearray(tiff(samples, 8, 2, deflate=True))
    data[-12:-6] = b"??????"
    (folder / "a.tif").write_bytes(data)
    assert cli.main(["encode", str(folder / "a.tif")]) == 1
    assert capfd.readouterr().err.count("\n") == 1
    forged = tiff(samples, 8, 2, tags={277: (3, [9])})
    (folder / "a.tif").write_bytes(forged)
    assert cli.main(["encode", str(folder / "a.tif")]) == 1
    assert capfd.readouterr().err.count("\n") == 1
