"""What disks and people do to a run: one sentence each, nothing half-written, and the run can be completed."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from codec import cli
from codec.batch import files, run
from codec.batch.files import SourceError
from tests.support import long
from tests.support.many import draw, made, names

pytestmark = pytest.mark.usefixtures("fake")


def encode(*args: object) -> int:
    return cli.main(["encode", *map(str, args)])


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[str]:
    """A folder that holds so many bytes, or files of at most so many where nothing can be mounted; what is said of
    it."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0:
        try:
            yield "No space left on device"
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    handler, limit = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield "File too large"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk(tmp_path, capfd):
    folder = draw(tmp_path / "in", 6, side=400)  # 20 kB each
    manifest = tmp_path / "m.csv"
    with small_disk(tmp_path / "out", 8192) as sentence:
        assert encode(folder, "-o", tmp_path / "out", "--manifest", manifest) == 1
        said = capfd.readouterr().err
        assert said.count(sentence) >= 4 and "Traceback" not in said
        assert all(name in names(6) for name in made(tmp_path / "out"))
    assert encode(folder, "-o", tmp_path / "other", "--manifest", manifest, "--retry-failed") == 0
    assert "of 6 files failed" not in capfd.readouterr().err


def test_a_full_disk_under_the_manifest(tmp_path, capfd):
    folder = draw(tmp_path / "in", 40)
    with small_disk(tmp_path / "disk", 4096) as sentence:
        manifest = tmp_path / "disk" / "m.csv"
        assert encode(folder, "-o", tmp_path / "out", "--manifest", manifest) == 1
        assert f"the manifest '{manifest}' cannot be written: {sentence}" in capfd.readouterr().err.splitlines()[-1]
        shutil.copy(manifest, tmp_path / "m.csv")
    assert encode(folder, "-o", tmp_path / "out", "--manifest", tmp_path / "m.csv", "--resume") == 0
    assert list(made(tmp_path / "out")) == names(40)


def test_an_output_folder_that_is_removed(tmp_path, capfd, fake, monkeypatch):
    folder, out, calls = draw(tmp_path / "in", 4), tmp_path / "out", []
    real = fake.encode

    def removing(picture, **options):
        calls.append(picture)
        if len(calls) == 3:
            shutil.rmtree(out)
        return real(picture, **options)

    monkeypatch.setattr(fake, "encode", removing)
    assert encode(folder, "-o", out) == 0
    assert list(made(out)) == names(4, without=[0, 1])
    assert encode(folder, "-o", out, "--skip-existing") == 0 and list(made(out)) == names(4)


def test_a_folder_of_the_inputs_that_is_removed(tmp_path, capfd, fake, monkeypatch):
    folder, real = draw(tmp_path / "in", 2), fake.encode
    monkeypatch.setattr(
        fake, "encode", lambda picture, **options: shutil.rmtree(folder, True) or real(picture, **options)
    )
    assert encode(folder) == 1
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 4 and all("does not exist" in line for line in said[:2]) and not folder.exists()


def test_a_file_that_may_not_be_read(tmp_path, capfd, monkeypatch):
    folder = draw(tmp_path / "in", 3)
    (folder / "0001.png").chmod(0)
    if os.geteuid() == 0:  # who may read everything

        def refuse(name, *rest):
            if str(name).endswith("0001.png"):
                raise PermissionError(13, "Permission denied", name)
            return open(name, *rest)

        monkeypatch.setattr(files, "open", refuse, raising=False)
    assert encode(folder, "-o", tmp_path / "out") == 1
    said = capfd.readouterr().err.splitlines()
    assert f"ldc: error: {folder / '0001.png'}: Permission denied" in said
    assert list(made(tmp_path / "out")) == names(3, without=[1])


def test_a_file_that_changes_while_it_is_read(tmp_path, capfd, monkeypatch):
    folder = draw(tmp_path / "in", 2)
    path = folder / "0000.png"
    with pytest.raises(SourceError, match="changed while it was read"), files.opened(str(path)) as source:
        source.file.read(10)
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(SourceError, match="changed while it was read"), files.opened(str(path)) as source:
        path.write_bytes(b"shorter")
        raise ValueError("a damaged picture")
    grown = folder / "0001.png"
    stop = threading.Event()

    def grow() -> None:
        while not stop.is_set():
            with open(grown, "ab") as file:
                file.write(b"more")

    writer = threading.Thread(target=grow)
    writer.start()
    while grown.stat().st_size < 5000:
        time.sleep(0.001)
    from codec.image import read

    real = read.load

    def once_it_has_grown(file):
        before = grown.stat().st_size
        while grown.stat().st_size == before:
            time.sleep(0.001)
        return real(file)

    with monkeypatch.context() as here:
        here.setattr(read, "load", once_it_has_grown)
        assert encode(grown, "-o", tmp_path / "a.ldc") == 1
    stop.set()
    writer.join()
    assert "0001.png: the file changed while it was read" in capfd.readouterr().err
    assert encode(grown, "-o", tmp_path / "a.ldc") == 0


