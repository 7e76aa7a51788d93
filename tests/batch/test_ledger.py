"""The manifest: a row a file, that outlives a kill, and from which a run goes on."""

import csv
import os
import random
import signal
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from codec import cli
from codec.batch import ledger
from tests.support.fake_cli import BLUE
from tests.support.fake_codec import FakeCodec
from tests.support.many import draw, made, names, start


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """The command line over a codec without a network, in this process."""
    fake = FakeCodec()
    monkeypatch.setattr("codec.batch.backend.load_codec", lambda settings, model: fake)
    monkeypatch.setattr("codec.cli.commands.cores", lambda: 1)
    return fake


def run(*args: object) -> int:
    return cli.main([str(arg) for arg in args])


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def by_name(path: Path) -> dict[str, dict[str, str]]:
    found = {Path(row["source"]).name: row for row in rows(path)}
    assert len(found) == len(rows(path))
    return found


def test_a_row_says_what_became_of_a_file(tmp_path, capfd):
    folder = draw(tmp_path / "in", 3)
    (folder / "0001.png").write_bytes(b"no picture")
    manifest = tmp_path / "m.csv"
    assert run("encode", folder, "-o", tmp_path / "out", "--manifest", manifest, "--verify", "-q", 30) == 1
    found = by_name(manifest)
    good, bad = found["0000.png"], found["0001.png"]
    data = (tmp_path / "out" / "0000.ldc").read_bytes()
    stat = (folder / "0000.png").stat()
    assert (good["source"], good["output"]) == (str(folder / "0000.png"), str(tmp_path / "out" / "0000.ldc"))
    assert (int(good["size"]), float(good["stamp"])) == (stat.st_size, pytest.approx(stat.st_mtime, abs=1e-5))
    assert (int(good["output_bytes"]), good["width"], good["height"]) == (len(data), "12", "12")
    assert float(good["bits_per_dim"]) == pytest.approx(len(data) * 8 / 12 / 12 / 3)
    assert float(good["quality"]) == 30 and float(good["rmse"]) > 0 and '"quality": 30.0' in good["options"]
    assert (good["status"], bad["status"], good["error"]) == ("done", "failed", "")
    assert "not a picture" in bad["error"] and bad["output"] == ""


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_run_goes_on_where_it_was(suffix, tmp_path, fake, capfd):
    if suffix == "parquet":
        pytest.importorskip("pyarrow.parquet", reason="the extra remote is not installed", exc_type=ImportError)
    folder = draw(tmp_path / "in", 4)
    (folder / "0001.png").write_bytes(b"no picture")
    manifest = tmp_path / f"m.{suffix}"
    command = ["encode", folder, "-o", tmp_path / "out", "--manifest", manifest]
    assert run(*command) == 1 and len(fake.calls) == 3
    assert run(*command) == 2 and "--resume goes on with it" in capfd.readouterr().err
    assert run(*command, "--resume") == 1 and len(fake.calls) == 3
    said = capfd.readouterr().err
    assert "ldc: 3 files are done by the manifest, 0 are left" in said
    assert "1 files failed before and are left alone (--retry-failed tries them again)" in said
    Image.new("RGB", (9, 9)).save(folder / "0002.png")  # a file that changed is done again, and its output replaced
    draw(tmp_path / "other", 5)
    os.replace(tmp_path / "other" / "0004.png", folder / "0004.png")
    assert run(*command, "--resume") == 1 and len(fake.calls) == 5
    Image.new("RGB", (7, 7)).save(folder / "0001.png")
    assert run(*command, "--retry-failed") == 0 and len(fake.calls) == 6
    assert run(*command, "--resume") == 0 and len(fake.calls) == 6
    assert run(*command, "--resume", "-q", 10, "-f") == 0 and len(fake.calls) == 11  # other settings
    assert sorted(path.name for path in tmp_path.iterdir() if "m." in path.name) == [f"m.{suffix}"]
    if suffix == "parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(manifest)
        assert str(table.schema.field("bits_per_dim").type) == "double" and table["status"].to_pylist() == ["done"] * 5
    else:
        assert len(by_name(manifest)) == 5


