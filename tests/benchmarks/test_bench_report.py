"""The HTML report in a real browser: it draws, shows values on hover, and compares two pictures."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.codecs import CodecOptions, make_codec
from benchmarks.harness.images import read_image, source_image
from benchmarks.report.html import write_report
from benchmarks.report.outputs import _shown
from benchmarks.report.showcase import (
    Showcase,
    Shown,
    contact_sheet,
    fit_bytes,
    make_showcases,
    own_pictures,
    packaged_pictures,
    without_file,
)

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))), None
)

DRIVE = """
<script>
const out = {};
const fire = (node, name) => node.dispatchEvent(new MouseEvent(name, {bubbles: true, pageX: 5}));
const change = (id, value) => { $(id).value = value; $(id).dispatchEvent(new Event(id === "slider" ? "input" : "change")); };
out.title = document.title;
out.points = document.querySelectorAll("#plot circle.point").length;
out.published = document.querySelectorAll("#plot circle").length - out.points;
fire(document.querySelector('#plot circle.point[data-codec="jpeg"]'), "mouseover");
out.tip = $("tip").textContent; out.tipShown = $("tip").style.display;
fire(document.querySelector("#plot circle.point"), "mouseout");
out.tipHidden = $("tip").style.display;
document.querySelector("#legend input").click();
out.afterHiding = document.querySelectorAll("#plot circle.point").length;
document.querySelector("#legend input").click();
change("metric", "psnr");
out.axis = [...document.querySelectorAll("#plot text")].some((node) => node.textContent.includes("PSNR"));
out.rows = $("bd").rows.length;
out.codecsTable = [...$("run").rows].map((row) => [...row.cells].map((cell) => cell.textContent));
out.bdnote = $("bdnote").textContent; out.marked = $("bd").rows[2].cells[1].textContent;
out.greys = [...document.querySelectorAll("#greys .grey")].map((node) => node.textContent);
out.keys = [...document.querySelectorAll("#plot text.key")].map((node) => node.textContent);
out.first = [$("left").value, $("right").value];
out.missing = $("missing").textContent;
out.photographs = [...$("photograph").options].map((node) => node.value);
out.sizesOfFirst = $("case").length;
change("photograph", "b.png");
out.second = [$("case").length, [...$("left").options].map((node) => node.value).join(" "), $("missing").textContent];
change("photograph", "photo.png");
change("zoom", "4");
out.zoom = [$("over").style.transform, $("under").style.transform];
change("left", "webp"); change("right", "jpeg"); change("slider", "25");
out.clip = $("left-half").style.clipPath; out.note = $("leftnote").textContent;
Promise.all([$("over").decode(), $("under").decode()]).then(() => {
  out.sizes = [$("over").naturalWidth, $("under").naturalWidth];
  out.different = $("over").src !== $("under").src;
  const node = document.createElement("pre"); node.id = "result"; node.textContent = JSON.stringify(out); document.body.append(node);
});
</script>
"""


@pytest.fixture
def report(tmp_path: Path, photo: np.ndarray) -> Path:
    rows = [
        {
            "codec": codec,
            "version": "v<1>",
            "setting": str(setting),
            "bits_per_dim": 0.05 * setting,
            "rmse": 12 / setting,
            "psnr": 30.0 + setting if setting < 4 else np.inf,
        }
        for codec in ("jpeg", "webp")
        for setting in (1, 2, 3, 4)
    ]
    bd = pd.DataFrame(
        [
            {"codec": codec, "anchor": "jpeg", "images": 2, "bd_rate_of_means_percent": np.nan}
            | {"overlap_percent": 100.0 if codec == "jpeg" else 31.0, "rate_overlap_percent": 100.0}
            | dict.fromkeys(
                ("bd_rate_percent", "bd_rate_low", "bd_rate_high", "bd_rmse", "bd_rmse_low", "bd_rmse_high"), value
            )
            for codec, value in (("jpeg", 0.0), ("webp", -12.3))
        ]
    )
    shown = tuple(
        Shown(name, 5.0, 321, 4.5, np.roll(photo, shift, 0))
        for name, shift in (("jpeg", 1), ("webp", 2), ("ours-vq", 3), ("avif", 4))
    )
    case = Showcase("photo.png", 0.06, 400, photo, shown, (("jxl", 5123),))
    others = [Showcase("b.png", rate, 300, photo, shown[:1]) for rate in (0.06, 0.12)]
    path = tmp_path / "report.html"
    write_report(
        path,
        "Test </script><b>report</b>",
        "kodak",
        pd.DataFrame(rows),
        bd,
        [case, *others],
        {
            "images": 2, "folder": "pictures", "table_rows": 8, "absent": {"heic": "</script><script>alert(1)</script>"},
            "left_out": [], "settings": {"jpeg": ["1", "2"]}, "codecs": {"jpeg": "v<1>"},
        },
    )  # fmt: skip
    return path


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH; the static checks of the report still run")
def test_the_report_works_in_a_headless_browser(report: Path) -> None:
    page = report.with_name("driven.html")
    page.write_text(report.read_text().replace("</body>", DRIVE + "</body>"))
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
         f"--user-data-dir={report.parent / 'profile'}",
         "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stdout[-2000:]
    result = json.loads(found.group(1).replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    assert result["title"] == "Test </script><b>report</b>"
    assert result["points"] == 8 and result["published"] > 20 and result["afterHiding"] == 4
    assert result["tip"] == "jpeg, setting 1\nrate 0.05000 bits/dim\nRMSE (0-255) 12.000"
    assert (result["tipShown"], result["tipHidden"]) == ("block", "none")
    assert result["axis"] and result["rows"] == 3
    assert result["first"] == ["ours-vq", "avif"]  # ours against BPG, which is not there, or AVIF
    assert result["missing"] == "No file so small: jxl (smallest 5123 bytes)"
    assert result["photographs"] == ["photo.png", "b.png"] and result["sizesOfFirst"] == 1
    assert result["second"] == [2, "original jpeg", ""]
    assert result["zoom"] == ["translate(-150%, -150%) scale(4)"] * 2
    assert result["greys"][0] == "Grey: published, not measured here" and len(result["greys"]) > 3
    assert result["keys"] == [text[0] for text in result["greys"][1:]] == sorted(set(result["keys"]))
    assert result["marked"] == "-12.3 †" and result["bdnote"].startswith("† The curves share less than 50 %")
    assert ["pictures", "2 (pictures)"] in result["codecsTable"] and ["jpeg", "1, 2", "v<1>"] in result["codecsTable"]
    assert ["heic", "left out: </script><script>alert(1)</script>"] in result["codecsTable"]
    assert result["clip"].startswith("inset(0") and "75%" in result["clip"]
    assert result["note"] == "left: webp, 321 bytes, RMSE 4.50, setting 5"
    assert result["sizes"] == [160, 160] and result["different"]


class References(HTMLParser):
    """Collects everything that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attributes if name in ("src", "href") and value]
        self.scripts += tag == "script"