def test_a_pipe_in_a_folder_is_waited_for_by_nobody(tmp_path, capfd):
    folder = draw(tmp_path / "in", 2)
    os.mkfifo(folder / "0002.png")
    os.mkfifo(folder / "0003.ldc")
    (folder / "0004.png").symlink_to("nowhere")
    assert encode(folder, "-o", tmp_path / "out") == 1
    assert list(made(tmp_path / "out")) == names(2)
    said = capfd.readouterr().err
    assert f"ldc: error: {folder / '0004.png'}: " in said and "1 of 3 files failed" in said
    assert encode(folder) == 1 and cli.main(["info", str(folder)]) == 0
    assert capfd.readouterr().out.count("0003") == 0


def test_a_link_to_a_folder_is_followed_where_it_is_named(tmp_path):
    folder = draw(tmp_path / "in", 1)
    (folder / "link").symlink_to(draw(tmp_path / "other", 2))
    assert encode(folder, "-o", tmp_path / "a") == 0 and list(made(tmp_path / "a")) == names(1)
    assert encode(folder / "link", "-o", tmp_path / "b") == 0 and list(made(tmp_path / "b")) == names(2)


def test_what_is_there_of_other_settings_is_not_taken_for_the_same(tmp_path, capfd):
    folder = draw(tmp_path / "in", 2)
    assert encode(folder, "-q", 20) == 0
    assert encode(folder) == 1 and capfd.readouterr().err.count("exists (-f overwrites it)") == 2
    assert encode(folder, "-q", 20, "--skip-existing") == 0 and capfd.readouterr().err.count(": skipped,") == 2
    assert encode(folder, "-q", 30, "--skip-existing") == 1 and "other settings" in capfd.readouterr().err
    (folder / "0000.ldc").write_bytes((folder / "0000.ldc").read_bytes()[:-1])
    assert encode(folder, "-q", 20, "--skip-existing") == 1 and "is there but damaged" in capfd.readouterr().err


def test_what_is_there_and_misses_the_target_is_not_taken_for_the_same(tmp_path, capfd):
    folder = draw(tmp_path / "in", 1, side=40)
    assert encode(folder) == 0
    size = (folder / "0000.ldc").stat().st_size
    for options, code, said in (
        (["--target-bytes", size], 0, ": skipped,"),
        (["--target-bytes", size - 1], 1, f"has {size} bytes, more than the {size - 1} wanted"),
        (["--target-bpp", (size + 0.1) * 8 / 1600], 0, ": skipped,"),
        (["--target-bpp", (size - 0.1) * 8 / 1600], 1, f"has {size} bytes, more than the {size - 1} wanted"),
        (["--target-psnr", 5], 0, ": skipped,"),
        (["--target-psnr", 60], 1, "misses the PSNR that is wanted (-f overwrites it)"),
    ):
        assert encode(folder, "--skip-existing", *options) == code and said in capfd.readouterr().err, options
    draw(folder, 1, side=41)
    assert encode(folder, "--skip-existing", "--target-psnr", 5) == 1


def test_another_seed_is_another_setting(tmp_path, capfd):
    folder = draw(tmp_path / "in", 1)
    assert encode(folder, "--seed", 3) == 0 and encode(folder, "--seed", 3, "--skip-existing") == 0
    capfd.readouterr()
    assert encode(folder, "--seed", 4, "--skip-existing") == 1 and "other settings" in capfd.readouterr().err


def test_the_budget_is_within_the_memory(monkeypatch):
    with open("/proc/meminfo") as file:
        total = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemTotal"))
    assert 1 <= run.megapixels(2) * 160e6 < total
    monkeypatch.setattr(run, "_memory", lambda: 4e9)
    assert run.megapixels(1) == pytest.approx((3.2e9 - 0.5e9) / 160e6)
    assert run.megapixels(100) == 1


def test_the_process_that_leads_a_run_does_not_grow(tmp_path):
    found = long.memory(tmp_path, 600)  # 10,000: results/scale/checks.csv
    assert (found["exit_code"], found["outputs"], found["rows"], found["unreadable"]) == (1, 594, 600, 6)
    assert abs(found["growth_percent"]) < 5
    assert found["last_tenth_files_open"] <= found["first_tenth_files_open"] + 2