def test_names_that_look_alike_have_a_row_each(tmp_path, fake):
    folder, manifest = draw(tmp_path / "in", 2), tmp_path / "m.csv"
    (folder / "0000.png").rename(folder / "a\nb.png")
    (folder / "0001.png").rename(folder / r"a\nb.png")
    command = ["encode", folder, "-o", tmp_path / "out", "--manifest", manifest]
    assert run(*command) == 0 and len(rows(manifest)) == 2
    assert sorted(Path(row["source"]).name for row in rows(manifest)) == [r"a\\nb.png", r"a\nb.png"]
    assert run(*command, "--resume") == 0 and len(fake.calls) == 2


def test_the_manifest_is_no_input_and_no_output(tmp_path, fake, capfd):
    picture, manifest = draw(tmp_path / "in", 1) / "0000.png", tmp_path / "m.csv"
    manifest.write_text("mine")
    for files in ([picture, "-o", manifest], [manifest, "-o", tmp_path / "a.ldc"]):
        assert run("encode", *files, "--manifest", manifest, "-f") == 2
        assert "cannot be both the manifest and" in capfd.readouterr().err and manifest.read_text() == "mine"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_that_is_no_manifest_is_not_started_again(tmp_path, fake, capfd, suffix):
    """-f is for a manifest; the name of another table was emptied."""
    folder, other = draw(tmp_path / "in", 1), tmp_path / f"prices{suffix}"
    if suffix == ".csv":
        other.write_text("item,price\nbread,3\n")
    else:
        pyarrow.parquet.write_table(pyarrow.table({"item": ["bread"]}), other)
    before = other.read_bytes()
    assert run("encode", folder, "-o", tmp_path / "out", "--manifest", other, "-f") == 2
    assert "is not a manifest" in capfd.readouterr().err
    assert (
        other.read_bytes() == before and not fake.calls and {p.name for p in tmp_path.iterdir()} == {"in", other.name}
    )


def test_another_output_is_another_job(tmp_path, fake):
    folder, manifest = draw(tmp_path / "in", 2), tmp_path / "m.csv"
    assert run("encode", folder, "-o", tmp_path / "out", "--manifest", manifest) == 0
    assert run("encode", folder, "-o", tmp_path / "new", "--manifest", manifest, "--resume") == 0
    assert len(fake.calls) == 4 and made(tmp_path / "new") == made(tmp_path / "out")
    assert by_name(manifest)["0000.png"]["output"] == str(tmp_path / "new" / "0000.ldc")


def test_what_was_not_verified_is_done_again_to_verify_it(tmp_path, fake):
    command = ["encode", draw(tmp_path / "in", 2), "-o", tmp_path / "out", "--manifest", tmp_path / "m.csv"]
    assert run(*command) == 0 and {row["rmse"] for row in rows(tmp_path / "m.csv")} == {""}
    for options in (["--verify"], ["--verify"], []):  # what was verified is done for a run that does not ask for it
        assert run(*command, "--resume", *options) == 0 and len(fake.calls) == 4
        assert all(float(row["rmse"]) > 0 for row in by_name(tmp_path / "m.csv").values())


def test_upscale_takes_no_result_of_its_own_as_an_input(tmp_path, fake):
    folder, manifest = draw(tmp_path / "in", 2), tmp_path / "m.csv"
    command = ["upscale", folder, "--manifest", manifest]
    assert run(*command) == 0
    wanted = ["0000.png", "0000.x2.png", "0001.png", "0001.x2.png"]
    for again in (["--skip-existing"], ["-f"]):
        assert run("upscale", folder, *again) == 0 and list(made(folder)) == wanted
    (folder / "0001.png").unlink()
    assert run(*command, "--resume") == 0 and list(made(folder)) == ["0000.png", "0000.x2.png", "0001.x2.png"]


def test_a_manifest_of_encode_serves_decode_too(tmp_path):
    folder, manifest = draw(tmp_path / "in", 1), tmp_path / "m.csv"
    assert run("encode", folder, "-o", tmp_path / "out", "--manifest", manifest) == 0
    assert run("decode", tmp_path / "out", "--manifest", manifest, "--resume") == 0
    assert list(made(tmp_path / "out")) == ["0000.ldc", "0000.png"]


