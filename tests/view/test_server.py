"""The server gives out a fixed set of files to this machine, and nothing else; the command around it."""

import functools
import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from codec.cli import main
from codec.view import assets
from codec.view.server import ADDRESS, POLICY, Server

GOLDEN = Path(__file__).parents[1] / "golden"
#: its runtime comes from npm, which not everybody who runs the tests has; `.ci/run` builds it
NEEDS_PAGE = pytest.mark.skipif(not assets.built(), reason="the page is not built (python -m codec view --build)")


@pytest.fixture
def running(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<p>page")
    picture = tmp_path / "my photo.ldc"
    picture.write_bytes(b"picture")
    with Server({"index.html": tmp_path / "page" / "index.html", "files/1/my photo.ldc": picture}) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=120)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def test_listens_on_this_machine_only(running):
    assert running.socket.getsockname()[0] == "127.0.0.1"
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {ADDRESS}
    for address in others:
        with pytest.raises(OSError):
            socket.create_connection((address, running.server_port), timeout=2).close()


def test_files_of_the_table(running):
    status, body, headers = ask(running, f"/{running.token}/index.html?src=x")
    assert (status, body) == (200, b"<p>page") and headers["Content-Type"].startswith("text/html")
    assert headers["Content-Security-Policy"].startswith(POLICY) and headers["X-Content-Type-Options"] == "nosniff"
    status, body, headers = ask(running, f"/{running.token}/files/1/my%20photo.ldc")
    assert (status, body, headers["Content-Type"]) == (200, b"picture", "image/x-ldc")
    status, body, headers = ask(running, f"/{running.token}/index.html", method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "7")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/index.html",
        "/{token}",
        "/{token}/",
        "/{token}x/index.html",
        "/{token}/secret.txt",
        "/{token}/../secret.txt",
        "/{token}/page/../../secret.txt",
        "/{token}/files/1/../../../secret.txt",
        "/{token}/%2e%2e/secret.txt",
        "/{token}/..%2fsecret.txt",
        "/{token}/..\\secret.txt",
        "/{token}//etc/passwd",
        "/{token}/index.html%00.js",
    ],
)
def test_nothing_else_is_given_out(running, path):
    status, body, _ = ask(running, path.format(token=running.token))
    assert (status, body) == (404, b"")


def test_a_page_elsewhere_cannot_ask_under_its_own_name(running):
    for host in ("evil.example", f"evil.example:{running.server_port}", "127.0.0.1"):
        assert ask(running, f"/{running.token}/index.html", Host=host)[:2] == (403, b"")
    assert ask(running, f"/{running.token}/index.html", Host=f"localhost:{running.server_port}")[0] == 200


def test_only_reading(running):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(running, f"/{running.token}/index.html", method=method)[0] == 501


def test_tokens_differ(running, tmp_path):
    with Server({}) as other:
        assert other.token != running.token and len(other.token) >= 32


def test_policy_of_the_page_is_that_of_the_server():
    """For pages that another server gives out."""
    index = (assets.PAGE / assets.INDEX).read_text()
    assert f'content="{POLICY}"' in index
    assert "http:" not in POLICY and "https:" not in POLICY and "unsafe-inline" not in POLICY


def test_page_names_no_other_address():
    for name, path in assets.files().items():
        if not name.startswith((assets.MODEL, assets.RUNTIME)):
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in text and "https://" not in text and "//cdn" not in text, name


