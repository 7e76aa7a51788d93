"""Pictures in object stores, on web servers, in archives and shards. The S3 server is a real one, on the loopback."""

import functools
import http.server
import io
import json
import tarfile
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from codec import cli
from codec.batch import files
from tests.support import long
from tests.support.fake_codec import SHIPPED, FakeCodec
from tests.support.many import draw, made
from tests.support.store import BUCKET, Server, served

pytest.importorskip("s3fs", reason="the extra remote is not installed")


pytestmark = pytest.mark.usefixtures("fake")


@pytest.fixture
def store(monkeypatch):
    with served(monkeypatch.setenv) as server:
        yield server


def run(*args: object) -> int:
    return cli.main([str(arg) for arg in args])


def objects(below: str) -> dict[str, bytes]:
    import s3fs

    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    return {name.removeprefix(f"{below}/"): fs.cat_file(name) for name in fs.find(below)}


def upload(folder: Path, below: str) -> None:
    import s3fs

    fs = s3fs.S3FileSystem()
    for name, data in made(folder).items():
        fs.pipe_file(f"{below}/{name}", data)


def local_files(folder: Path, out: Path) -> dict[str, bytes]:
    assert run("encode", folder, "-o", out) == 0
    return made(out)


def test_a_folder_of_a_store_into_another(store: Server, tmp_path, capfd):
    folder = draw(tmp_path / "in", 3)
    draw(folder / "deep", 1)
    expected = local_files(folder, tmp_path / "out")
    upload(folder, f"{BUCKET}/in")
    capfd.readouterr()
    manifest = tmp_path / "m.csv"
    command = ["encode", f"s3://{BUCKET}/in", "-o", f"s3://{BUCKET}/out", "--manifest", manifest]
    assert run(*command, "--json") == 0
    output = capfd.readouterr()
    assert objects(f"{BUCKET}/out") == expected
    assert json.loads(output.out.splitlines()[-2])["output"] == f"s3://{BUCKET}/out/deep/0000.ldc"
    assert run(*command, "--resume") == 0 and "4 files are done by the manifest, 0 are left" in capfd.readouterr().err
    assert run(*command[:-2]) == 1 and "exists (-f overwrites it)" in capfd.readouterr().err
    assert run(*command[:-2], "--skip-existing") == 0
    assert run("decode", f"s3://{BUCKET}/out", "-o", tmp_path / "back") == 0
    assert Image.open(tmp_path / "back" / "deep" / "0000.png").size == (12, 12)
    assert run("encode", f"s3://{BUCKET}/in/*1.png", "-o", tmp_path / "some") == 0
    assert list(made(tmp_path / "some")) == ["0001.ldc"]
    said = manifest.read_text() + output.err + output.out
    assert "a-secret-of-the-test" not in said and "testing" not in said


def test_a_picture_is_asked_for_once(store: Server, tmp_path):
    upload(draw(tmp_path / "in", 1), f"{BUCKET}/in")
    store.requests.clear()
    assert run("encode", f"s3://{BUCKET}/in", "-o", f"s3://{BUCKET}/out", "-f") == 0
    assert [line for line in store.requests if "png" in line and "GET" in line] == [f"GET /{BUCKET}/in/0000.png"]
    assert [line for line in store.requests if "PUT" in line] == [f"PUT /{BUCKET}/out/0000.ldc"]


def test_a_store_that_fails_now_and_then(store: Server, tmp_path):
    folder = draw(tmp_path / "in", 12)
    upload(folder, f"{BUCKET}/in")
    store.every = 10
    manifest = tmp_path / "m.csv"
    assert run("encode", f"s3://{BUCKET}/in", "-o", f"s3://{BUCKET}/out", "--manifest", manifest) == 0
    assert store.faults >= 3
    store.every = 0
    assert objects(f"{BUCKET}/out") == local_files(folder, tmp_path / "out")
    assert manifest.read_text().count('"done"') + manifest.read_text().count(",done,") == 12