def test_only_retry_failed_tries_again_what_failed_and_is_as_it_was(tmp_path, fake, monkeypatch):
    folder, manifest = draw(tmp_path / "in", 2), tmp_path / "m.csv"
    command = ["encode", folder, "-o", tmp_path / "out", "--manifest", manifest]
    with monkeypatch.context() as here:
        here.setattr(fake, "encode", lambda *args, **options: 1 / 0)
        assert run(*command) == 1
    assert run(*command, "--resume") == 1 and not fake.calls
    assert run(*command, "--retry-failed") == 0 and len(fake.calls) == 2
    assert {row["status"] for row in rows(manifest)} == {"done"}


def test_a_row_that_was_cut_off_is_done_again(tmp_path, fake, capfd):
    folder = draw(tmp_path / "in", 3)
    manifest = tmp_path / "m.csv"
    command = ["encode", folder, "-o", tmp_path / "out", "--manifest", manifest]
    assert run(*command) == 0
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-40])
    assert run(*command, "--resume") == 0 and len(fake.calls) == 4  # the output that is there is the same
    assert len(by_name(manifest)) == 3
    manifest.write_bytes(whole[:-40])
    (tmp_path / "out" / "0002.ldc").write_bytes(b"mine")
    assert run(*command, "--resume") == 1
    assert "exists and is another (-f overwrites it)" in capfd.readouterr().err
    assert (tmp_path / "out" / "0002.ldc").read_bytes() == b"mine"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_output_that_is_lost_is_made_again(suffix, tmp_path, fake, capfd):
    """After a power loss there may be a row without the file, or with an empty one."""
    if suffix == "parquet":
        pytest.importorskip("pyarrow.parquet", reason="the extra remote is not installed", exc_type=ImportError)
    folder = draw(tmp_path / "in", 4)
    command = ["encode", folder, "-o", tmp_path / "out", "--manifest", tmp_path / f"m.{suffix}"]
    assert run(*command) == 0
    before = made(tmp_path / "out")
    (tmp_path / "out" / "0000.ldc").unlink()
    (tmp_path / "out" / "0001.ldc").write_bytes(b"")
    assert run(*command, "--resume") == 0 and len(fake.calls) == 6
    assert "2 files are done by the manifest, 2 are left" in capfd.readouterr().err
    assert made(tmp_path / "out") == before
    (tmp_path / "out" / "0002.ldc").write_bytes(b"mine")  # it may be somebody's
    assert run(*command, "--resume") == 1
    assert "0002.ldc' exists and is another (-f overwrites it)" in capfd.readouterr().err
    assert (tmp_path / "out" / "0002.ldc").read_bytes() == b"mine"
    assert run(*command, "--retry-failed") == 1
    assert run(*command, "--retry-failed", "-f") == 0 and made(tmp_path / "out") == before
    assert run(*command, "--resume") == 0 and "4 files are done" in capfd.readouterr().err