def test_without_assets_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(assets, "PAGE", tmp_path)
    monkeypatch.setattr(assets.require, "__defaults__", (tmp_path,))
    assert main(["view"]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "view --build" in said.err and not said.out


def built_page(folder: Path) -> Path:
    """A page that counts as built."""
    for name in ("index.html", "model/manifest.json", "runtime/version.json"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return folder


def test_export(tmp_path):
    page = built_page(tmp_path / "page")
    pictures = {"files/1/a.ldc": GOLDEN / "model6-pixel.ldc"}
    assets.export_page(tmp_path / "out", pictures, force=False, page=page)
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")} == {
        "index.html",
        "model/manifest.json",
        "runtime/version.json",
        "files/1/a.ldc",
    }
    with pytest.raises(Exception, match="not empty"):
        assets.export_page(tmp_path / "out", {}, force=False, page=page)
    (tmp_path / "out" / "files" / "notes").mkdir()
    others = {"files/notes/b.ldc": GOLDEN / "model6-pixel.ldc", "files/1/mine.txt": page / "index.html"}
    for name, source in others.items():
        shutil.copyfile(source, tmp_path / "out" / name)
    named = {
        "files/1/c.ldc": tmp_path / "out" / "files" / "1" / "a.ldc",
        "files/2/d.ldc": GOLDEN / "model6-drawn.ldc",
    }
    files = tmp_path / "out" / "files"
    for pictures, left in (
        (named, ["1/a.ldc", "1/c.ldc", "2/d.ldc"]),  # a.ldc was named
        ({"files/1/c.ldc": GOLDEN / "model6-pixel.ldc"}, ["1/c.ldc"]),
        ({}, []),
    ):
        assets.export_page(tmp_path / "out", pictures, force=True, page=page)
        found = sorted(path.relative_to(files).as_posix() for path in files.rglob("*.*"))
        assert found == sorted([*left, "1/mine.txt", "notes/b.ldc"])
    assert not (files / "2").exists()


@NEEDS_PAGE
def test_exported_page_is_whole_and_small(tmp_path, capsys):
    assert main(["view", "--export", str(tmp_path), str(GOLDEN / "model6-pixel.ldc")]) == 0
    said = capsys.readouterr()
    assert "index.html?src=files%2F1%2Fmodel6-pixel.ldc" in said.err and not said.out
    assert assets.size(tmp_path) <= 35e6
    assert set(assets.files()) == set(assets.files(tmp_path)) - {"files/1/model6-pixel.ldc"}


@pytest.mark.parametrize(
    "line, sentence",
    [
        (["--build", "a.ldc"], "--build takes no files"),
        (["-f"], "-f has no effect without --export"),
        (["--build", "--export", "x"], "not allowed with"),
    ],
)
def test_wrong_usage(line, sentence, capsys):
    try:
        code = main(["view", *line])
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and sentence in capsys.readouterr().err


def test_a_name_that_is_no_text_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(assets, "require", lambda *page: None)
    monkeypatch.setattr(
        assets, "export_page", functools.partial(assets.export_page, page=built_page(tmp_path / "page"))
    )
    path = tmp_path / os.fsdecode(b"caf\xe9.ldc")
    path.write_bytes((GOLDEN / "model6-pixel.ldc").read_bytes())
    assert main(["view", "--export", str(tmp_path / "out"), str(path)]) == 0
    assert "?src=files%2F1%2Fcaf%25EF%25BF%25BD.ldc" in capsys.readouterr().err
    assert os.listdir(tmp_path / "out" / "files" / "1") == ["caf\ufffd.ldc"]


@pytest.mark.parametrize("name", ["missing.ldc", "text.ldc"])
def test_files_are_looked_at_before_the_page_opens(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(assets.require, "__defaults__", (built_page(tmp_path / "page"),))
    (tmp_path / "text.ldc").write_text("text")
    assert main(["view", str(tmp_path / name)]) == 1
    said = capsys.readouterr()
    assert name in said.err and said.err.count("\n") == 1 and not said.out


def test_a_wrong_package_is_refused(tmp_path, monkeypatch):
    """npm is replaced by a program that packs something else."""
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f"#!{sys.executable}\nimport sys\nopen(sys.argv[-1] + '/other.tgz', 'wb').write(b'other')\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent))
    (tmp_path / "work").mkdir()
    with pytest.raises(Exception, match="not the one that was pinned"):
        assets.fetch_runtime(tmp_path / "runtime", tmp_path / "work")
    npm.unlink()
    with pytest.raises(Exception, match="npm is not on the PATH"):
        assets.fetch_runtime(tmp_path / "runtime", tmp_path / "work")


@NEEDS_PAGE
def test_interrupt_ends_the_server(tmp_path):
    """As a user would: the command prints the address, Ctrl-C ends it."""
    command = [sys.executable, "-m", "codec", "view", "--no-open", str(GOLDEN / "model6-pixel.ldc")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:") and address.endswith("src=files%2F1%2Fmodel6-pixel.ldc")
        process.send_signal(2)
        assert process.wait(120) == 130
        assert process.stderr.read() == "ldc: error: interrupted\n"