def test_the_report_is_one_file_without_any_reference(report: Path) -> None:
    text = report.read_text()
    parser = References()
    parser.feed(text)
    assert parser.found == [] and parser.scripts == 1
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "<b>report" not in text and "Infinity" not in text and "NaN" not in text
    data = json.loads(re.search(r"const DATA = (.*);\n", text).group(1))
    assert data["curves"][0]["psnr"] == [31.0, 32.0, 33.0, None]
    assert [picture["name"] for picture in data["cases"][0]["pictures"]] == [
        "original",
        "jpeg",
        "webp",
        "ours-vq",
        "avif",
    ]


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000", "jxl", "bpg-444"])
def test_fit_bytes_finds_the_best_setting_below_the_target(name: str, photo: np.ndarray) -> None:
    codec = make_codec(name, CodecOptions())
    target = 2200
    plain: dict[float, bytes] = {}
    setting, data = fit_bytes(codec, photo, target, plain)
    assert len(data) <= target and codec.encode(photo, setting) == data
    assert len(codec.encode(photo, setting + codec.search.step)) > target
    sizes = {s: len(codec.encode(photo, s)) for s in codec.settings}
    made: dict[float, bytes] = {}
    assert fit_bytes(codec, photo, target, made, sizes) == (setting, data) and len(made) < len(plain)
    worst, smallest = fit_bytes(codec, photo, 1)
    assert worst == codec.search.worst and len(smallest) > 1