@pytest.mark.slow
def test_killed_at_random_moments_a_run_is_complete_in_the_end(tmp_path):
    count = 18
    folder = draw(tmp_path / "in", count, dict.fromkeys(range(count), BLUE))
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    moment = random.Random(3)
    for turn in range(40):
        again = ["--resume"] * (turn > 0)
        process = start("encode", folder, "-o", out, "--manifest", manifest, "--jobs", 2, *again, FAKE_SECONDS=".1")
        wanted = len(made(out)) + moment.randrange(2, 6) if out.exists() else 2
        while process.poll() is None and (not out.exists() or len(made(out)) < wanted):
            time.sleep(0.005)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert turn >= 3 and process.returncode == 0, process.communicate()[1]
    assert [name for name in made(out) if not name.endswith(".part")] == names(count)
    assert len(by_name(manifest)) == count and {row["status"] for row in rows(manifest)} == {"done"}


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--resume"], "--manifest"),
        (["--retry-failed"], "--manifest"),
        (["--manifest", "m.xls"], "has to be a .csv or a .parquet"),
        (["--manifest", "s3://bucket/m.csv"], "has to be a .csv or a .parquet on this machine"),
        (["--address", "auto"], "no effect without --engine ray"),
        (["--engine", "ray", "--max-megapixels", "9"], "no effect with --engine ray"),
        (["--manifest", "m.csv", "--resume", "--skip-existing"], "exclude each other"),
    ],
)
def test_options_that_do_not_go_together(arguments, said, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(draw(tmp_path / "in", 1))
    assert run("encode", "0000.png", *arguments) == 2
    assert said in capfd.readouterr().err and made(tmp_path / "in").keys() == {"0000.png"}


def test_one_run_at_a_time_writes_a_manifest(tmp_path, capfd):
    folder = draw(tmp_path / "in", 2, dict.fromkeys(range(2), BLUE))
    manifest = tmp_path / "m.csv"
    process = start("encode", folder, "-o", tmp_path / "out", "--manifest", manifest, FAKE_SECONDS="3600")
    while not manifest.exists() or not manifest.stat().st_size:
        assert process.poll() is None
        time.sleep(0.01)
    assert run("encode", folder, "-o", tmp_path / "out", "--manifest", manifest, "--resume") == 2
    assert "another run writes the manifest" in capfd.readouterr().err
    process.kill()
    process.communicate()
    assert run("encode", folder, "-o", tmp_path / "out", "--manifest", manifest, "--resume") == 0


HEADER = ",".join(ledger.COLUMNS) + "\n"


@pytest.mark.parametrize(
    "text",
    ["a,b\n1,2\n", "a,b\n1,2", "precious,data", HEADER[:9] + ";", HEADER[:-1] + ",more\n1,2", "\n", b"\xff\xfe\0a"],
)
def test_another_table_is_not_taken_for_a_manifest(text, tmp_path, capfd):
    folder = draw(tmp_path / "in", 1)
    data = text if isinstance(text, bytes) else text.encode()
    for name in ("m.csv", "m.parquet.journal"):
        (tmp_path / name).write_bytes(data)
        assert run("encode", folder, "--manifest", tmp_path / name.removesuffix(".journal"), "--resume") == 2
        said = capfd.readouterr().err
        assert f"'{tmp_path / name}' is not a manifest" in said and said.count("\n") == 1
        assert (tmp_path / name).read_bytes() == data
    assert made(folder).keys() == {"0000.png"}


@pytest.mark.parametrize("whole", [False, True])
def test_another_parquet_is_not_taken_for_a_manifest(whole, tmp_path, capfd):
    pytest.importorskip("pyarrow.parquet", reason="the extra remote is not installed", exc_type=ImportError)
    import pyarrow.parquet

    folder, path = draw(tmp_path / "in", 1), tmp_path / "m.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)
    data = path.read_bytes() if whole else path.read_bytes()[:-9]
    path.write_bytes(data)
    assert run("encode", folder, "--manifest", path, "--resume") == 2
    assert "is not a manifest" in capfd.readouterr().err
    assert path.read_bytes() == data and sorted(os.listdir(tmp_path)) == ["in", "m.parquet"]


@pytest.mark.parametrize("length", [0, 5, len(HEADER) - 1, len(HEADER)])
def test_a_manifest_that_was_cut_off_in_its_first_line_is_begun_again(length, tmp_path):
    folder = draw(tmp_path / "in", 1)
    (tmp_path / "m.csv").write_text(HEADER[:length])
    assert run("encode", folder, "--manifest", tmp_path / "m.csv", "--resume") == 0
    assert len(by_name(tmp_path / "m.csv")) == 1


@pytest.mark.parametrize("row", [b"a,b\n", b"," * 40 + b"\n", b"\xff" + b"," * 16 + b"\n"])
def test_a_damaged_manifest_is_one_sentence(row, tmp_path, capfd):
    folder = draw(tmp_path / "in", 1)
    (tmp_path / "m.csv").write_bytes(HEADER.encode() + row)
    assert run("encode", folder, "--manifest", tmp_path / "m.csv", "--resume") == 2
    said = capfd.readouterr().err
    assert "m.csv' is damaged" in said and said.count("\n") == 1
    assert (tmp_path / "m.csv").read_bytes() == HEADER.encode() + row
