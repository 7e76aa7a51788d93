"""Headless Chromium decodes files in the page: codes bit for bit, pixels within one grey level, damage in one
sentence."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import codec
from benchmarks.harness.chromium import PROGRAM, Tab, browser
from benchmarks.harness.images import packaged_images
from codec import manifest
from codec.bitstream.container import Header, level_of, pack, parse, read_header
from codec.coding.stored import read_stored
from codec.errors import CodecError
from codec.export.write import write_folder
from codec.image import lossless, read
from codec.view import assets, server
from tests.support import damage
from tests.support.codes import decoded_codes, digest
from tests.support.page import STATE, serving

GOLDEN, CONFORMANCE = (Path(__file__).parents[1] / name for name in ("golden", "conformance"))
#: Keeps what the page would download, as base64.
CATCH = """
  URL.createObjectURL = (blob) => {
    const reader = new FileReader();
    reader.onload = () => (window.saved = reader.result.split(",")[1]);
    reader.readAsDataURL(blob);
    return "about:blank#";
  };
  HTMLAnchorElement.prototype.click = () => {};
"""

pytestmark = [
    pytest.mark.skipif(PROGRAM is None or not assets.built(), reason="no Chromium, or the page is not built"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser() as opened:
        opened.resize(1200, 800)
        yield opened


class Page:
    """The page with a list of files, of which it shows one after the other."""

    def __init__(self, tab: Tab, address: str, names: list[str]) -> None:
        self.tab = tab
        tab.open(f"{address}index.html?{'&'.join('src=' + name for name in names)}")
        self.wait()
        tab.evaluate(CATCH)

    def wait(self) -> None:
        self.tab.wait(f"['done', 'refused'].includes({STATE})")

    def show(self, number: int) -> None:
        self.choose("files", number)
        self.wait()

    def choose(self, element: str, value: int) -> None:
        """As if the user had moved a control there."""
        self.tab.evaluate(f"{element}.value = {value}; {element}.dispatchEvent(new Event('change'))")

    def text(self, element: str) -> str:
        return self.tab.evaluate(f"document.getElementById('{element}').textContent")

    def hidden(self, element: str) -> bool:
        return self.tab.evaluate(f"document.getElementById('{element}').hidden")

    def picture(self) -> Image.Image:
        self.tab.evaluate("window.saved = null; document.getElementById('save').click()")
        return Image.open(io.BytesIO(base64.b64decode(self.tab.wait("window.saved"))))

    def codes(self) -> str:
        self.tab.evaluate("document.getElementById('digest').click()")
        return self.tab.wait(
            "document.getElementById('codes').hidden ? '' : document.getElementById('codes').textContent"
        )


def assert_same(got: Image.Image, wanted: Image.Image) -> None:
    assert (got.mode, got.size) == (wanted.mode, wanted.size)
    difference = np.abs(np.asarray(got, int) - np.asarray(wanted, int))
    assert difference.max() <= 1 and difference.mean() < 0.02


def test_conformance_files(tab, tmp_path):
    """All that tests/conformance has: whole files, cut ones, and those that must be refused."""
    cases = json.loads((CONFORMANCE / "cases.json").read_text())
    folder, files = CONFORMANCE / "files", dict[str, Path]()
    wanted: list[dict] = []
    for case in cases["sound"]:
        for part in [case, *case.get("cuts", [])]:
            path = tmp_path / f"{len(wanted)}.ldc"
            path.write_bytes((folder / case["file"]).read_bytes()[: part.get("bytes")])
            files[f"files/{len(wanted)}.ldc"] = path
            wanted.append(part)
    for case in cases["refused"]:
        files[f"files/{len(wanted)}.ldc"] = folder / case["file"]
        wanted.append(case)
    with serving(files) as address:
        page = Page(tab, address, list(files))
        for number, case in enumerate(wanted):
            page.show(number)
            if "bytes" in case:  # a cut file is shown when the reader wants it
                assert page.tab.evaluate(STATE) == "refused" and not page.hidden("cut")
                tab.evaluate("document.getElementById('cut').click()")
                page.wait()
            if "why" in case:
                assert page.hidden("plane") and not page.hidden("problem"), case["why"]
                assert page.text("reason").endswith(".") and len(page.text("reason")) > 20, case["why"]
            else:
                assert tab.evaluate(STATE) == "done", (case, page.text("reason"))
                assert page.codes() == case["codes"], case["picture"]
                with Image.open(folder / case["picture"]) as picture:
                    assert_same(page.picture(), picture)
    assert tab.errors == [] and len(wanted) > 40


def test_six_photographs_of_the_size_of_kodak(shipped, tab, tmp_path):
    sources, files = packaged_images(), {}
    for number, quality in enumerate((3, 20, 45, 60, 80, 97)):
        with Image.open(sources[number % len(sources)]) as image:
            size = (512, 768) if number % 3 == 1 else (768, 512)
            picture = ImageOps.fit(image.convert("RGB"), size, centering=(0.5, number / 5))
        files[f"files/{number}.ldc"] = tmp_path / f"{number}.ldc"
        files[f"files/{number}.ldc"].write_bytes(shipped.encode(picture, quality=quality, lossless=False))
    with serving(files) as address:
        page = Page(tab, address, list(files))
        for number, path in enumerate(files.values()):
            page.show(number)
            assert page.codes() == digest(*decoded_codes(shipped, path.read_bytes()))
            assert_same(page.picture(), shipped.decode(path))
    assert tab.errors == []


def test_a_photograph_beside_its_original(shipped, photo, tab, tmp_path):
    large = tmp_path / "photo.ldc"
    data = shipped.encode(ImageOps.fit(photo, (768, 512)), quality=70)
    large.write_bytes(data)
    with serving({"files/photo.ldc": large}) as address:
        page = Page(tab, address, ["files/photo.ldc"])
        assert page.codes() == digest(*decoded_codes(shipped, data))
        assert_same(page.picture(), shipped.decode(data))
        assert all(url.startswith(address) for url in tab.requests), tab.requests

        # beside the original, which differs as Python says
        original = tmp_path / "original.png"
        ImageOps.fit(photo, (768, 512)).save(original)
        tab.give_file("#pickOriginal", original)
        tab.wait("document.getElementById('errors').children.length")
        seen = np.asarray(page.picture(), float) - np.asarray(Image.open(original), float)
        rmse = float(tab.evaluate("document.querySelector('#errors dd').textContent"))
        assert rmse == pytest.approx(np.sqrt(np.mean(seen**2)), abs=6e-4) and rmse > 1


def test_damaged_files_give_a_sentence_and_no_picture(shipped, photo, tab, tmp_path):
    sound = shipped.encode(ImageOps.fit(photo, (70, 50)), quality=30)
    damaged = [v for v in damage.variants([sound], 40) if not v.forged]
    other = pack(Header(8, 8, 4, 0, 0), [b"x"])  # a model that is not here
    files: dict[str, Path] = {}
    sentences = []
    for number, data in enumerate([sound, other, *(v.data for v in damaged)]):
        path = tmp_path / f"{number}.ldc"
        path.write_bytes(data)
        files[f"files/{number}.ldc"] = path
        sentences.append({refusal(data, False), refusal(data, True)})  # the second: of a file that is still arriving
    with serving(files) as address:
        page = Page(tab, address, list(files))
        for number, possible in enumerate(sentences):
            page.show(number)
            assert (page.hidden("problem"), page.hidden("plane")) == ((True, False) if number == 0 else (False, True))
            assert number == 0 or page.text("reason").removesuffix(".") in possible
        assert tab.errors == []


def refusal(data: bytes, arriving: bool) -> str:
    """What Python says of a damaged file; "" for none."""
    try:
        stream = parse(data, allow_truncated=arriving)
    except CodecError as error:
        return str(error).partition("; --allow-truncated")[0]  # which the page has a button for
    number = stream.header.model_id
    return "" if number == 6 else f"the file was made with model {number}, this is model 6"


def test_forged_files_neither_hang_nor_crash_the_tab(shipped, photo, tab, tmp_path):
    """Sound checksums around other sizes and other sections: refused or nonsense, and the next file is decoded."""
    sound = shipped.encode(ImageOps.fit(photo, (70, 50)), quality=30)
    sections = parse(sound).sections
    header = Header(65535, 32, shipped.model_id, shipped.model.table_hash, level_of(30))
    forged = [pack(header, sections), pack(header, [b""] * 5)]
    forged += [v.data for v in damage.variants([sound], 25) if v.forged and size(v.data) < 1 << 20]
    files: dict[str, Path] = {}
    for number, data in enumerate([sound, *forged]):
        files[f"files/{number}.ldc"] = tmp_path / f"{number}.ldc"
        files[f"files/{number}.ldc"].write_bytes(data)
    with serving(files) as address:
        page = Page(tab, address, list(files))
        for number, data in enumerate(forged, 1):
            page.show(number)
            if number <= 2:  # what follows the first group cannot be read
                assert tab.evaluate(STATE) == "refused" and page.hidden("plane")
            elif tab.evaluate(STATE) == "done":
                assert page.codes() == digest(*decoded_codes(shipped, data))
        page.show(0)
        assert tab.evaluate(STATE) == "done"
    assert tab.errors == []


def size(data: bytes) -> int:
    """Pixels."""
    header = read_header(data).header
    return header.width * header.height


def test_work_on_64_megapixels_can_be_stopped(shipped, tab, tmp_path):
    """A forged file of a few bytes; the page stays responsive, and the next file is decoded."""
    header = Header(8192, 8192, shipped.model_id, shipped.model.table_hash, level_of(30))
    contents = {"small": (GOLDEN / "model6-drawn.ldc").read_bytes(), "large": pack(header, [b""] * 5)}
    files = {f"files/{name}.ldc": tmp_path / f"{name}.ldc" for name in contents}
    for path, data in zip(files.values(), contents.values(), strict=True):
        path.write_bytes(data)
    with serving(files) as address:
        page = Page(tab, address, list(files))
        page.choose("files", 1)
        tab.wait("document.getElementById('progress').value > 0")
        assert tab.evaluate(STATE) == "working" and page.text("facts").startswith("Size8192 x 8192")
        tab.evaluate("document.getElementById('stop').click()")
        assert tab.evaluate(STATE) == "refused" and page.hidden("plane")
        page.show(0)
        assert tab.evaluate(STATE) == "done" and not page.hidden("plane")


def test_a_file_is_shown_as_it_arrives(shipped, photo, tab, tmp_path, monkeypatch):
    path = tmp_path / "slow.ldc"
    data = shipped.encode(ImageOps.fit(photo, (96, 80)), quality=80)
    path.write_bytes(data)
    sent, more = [], threading.Semaphore(0)
    copy = server.shutil.copyfileobj

    def drip(source, target):
        """Up to the end of one group at a time."""
        if source.name != str(path):
            return copy(source, target)
        at = 0
        for end in ends(data):
            target.write(data[at:end])
            target.flush()
            sent.append(end)
            at = end
            assert more.acquire(timeout=300)

    monkeypatch.setattr(server.shutil, "copyfileobj", drip)
    with serving({"files/slow.ldc": path}) as address:
        tab.open(f"{address}index.html?src=files/slow.ldc")
        for groups in range(4):
            part = f"{groups} of 4 groups" if groups else "Tokens only"
            tab.wait(f"document.getElementById('badge').textContent.startsWith('Preview: {part}, ')")
            assert tab.evaluate(STATE) == "working" and len(sent) == groups + 1
            pixels = tab.evaluate("Array.from(decoded.getContext('2d').getImageData(0, 0, 96, 80).data)")
            wanted = shipped.decode_array(data, max_bytes=sent[-1])
            got = np.array(pixels).reshape(80, 96, 4)[..., :3]
            assert np.abs(got - wanted).max() <= 1
            more.release()
        more.release()
        tab.wait(f"{STATE} === 'done'")
        assert tab.evaluate("document.getElementById('badge').hidden")

        # the reader asks for less of it again
        tab.evaluate("groups.value = 1; groups.dispatchEvent(new Event('change'))")
        tab.wait("document.getElementById('badge').textContent.startsWith('1 of 4')")
        pixels = tab.evaluate("Array.from(decoded.getContext('2d').getImageData(0, 0, 96, 80).data)")
        wanted = shipped.decode_array(data, max_bytes=sent[1])
        assert np.abs(np.array(pixels).reshape(80, 96, 4)[..., :3] - wanted).max() <= 1
    assert tab.errors == []


def ends(data: bytes) -> list[int]:
    info = read_header(data)
    at, out = info.header_bytes + info.alpha_bytes, []
    for size in info.section_bytes:
        at += size
        out.append(at)
    return out


def test_a_file_that_the_reader_chooses(tab):
    path = GOLDEN / "model6-gray-odd.ldc"
    with serving({}) as address:
        tab.open(f"{address}index.html")
        tab.give_file("#picker", path)
        tab.wait(f"{STATE} === 'done'")
        assert tab.evaluate("facts.textContent").startswith("Size53 x 37Pixels1,961, gray")


def test_lossless_files(tab, tmp_path):
    """Every pixel, with alpha and in gray; one that is cut or has a section of another size is refused."""
    rgba = Image.open(GOLDEN / "model6-alpha-odd.png").convert("RGBA")
    contents = {"alpha": codec.encode(rgba, lossless=True), "gray": codec.encode(rgba.convert("L"), lossless=True)}
    contents["rgb"] = codec.encode(rgba.convert("RGB"), lossless=True)
    stream = parse(contents["rgb"])
    picture = read.load(rgba)
    contents["fewer"] = lossless.sealed(picture, lossless.pixels_in(picture, False), 1, reduced=50 * 64)
    contents["cut"] = contents["rgb"][:-9]
    contents["size"] = pack(stream.header, [parse(codec.encode(rgba.resize((9, 9)), lossless=True)).sections[0]])
    files = {}
    for name, data in contents.items():
        (tmp_path / f"{name}.ldc").write_bytes(data)
        files[f"files/{name}.ldc"] = tmp_path / f"{name}.ldc"
    with serving(files) as address:
        page = Page(tab, address, list(files))
        for number, name in enumerate(contents):
            page.show(number)
            if name in ("cut", "size"):
                assert tab.evaluate(STATE) == "refused" and page.hidden("plane") and page.hidden("cut")
                wanted = (
                    "it is coded without loss, and parts of it"
                    if name == "cut"
                    else "is not of the picture's size and kind"
                )
                assert wanted in page.text("reason")
                continue
            assert tab.evaluate(STATE) == "done", page.text("reason")
            got, wanted = page.picture(), codec.decode(contents[name])
            assert got.mode == wanted.mode and np.array_equal(np.asarray(got), np.asarray(wanted)), name
            facts = tab.evaluate("facts.textContent")
            assert ("50, reduced colours" in facts, "lossless" in facts) == ((name == "fewer"), name != "fewer")


def test_for_keyboard_screen_reader_and_phone(tab):
    """Every control has a name and can be reached by Tab; keys zoom; nothing is wider than a phone."""
    files = {"files/picture.ldc": GOLDEN / "model6-photo-q50.ldc"}
    with serving(files) as address:
        tab.open(f"{address}index.html?src=files/picture.ldc")
        tab.wait(f"{STATE} === 'done'")
        nodes = tab.send("Accessibility.getFullAXTree")["nodes"]
        controls = [n for n in nodes if not n["ignored"] and n["role"]["value"] in ("button", "slider", "image")]
        names = [node["name"]["value"] for node in controls]
        assert len(names) >= 9 and all(names), names
        assert "picture.ldc, 96 x 80 pixels" in names
        reached = set()
        for _ in range(12):
            for kind in ("rawKeyDown", "keyUp"):
                tab.send("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
            reached.add(tab.evaluate("document.activeElement.id"))
        assert {"open", "original", "save", "stage", "out", "in", "fit", "groups", "digest"} <= reached
        tab.evaluate("stage.focus()")
        before = tab.evaluate("scale.textContent")
        tab.send("Input.dispatchKeyEvent", type="keyDown", key="1", text="1")
        assert tab.evaluate("scale.textContent") == "100 %" != before
        tab.resize(390, 844, mobile=True)
        for address_of in (f"{address}index.html?src=files/picture.ldc", f"{address}index.html"):
            tab.open(address_of)
            tab.wait(f"['done', 'empty'].includes({STATE})")
            assert tab.evaluate("document.documentElement.scrollWidth") == 390
        tab.resize(1200, 800)


def test_web_component_falls_back(tab, tmp_path):
    page = tmp_path / "host.html"
    page.write_text(
        '<!doctype html><title>host</title><script type="module" src="ldc-image.js"></script>'
        '<ldc-image id="a" src="files/good.ldc" alt="A photograph"></ldc-image>'
        '<ldc-image id="b" src="files/bad.ldc" fallback="files/photo.png" alt="Another"></ldc-image>'
    )
    (tmp_path / "bad.ldc").write_bytes(b"\x8aLDC\x09")
    files = {
        "host.html": page,
        "files/good.ldc": GOLDEN / "model6-photo-q50.ldc",
        "files/bad.ldc": tmp_path / "bad.ldc",
        "files/photo.png": GOLDEN / "model6-drawn.png",
    }
    with serving(files) as address:
        tab.open(f"{address}host.html")
        canvas = tab.wait(
            "var c = document.getElementById('a')?.shadowRoot?.querySelector('canvas'); c && [c.width, c.height]"
        )
        assert canvas == [96, 80]
        shown = tab.wait(
            "var i = document.getElementById('b').shadowRoot.querySelector('img'); i && i.complete && [i.naturalWidth, i.alt]"
        )
        assert shown == [33, "Another"]
        label = tab.evaluate(
            "document.getElementById('a').shadowRoot.querySelector('canvas').getAttribute('aria-label')"
        )
        assert label == "A photograph"


def test_the_page_was_built_with_the_model_of_the_package(shipped, tmp_path):
    stored = read_stored(manifest.read().models[shipped.model_id])
    write_folder(tmp_path, shipped.model_id, stored, {}, lambda line: None)
    built, fresh = (
        json.loads((folder / "manifest.json").read_text()) for folder in (assets.PAGE / assets.MODEL, tmp_path)
    )
    for part in ("table_hash", "config", "constants", "trellis", "arrays"):
        assert built[part] == fresh[part], "run 'python -m codec view --build' again"