def test_a_store_that_is_not_there_is_one_sentence(store: Server, tmp_path, capfd):
    folder = draw(tmp_path / "in", 1)
    for arguments in (
        ["s3://nothing/a.png", "-o", tmp_path / "a.ldc"],
        ["s3://nothing/", "-o", tmp_path / "out"],
        [folder, "-o", "s3://nothing/out"],
    ):
        assert run("encode", *arguments) in (1, 2)
        output = capfd.readouterr()
        assert output.err.count("\n") == 1 and "internal error" not in output.err and "Traceback" not in output.err


@pytest.mark.slow
def test_killed_again_and_again_a_run_is_complete_in_the_end(store: Server, tmp_path):
    found = long.kills(tmp_path, store, 10, 3)  # 60 pictures and 10 kills: results/scale/checks.csv
    assert found == {"kills": 3, "exit_code": 0, "outputs": 10, "rows": 10, "sources": 10, "identical": 10}


def fake_bytes(path: Path) -> bytes:
    codec = FakeCodec()
    codec.model_id = SHIPPED
    return codec.encode(path)


def test_a_web_server_is_read_and_never_told(tmp_path, capfd):
    folder = draw(tmp_path / "in", 1)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *args: None})
    handler = functools.partial(quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://someone:sesame@127.0.0.1:{server.server_port}/0000.png?token=sesame"
    manifest = tmp_path / "m.csv"
    assert run("encode", url, "-o", tmp_path / "a.ldc", "--manifest", manifest) == 0
    assert (tmp_path / "a.ldc").read_bytes() == fake_bytes(folder / "0000.png")
    assert run("encode", url.replace("0000", "0001"), "-o", tmp_path / "b.ldc") == 1
    assert run("encode", folder / "0000.png", "-o", url.replace(".png", ".ldc")) == 2
    assert run("encode", url) == 2
    output = capfd.readouterr()
    assert "http is for reading only" in output.err and "sesame" not in output.err + manifest.read_text()
    server.shutdown()
    server.server_close()
    assert run("encode", url, "-o", tmp_path / "c.ldc") == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_an_archive(tmp_path, capfd):
    folder = draw(tmp_path / "in", 2)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"top/{path.name}")
    assert run("encode", f"zip://top::{tmp_path / 'a.zip'}", "-o", tmp_path / "out") == 0
    assert made(tmp_path / "out") == local_files(folder, tmp_path / "expected")
    assert run("encode", f"zip://top/0001.png::{tmp_path / 'a.zip'}", "-o", tmp_path / "one.ldc") == 0
    capfd.readouterr()
    assert run("encode", folder, "-o", f"zip://::{tmp_path / 'b.zip'}") == 2
    assert run("encode", f"zip://top::{tmp_path / 'none.zip'}", "-o", tmp_path / "out") == 2
    assert capfd.readouterr().err.count("\n") == 2