def test_the_contact_sheet_shows_a_packaged_photograph_at_equal_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing:
        search = make_codec("jpeg", CodecOptions()).search

        def encode(self, image: np.ndarray, setting: float) -> bytes:
            raise RuntimeError("no")

    codecs = {**{name: make_codec(name, CodecOptions()) for name in ("jpeg", "webp")}, "failing": Failing()}
    cases = make_showcases(codecs, packaged_pictures(), print)
    assert capsys.readouterr().out.count("failing is left out of the comparison of astronaut.png: no") == 1
    assert [(case.photograph, case.rate) for case in cases[:2]] == [("astronaut.png", 0.06), ("astronaut.png", 0.12)]
    assert all(item.size <= case.target for case in cases for item in case.shown)
    assert [item.name for item in cases[1].shown] == ["webp", "jpeg"]  # lowest RMSE first
    contact_sheet(cases[1], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    side = cases[1].original.shape[0]
    assert np.array_equal(pixels[32 : 32 + side, 10 : 10 + side], cases[1].original)
    assert np.array_equal(pixels[32 : 32 + side, 20 + side : 20 + 2 * side], cases[1].shown[0].crop)


def test_codecs_of_earlier_runs_are_shown_too() -> None:
    """A codec of this run is there in any version, the others in the version that was measured."""
    jpeg, webp, bpg = (make_codec(name, CodecOptions()) for name in ("jpeg", "webp", "bpg-444"))
    rows = pd.DataFrame(
        {"codec": ["jpeg", "webp", "bpg-444", "gone"], "version": [jpeg.version, "an older one", bpg.version, "1"]}
    )
    assert list(_shown(rows, {"webp": webp}, CodecOptions())) == ["webp", "jpeg", "bpg-444"]


def test_a_codec_without_so_small_a_file_is_named_and_not_shown(tmp_path: Path, folder: Path) -> None:
    images = [source_image(folder / name, name) for name in ("a.png", "b.png")]
    rows = pd.DataFrame({"image_hash": images[0].digest, "codec": "jpeg", "setting": ["5", "90"], "bytes": [900, 4000]})
    assert [picture.path for picture in own_pictures(images, rows)] == [folder / "a.png", folder / "b.png"]
    assert [picture.sizes for picture in own_pictures(images, rows)] == [{"jpeg": {5.0: 900, 90.0: 4000}}, {}]
    assert [picture.name for picture in own_pictures(images * 4, rows)] == ["a.png", "a.png", "b.png"]
    codecs = {name: make_codec(name, CodecOptions()) for name in ("jpeg", "bpg-444")}
    cases = make_showcases(codecs, own_pictures(images[:1], rows[:0]), print)
    smallest = len(codecs["jpeg"].encode(read_image(folder / "a.png"), 1))
    for case in cases:
        assert [item.name for item in case.shown] == ["bpg-444"] and case.shown[0].size <= case.target < smallest
        assert case.too_large == (("jpeg", smallest),)
        assert without_file(case) == f"No file so small: jpeg (smallest {smallest} bytes)"
    contact_sheet(cases[0], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        below, width = np.asarray(sheet.convert("L"))[-24:], sheet.width
    assert below.min() < 100  # words
    many = replace(cases[0], too_large=tuple((f"a-codec-of-a-long-name-{n}", 1000 + n) for n in range(12)))
    contact_sheet(many, tmp_path / "many.png")
    with Image.open(tmp_path / "many.png") as taller:  # more words take more lines, none runs out of the sheet
        lines = np.asarray(taller.convert("L"))[sheet.height - 24 :]
    assert taller.width == width and taller.height >= sheet.height + 20
    assert (lines[:, -10:] > 200).all() and (lines.min(1) < 200).any()


def test_a_codec_has_the_name_that_the_table_has_for_it(folder: Path) -> None:
    """Two codecs of one class: names of their own are of no use, and here there is none."""
    images = [source_image(folder / "a.png", "a.png")]
    rows = pd.DataFrame({"image_hash": images[0].digest, "codec": ["mine"], "setting": ["5"], "bytes": [900]})
    plain = make_codec("webp", CodecOptions())
    nameless = SimpleNamespace(search=plain.search, encode=plain.encode, decode=plain.decode)
    cases = make_showcases({"webp": plain, "mine": nameless}, own_pictures(images, rows), print)
    assert sorted(item.name for item in cases[-1].shown) == ["mine", "webp"]
