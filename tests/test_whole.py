"""A file is whole or as it was, and nothing else is left."""

import os
import stat
from pathlib import Path

import pytest

from codec import whole


@pytest.mark.parametrize("at", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [False, True])
def test_what_fails_leaves_no_trace(at, error, there, tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before") if there else None

    def fail(*args: object, **more: object) -> None:
        raise error(28, "No space left on device")

    real = open
    with monkeypatch.context() as here:
        if at == "write":
            here.setattr(Path, "write_bytes", lambda self, data: real(self, "wb").write(data[:1]) and fail())
        else:
            here.setattr(os, at, fail)
        with pytest.raises(error):
            whole.replace(path, b"after")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({"a.bin": b"before"} if there else {})
    whole.replace(path, b"after")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.bin": b"after"}


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    done = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append(("bytes", os.fstat(file).st_size)) or sync(file))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append(("name", Path(a).name)) or rename(a, b))
    whole.replace(tmp_path / "a.bin", b"12345")
    assert done[0] == ("bytes", 5) and done[1][0] == "name" and len(done) == 2
    assert Path(done[1][1]).match(whole.PARTS) and done[1][1].startswith(".a.bin.")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o664])
def test_a_file_that_is_replaced_leaves_its_mode(mode, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    path.chmod(mode)
    with whole.written(path) as part:
        assert stat.S_IMODE(part.stat().st_mode) == 0o600  # never more than what is replaced
        part.write_bytes(b"after")
    assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == b"after"


def test_a_new_file_has_the_mode_that_open_gives(tmp_path):
    whole.replace(tmp_path / "a.bin", b"1")
    (tmp_path / "b.bin").write_bytes(b"1")
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "b.bin").stat().st_mode


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to("deep/a.bin")
    whole.replace(tmp_path / "link", b"1")
    assert (tmp_path / "link").is_symlink() and os.listdir(tmp_path / "deep") == ["a.bin"]


def test_a_name_of_any_bytes_and_length(tmp_path):
    for name in ("ä" * 120 + ".bin", os.fsdecode(b"caf\xe9.bin"), "a" * 255):
        whole.replace(tmp_path / name, b"1")
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).unlink()