def tar(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 7
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def untar(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


def test_shards(store: Server, tmp_path, capfd):
    folder = draw(tmp_path / "in", 3)
    pictures = [(folder / f"{number:04d}.png").read_bytes() for number in range(3)]
    members = {
        "a.png": pictures[0],
        "a.json": b'{"n": 1}',
        "b.png": b"no picture",
        "b.cls": b"3",
        "c/d.png": pictures[2],
    }
    (tmp_path / "s-0.tar").write_bytes(tar(members))
    files.write(f"s3://{BUCKET}/s-0.tar", tar(members), True)
    manifest = tmp_path / "m.csv"
    for source, out in ((tmp_path / "s-0.tar", tmp_path / "out/"), (f"s3://{BUCKET}/s-*.tar", f"s3://{BUCKET}/out/")):
        assert run("encode", source, "-o", f"{out}/", "--manifest", manifest, "-f") == 1
        said = capfd.readouterr().err
        assert "tar://b.png::" in said and "2 pictures (1 failed)" in said
    result = (tmp_path / "out" / "s-0.tar").read_bytes()
    assert objects(f"{BUCKET}/out")["s-0.tar"] == result
    found = untar(result)
    assert list(found) == ["a.ldc", "a.json", "b.cls", "c/d.ldc"] and found["b.cls"] == b"3"
    assert found["c/d.ldc"] == fake_bytes(folder / "0002.png")
    assert len(manifest.read_text().splitlines()) == 1 + 4  # members, and the shard
    files.write(f"s3://{BUCKET}/s-0.tar", tar({**members, "b.png": pictures[1]}), True)
    command = ["encode", f"s3://{BUCKET}/s-*.tar", "-o", f"s3://{BUCKET}/out/", "--manifest", manifest]
    assert run(*command, "--retry-failed") == 0
    assert untar(objects(f"{BUCKET}/out")["s-0.tar"])["b.ldc"] == fake_bytes(folder / "0001.png")
    capfd.readouterr()
    assert run(*command, "--resume") == 0 and "1 files are done by the manifest" in capfd.readouterr().err
    assert run("decode", tmp_path / "out" / "s-0.tar", "-o", tmp_path / "back.tar") == 0
    assert list(untar((tmp_path / "back.tar").read_bytes())) == ["a.png", "a.json", "b.cls", "c/d.png"]


@pytest.mark.parametrize("cut", [100, 700, 1400])
def test_a_shard_that_is_cut_short_is_refused(cut, tmp_path, capfd):
    data = tar({"a.json": b"1" * 600, "b.json": b"2" * 600})
    (tmp_path / "s.tar").write_bytes(data[:cut])
    assert run("encode", tmp_path / "s.tar", "-o", tmp_path / "out.tar") == 1
    assert "tar" in capfd.readouterr().err and not (tmp_path / "out.tar").exists()


def special(name: str, kind: bytes, **more: object) -> bytes:
    """A tar file of one member without data."""
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT if not info.pax_headers else tarfile.PAX_FORMAT)


def sparse_tar(size: int) -> bytes:
    """One file of so many bytes, of which none is there, in the old form of GNU."""
    header = bytearray(special("a.png", tarfile.GNUTYPE_SPARSE))
    header[386:410] = b"%011o\0%011o\0" % (size, 0)
    header[482:495] = b"\0%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


NO_FILES = {
    "hard link": special("b.json", tarfile.LNKTYPE, linkname="a.json"),
    "link": special("b.json", tarfile.SYMTYPE, linkname="a.json"),
    "pipe": special("b.json", tarfile.FIFOTYPE),
    "sparse": sparse_tar(2**31 - 1),
    "sparse by its header": special(
        "a.png", tarfile.REGTYPE, pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**31 - 1)}
    ),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_a_shard_of_more_than_plain_files_is_refused(kind, tmp_path, capfd):
    whole = tar({"a.json": b"1"})[:1024]
    (tmp_path / "s.tar").write_bytes(whole + NO_FILES[kind] + bytes(1024))
    tracemalloc.start()
    try:
        assert run("encode", tmp_path / "s.tar", "-o", tmp_path / "out.tar") == 1
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    said = capfd.readouterr().err
    assert "not a plain file" in said and said.count("\n") == 1 and not (tmp_path / "out.tar").exists()


def test_a_shard_with_a_wrong_header_is_one_sentence(tmp_path, capfd):
    (tmp_path / "s.tar").write_bytes(special("a", tarfile.REGTYPE, pax_headers={"GNU.sparse.map": ""}) + bytes(1024))
    assert run("encode", tmp_path / "s.tar", "-o", tmp_path / "out.tar") == 1
    assert "not a sound tar file" in capfd.readouterr().err


def test_folders_in_a_shard_are_passed_over(tmp_path):
    (tmp_path / "s.tar").write_bytes(special("c", tarfile.DIRTYPE) + tar({"c/a.json": b"1"}))
    assert run("encode", tmp_path / "s.tar", "-o", tmp_path / "out.tar") == 0
    assert untar((tmp_path / "out.tar").read_bytes()) == {"c/a.json": b"1"}


@pytest.mark.parametrize(
    "names, shared",
    [
        (["a.ldc", "a.png"], ""),
        (["a.png", "a.ldc"], "a.ldc"),
        (["a.png", "a.bmp", "a.bmp.ldc"], "a.bmp.ldc"),
        (["a.png", "a.png", "a.png"], "a.png.ldc"),
        (["a.json", "a.json"], ""),
    ],
)
def test_no_two_members_get_one_name(names, shared, tmp_path, capfd):
    picture = (draw(tmp_path / "in", 1) / "0000.png").read_bytes()
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(picture)
            archive.addfile(info, io.BytesIO(picture))
    assert run("encode", tmp_path / "s.tar", "-o", tmp_path / "out.tar") == bool(shared)
    assert (tmp_path / "out.tar").exists() != bool(shared)
    if shared:
        assert f"two members of the new tar file would be named '{shared}'" in capfd.readouterr().err
    elif "a.png" in names:
        assert untar((tmp_path / "out.tar").read_bytes()).keys() == {"a.ldc", "a.png.ldc"}


def test_a_shard_and_a_file_do_not_mix(tmp_path, capfd):
    (tmp_path / "s.tar").write_bytes(tar({}))
    assert run("encode", tmp_path / "s.tar", "-o", tmp_path / "a.ldc") == 2
    assert run("encode", tmp_path / "s.tar") == 1
    assert "overwrite the input" in capfd.readouterr().err


@pytest.mark.parametrize(
    "name, said",
    [
        ("s3://key:secret@bucket/a.png", "s3://bucket/a.png"),
        ("https://u:p@host/a.png?X-Amz-Signature=1#f", "https://host/a.png"),
        ("zip://a.png::https://u@host/b.zip?t=1", "zip://a.png::https://host/b.zip"),
        ("zip://a?.png::s3://b/c.zip", "zip://a?.png::s3://b/c.zip"),
        ("/tmp/a@b:c.png", "/tmp/a@b:c.png"),
        ("ftp://u:p@ss@h/f", "ftp://h/f"),
        ("ftp://u:p@h/a@2x.png", "ftp://h/a@2x.png"),
        ("s3://k:a/b@h/f", "s3://h/f"),
        ("ftp://u:p?x@h/f", "ftp://h/f"),
        ("http://u:p#x@h/f", "http://h/f"),
        ("http://h:80/a@2x.png?x=1", "http://h:80/a@2x.png"),
        ("http://h/a.png?mail=a:b@c", "http://h/a.png"),
        ("https://u:p@h/a.png?mail=a@c", "https://h/a.png"),
        ("webhdfs://h/x?token=S", "webhdfs://h/x"),
        ("zip://a.png::webhdfs://u:p@h/x.zip?token=S&b=/c", "zip://a.png::webhdfs://h/x.zip"),
        ("s3://b/year=1/a?.png", "s3://b/year=1/a?.png"),
        ("s3://b/?/year=1/a.png", "s3://b/?/year=1/a.png"),
        ("zip://a:1@2x.png::s3://b/c.zip", "zip://a:1@2x.png::s3://b/c.zip"),
    ],
)
def test_a_url_is_said_without_what_may_be_secret(name, said):
    assert files.shown(name) == said


def test_what_a_library_says_is_told_without_secrets():
    error = ValueError("no answer\nfrom https://u:p@h/a.png?sig=1 (ftp://u:p@ss@h/f)")
    assert files._said(error) == "no answer from https://h/a.png"
    assert files._said(ValueError("no s3://k:a/b@h/f")) == "no s3://h/f"


def test_two_colons_do_not_make_a_url(tmp_path, monkeypatch, capfd):
    folder = draw(tmp_path / "in", 1)
    (folder / "0000.png").rename(folder / "a::b.png")
    monkeypatch.chdir(folder)
    assert run("encode", "a::b.png") == 0 and run("decode", "a::b.ldc", "-o", "::.png") == 0
    assert sorted(made(folder)) == ["::.png", "a::b.ldc", "a::b.png"]
    assert run("encode", "none::b.png") == 1 and "No such file" in capfd.readouterr().err
