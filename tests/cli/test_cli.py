"""The command line: what is written where, what is said, and which exit code comes out."""

import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image

import codec
from codec import cli
from codec.batch import outcome, plan
from codec.bitstream import container
from codec.errors import UnsupportedError
from tests.support.fake_codec import SHIPPED, FakeCodec
from tests.support.process import ROOT, codec_process, loaded_modules

PHOTO = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


@pytest.fixture
def fake(monkeypatch):
    """The command line over a codec without a network."""
    fake = FakeCodec()
    fake.loads = []
    monkeypatch.setattr("codec.batch.backend.load_codec", lambda args, model: fake.loads.append(args) or fake)
    monkeypatch.setattr("codec.cli.commands.cores", lambda: 1)  # in this process
    return fake


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.open(PHOTO).resize((48, 32)).save(path)
    return path


@pytest.fixture
def ldc(photo, fake, capfd):
    assert cli.main(["encode", str(photo)]) == 0
    capfd.readouterr()
    return photo.with_suffix(".ldc")


def run(*args: object) -> int:
    """The exit code, whether it is returned or raised by argparse."""
    try:
        return cli.main([str(arg) for arg in args])
    except SystemExit as exit:
        return exit.code


def errors(capfd) -> list[str]:
    return [line for line in capfd.readouterr().err.splitlines() if "error:" in line]


def standard_input(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_round_trip_beside_the_input(photo, fake, capfd):
    assert run("encode", photo) == 0
    output = capfd.readouterr()
    ldc = photo.with_suffix(".ldc")
    size = ldc.stat().st_size
    assert output.out == "" and output.err.count("\n") == 1
    bpp = size * 8 / (48 * 32)
    for part in (str(photo), str(ldc), "48x32", f"-> {size} bytes", f"{bpp / 3:.4f} bits/dim ({bpp:.3f} bpp)"):
        assert part in output.err
    photo.unlink()
    assert run("decode", ldc) == 0
    assert Image.open(photo).size == (48, 32)
    assert sorted(path.name for path in photo.parent.iterdir()) == ["photo.ldc", "photo.png"]


def test_existing_output_is_refused_without_force(photo, ldc, fake, capfd):
    before, loads = ldc.read_bytes(), len(fake.loads)
    assert run("encode", photo, "-q", "10") == 1
    assert "exists (-f overwrites it)" in errors(capfd)[0]
    assert ldc.read_bytes() == before and len(fake.loads) == loads  # refused before any work
    assert run("encode", photo, "-q", "10", "-f") == 0
    assert ldc.read_bytes() != before


def test_options_reach_the_codec(photo, fake, tmp_path):
    assert run("encode", photo, "-o", tmp_path / "a.ldc", "-q", "12.5", "--effort", "9", "--seed", "4294967295") == 0
    assert fake.calls[-1] == {
        "quality": 12.5,
        "target_bpp": None,
        "target_bytes": None,
        "target_psnr": None,
        "effort": 9,
        "seed": 2**32 - 1,
        "keep_hidden": False,
        "lossless": None,
        "metadata": "drop",
    }
    assert run("encode", photo, "-f", "--target-bpp", "0.25", "--device", "auto", "--threads", "2") == 0
    assert fake.calls[-1]["target_bpp"] == 0.25
    assert (fake.loads[-1].device, fake.loads[-1].threads) == ("auto", 2)
    assert run("encode", photo, "-f", "--target-bytes", "100000") == 0
    assert fake.calls[-1]["target_bytes"] == 100000
    assert run("encode", photo, "-f", "--target-psnr", "31.5") == 0 and fake.calls[-1]["target_psnr"] == 31.5


def test_target_that_cannot_be_reached(photo, fake, capfd):
    assert run("encode", photo, "--target-bytes", "10") == 1
    [line] = errors(capfd)
    assert str(photo) in line and "10 were asked for" in line
    assert not photo.with_suffix(".ldc").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint", "a.png"],
        ["encode"],
        ["encode", "a.png", "-q", "101"],
        ["encode", "a.png", "-q", "-1"],
        ["encode", "a.png", "-q", "nan"],
        ["encode", "a.png", "-q", "high"],
        ["encode", "a.png", "--target-bpp", "0"],
        ["encode", "a.png", "--target-bytes", "0"],
        ["encode", "a.png", "--target-psnr", "101"],
        ["encode", "a.png", "--target-psnr", "30", "-q", "50"],
        ["encode", "a.png", "--target-bytes", "1.5"],
        ["encode", "a.png", "--effort", "0"],
        ["encode", "a.png", "--effort", "10"],
        ["encode", "a.png", "--seed", "-1"],
        ["encode", "a.png", "--threads", "0"],
        ["encode", "a.png", "--device", "tpu"],
        ["encode", "a.png", "-q", "5", "--target-bpp", "1"],
        ["encode", "a.png", "--qual", "5"],
        ["encode", "-", "a.png"],
        ["encode", "-", "--json"],
        ["encode", "a.png", "b.png", "-o", "-"],
        ["encode", "x/a.png", "y/a.png", "-o", "z"],
        ["encode", "a.png", "a.png"],
        ["decode", "a.ldc", "--max-bytes", "0"],
        ["decode", "a.ldc", "-o", "a.xyz"],
        ["decode", "a.ldc", "-o", "a.ldc2"],
        ["info"],
        ["encode", ""],
        ["encode", "file://"],
        ["encode", "a.png", ""],
        ["encode", "a.png", "-o", ""],
        ["encode", "a.png", "-o", "file://"],
        ["encode", "a.png", "--manifest", ""],
        ["encode", "a.png", "--weights", ""],
        ["decode", ""],
        ["decode", "a.ldc", "-o", ""],
        ["upscale", ""],
        ["info", ""],
        ["thumbnail", "", "-o", "a.png"],
        ["thumbnail", "a.ldc", "-o", ""],
        ["view", ""],
        ["view", "--export", ""],
        ["view", "--export", "-"],
        ["export", "--format", "graph", "-o", ""],
        ["export", "--format", "onnx", "-o", "-"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(arguments, fake, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    output = capfd.readouterr()
    assert output.out == "" and output.err.splitlines()[-1].startswith("ldc") and "error:" in output.err
    assert "Traceback" not in output.err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--target-psnr", "1000", "1000 is not above 0 and at most 100"),
        ("--target-psnr", "0", "0 is not above 0 and at most 100"),
        ("--target-bpp", "2000000", "2000000 is not above 0 and at most 1000000"),
        ("--quality", "101", "101 is not in 0..100"),
    ],
)
def test_a_number_out_of_range_is_told_both_limits(option, value, said, fake, capfd):
    assert run("encode", "a.png", option, value) == 2
    assert errors(capfd)[0].endswith(said)


@pytest.mark.parametrize("content", [None, b"", b"text", b"\x89PNG\r\n\x1a\n", PHOTO.read_bytes()[:5000]])
def test_bad_picture(content, fake, capfd, tmp_path):
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    assert run("encode", path) == 1
    output = capfd.readouterr()
    assert output.err.startswith(f"ldc: error: {path}: ") and output.err.count("\n") == 1
    assert not path.with_suffix(".ldc").exists() and fake.loads == []


def test_bad_file_leaves_the_output_alone(ldc, fake, capfd, tmp_path):
    data = ldc.read_bytes()
    out = tmp_path / "out.png"
    out.write_bytes(b"mine")
    fake.loads.clear()
    for bad in (data[:-1], data[:20], data + b"\0", data[:60] + bytes([data[60] ^ 1]) + data[61:], b"", b"text"):
        ldc.write_bytes(bad)
        assert run("decode", ldc, "-o", out, "-f") == 1
        output = capfd.readouterr()
        assert output.err.startswith(f"ldc: error: {ldc}: ") and output.err.count("\n") == 1
        assert output.out == "" and out.read_bytes() == b"mine"
    assert fake.loads == []  # refused before torch would be imported


def test_cut_files(ldc, fake, capfd, tmp_path):
    data = ldc.read_bytes()
    header_bytes = container.read_header(data).header_bytes
    cut = tmp_path / "cut.ldc"
    cut.write_bytes(data[:-5])
    assert run("decode", cut, "-o", tmp_path / "a.png") == 1
    assert "cut short" in errors(capfd)[0]
    assert run("decode", cut, "-o", tmp_path / "a.png", "--allow-truncated") == 0
    assert run("decode", ldc, "-o", tmp_path / "b.png", "--max-bytes", header_bytes + 3) == 0
    assert f"{header_bytes + 3} -> " in capfd.readouterr().err
    a, b = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    assert (a == b).all() and (a == a[0, 0]).all()
    assert run("decode", ldc, "-o", tmp_path / "c.png", "--max-bytes", "10") == 1
    assert "too little of the file" in errors(capfd)[0]


def test_unknown_decoder_and_model(ldc, fake, capfd, tmp_path):
    assert run("decode", ldc, "-o", tmp_path / "a.png", "--decoder", "magic") == 2
    assert "magic" in errors(capfd)[0]
    assert run("decode", ldc, "-o", tmp_path / "a.png", "--decoder", "gan") == 1  # this codec has no weights for it
    assert "gan" in errors(capfd)[0]
    header = container.Header(8, 8, model_id=77, table_hash=1, level=0)
    ldc.write_bytes(container.pack(header, [b"abc"]))
    assert run("decode", ldc, "-o", tmp_path / "a.png") == 1
    assert "model 77" in errors(capfd)[0]


def test_options_of_the_semantic_decoders(ldc, fake, capfd, tmp_path):
    out = tmp_path / "a.png"
    assert (
        run(
            "decode",
            ldc,
            "-o",
            out,
            "--decoder",
            "ldm",
            "--realism",
            "0.5",
            "--steps",
            3,
            "--guidance",
            "1.5",
            "--seed",
            9,
            "--label",
            "food",
            "--no-consistency",
        )
        == 0
    )
    wanted = {
        "decoder": "ldm",
        "realism": 0.5,
        "steps": 3,
        "guidance": 1.5,
        "seed": 9,
        "consistency": False,
        "label": "food",
    }
    assert fake.calls[-1] == wanted
    assert run("decode", ldc, "-o", out, "-f", "--decoder", "ldm") == 0
    assert fake.calls[-1] == {"decoder": "ldm"}
    for wrong in (["--steps", 0], ["--realism", "1.5"], ["--guidance", "-1"], ["--seed", -1]):
        assert run("decode", ldc, "-o", out, "-f", "--decoder", "ldm", *wrong) == 2
    assert len(errors(capfd)) == 4


@pytest.mark.parametrize(
    "wrong, said",
    [
        (["--steps", 50], "steps has no effect with the decoder vq"),
        (["--seed", 3], "seed has no effect with the decoder vq"),
        (["--decoder", "gan", "--steps", 5], "steps has no effect with the decoder gan"),
        (["--decoder", "perceptual", "--seed", 1], "seed has no effect with the decoder perceptual"),
    ],
)
def test_an_option_without_effect_is_refused_before_anything_is_loaded(ldc, fake, capfd, tmp_path, wrong, said):
    fake.loads.clear()
    assert run("decode", ldc, "-o", tmp_path / "a.png", *wrong) == 2
    assert errors(capfd) == [f"ldc: error: {said}"] and not fake.loads


def test_upscale(photo, fake, capfd, tmp_path):
    assert run("upscale", photo, "--scale", 4, "--steps", 2) == 0
    made = photo.with_name("photo.x4.png")
    assert Image.open(made).size == (192, 128)
    assert "192x128" in capfd.readouterr().err
    assert fake.calls[-1] == {"scale": 4, "steps": 2}
    assert run("upscale", photo, "--scale", 4) == 1 and "exists" in errors(capfd)[0]
    assert run("upscale", photo, "--scale", 3) == 2 and "3" in errors(capfd)[0]
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert run("upscale", tmp_path / "bad.png", "--json") == 1
    assert len(errors(capfd)) == 1 and not (tmp_path / "bad.x2.png").exists()
    assert run("upscale", photo, "-o", tmp_path / "b.nothing") == 2


def test_folder_keeps_its_tree_and_goes_on_after_a_bad_file(photo, fake, capfd, tmp_path):
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("a.png", "deep/b.JPG", "deep/er/c.tiff", ".hidden/d.png"):
        Image.open(photo).save(folder / name)
    (folder / "deep" / "bad.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not a picture, and not named like one")
    assert run("encode", folder, "-o", tmp_path / "out") == 1
    output = capfd.readouterr()
    bad = folder / "deep" / "bad.png"
    assert f"ldc: error: {bad}: " in output.err
    assert output.err.splitlines()[-1] == f"ldc: 1 of 4 files failed: {bad}"
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert made == ["a.ldc", "deep/b.ldc", "deep/er/c.ldc"] and len(fake.loads) == 1

    assert run("decode", tmp_path / "out", "-o", tmp_path / "back") == 0
    assert sorted(path.name for path in (tmp_path / "back").rglob("*.png")) == ["a.png", "b.png", "c.png"]


def test_folder_without_pictures(fake, capfd, tmp_path):
    assert run("encode", tmp_path) == 2
    assert "no suitable files" in errors(capfd)[0]


def test_several_inputs_go_below_a_folder(photo, fake, tmp_path):
    folder = tmp_path / "more"
    folder.mkdir()
    for name in ("x.png", "y.png", "y.jpg"):
        Image.open(photo).save(folder / name)
    assert run("encode", photo, folder, "-o", tmp_path / "out") == 0
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.ldc"))
    assert made == ["more/x.ldc", "more/y.jpg.ldc", "more/y.png.ldc", "photo.ldc"]


def test_output_folder_for_one_file(photo, fake, tmp_path, capfd):
    (tmp_path / "there").mkdir()
    assert run("encode", photo, "-o", tmp_path / "there") == 0
    assert (tmp_path / "there" / "photo.ldc").exists()
    assert run("encode", photo, "-o", f"{tmp_path}/new/") == 0
    assert (tmp_path / "new" / "photo.ldc").exists()
    assert run("encode", photo, "-o", tmp_path / "missing" / "a.ldc") == 1
    assert "does not exist" in errors(capfd)[0]
    assert run("encode", photo, tmp_path / "there", "-o", photo) == 2
    plain = photo.rename(tmp_path / "plain")
    assert run("encode", plain, "-o", plain, "-f") == 1
    assert "overwrite the input" in errors(capfd)[-1]


def test_standard_input_and_output(photo, fake, monkeypatch, capfdbinary, tmp_path):
    standard_input(monkeypatch, photo.read_bytes())
    assert run("encode", "-") == 0
    output = capfdbinary.readouterr()
    assert container.parse(output.out).header.width == 48 and b"standard input -> standard output" in output.err
    standard_input(monkeypatch, output.out)
    assert run("decode", "-", "--quiet") == 0
    output = capfdbinary.readouterr()
    assert Image.open(io.BytesIO(output.out)).format == "PNG" and output.err == b""
    standard_input(monkeypatch, photo.read_bytes())
    assert run("encode", "-", "-o", tmp_path / "a.ldc") == 0 and (tmp_path / "a.ldc").exists()
    assert run("decode", tmp_path / "a.ldc", "-o", "-") == 0
    standard_input(monkeypatch, b"")
    assert run("decode", "-") == 1
    output = capfdbinary.readouterr()
    assert output.err.splitlines()[-1] == b"ldc: error: standard input: not an LDC file: it is empty"


def test_json(photo, fake, capfd):
    assert run("encode", photo, photo.with_name("missing.png"), "--json", "--verify") == 1
    output = capfd.readouterr()
    good, bad, totals = map(json.loads, output.out.splitlines())
    assert totals["totals"] and (totals["files"], totals["failed"], totals["skipped"]) == (2, 1, 0)
    ldc = photo.with_suffix(".ldc")
    assert good["input"] == str(photo) and good["output"] == str(ldc) and good["width"] == 48
    assert good["output_bytes"] == ldc.stat().st_size and good["input_bytes"] == photo.stat().st_size
    assert good["bits_per_dim"] == pytest.approx(ldc.stat().st_size * 8 / 48 / 32 / 3)
    original, decoded = np.asarray(Image.open(photo)), FakeCodec().decode_array(ldc.read_bytes())
    assert good["rmse"] == pytest.approx(np.sqrt(((original.astype(float) - decoded) ** 2).mean()))
    assert bad["input"] == str(photo.with_name("missing.png")) and "No such file" in bad["error"]
    assert run("decode", ldc, "-f", "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert report["command"] == "decode" and report["rmse"] is None and report["quality"] == 50


def test_totals_of_several_files(photo, fake, capfd, tmp_path):
    """Against the sizes on the disk."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, size in (("a.png", (48, 32)), ("b.png", (20, 30)), ("c.png", (8, 8))):
        Image.open(photo).resize(size).save(folder / name)
    pixels = 48 * 32 + 20 * 30 + 8 * 8
    (folder / "bad.png").write_bytes(b"no picture")
    read = sum((folder / f"{name}.png").stat().st_size for name in "abc")
    assert run("encode", folder, "-o", out) == 1
    written = sum(path.stat().st_size for path in out.iterdir())
    rate = f"{8 * written / pixels:.3f} bpp"
    *_, line, last = capfd.readouterr().err.splitlines()
    assert line.startswith(f"ldc: 3 of 4 files encoded, 1 failed, {read} -> {written} bytes, {rate}, ")
    assert last.startswith("ldc: 1 of 4 files failed: ")

    (out / "c.ldc").unlink()
    (folder / "bad.png").unlink()
    fake.model_id = SHIPPED
    for name in "ab":
        assert run("encode", folder / f"{name}.png", "-f", "-o", out / f"{name}.ldc") == 0
    assert run("encode", folder, "-o", out, "--skip-existing", "--json") == 0
    totals = json.loads(capfd.readouterr().out.splitlines()[-1])
    made = (out / "c.ldc").stat().st_size
    counts = [totals[name] for name in ("files", "failed", "skipped", "input_bytes", "output_bytes")]
    assert counts == [3, 0, 2, (folder / "c.png").stat().st_size, made] and totals["command"] == "encode"
    assert totals["bits_per_pixel"] == pytest.approx(made * 8 / 64) and totals["seconds"] > 0
    assert run("encode", folder, "-o", out, "--skip-existing") == 0
    assert capfd.readouterr().err.splitlines()[-1].startswith("ldc: 0 of 3 files encoded, 3 skipped, ")

    assert run("decode", out, "-o", tmp_path / "back", "--jobs", 1) == 0
    written = sum(path.stat().st_size for path in out.iterdir())
    made = sum(path.stat().st_size for path in (tmp_path / "back").iterdir())
    wanted = f"ldc: 3 of 3 files decoded, {written} -> {made} bytes, {8 * written / pixels:.3f} bpp, "
    assert capfd.readouterr().err.splitlines()[-1].startswith(wanted)
    assert run("upscale", folder, "-o", tmp_path / "large") == 0
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith(f"ldc: 3 of 3 files enlarged, {read} -> ") and "bpp" not in line
    assert run("encode", folder, "-o", out, "-f", "--quiet") == 0 and capfd.readouterr().err == ""


def test_json_says_what_made_the_picture(photo, fake, capfd):
    ldc = photo.with_suffix(".ldc")

    def made_by(*args: object) -> tuple:
        assert run(*args, "-f", "--json") == 0
        report = json.loads(capfd.readouterr().out)
        return report["decoder"], report["steps"], report["seed"]

    assert made_by("encode", photo, "--seed", 11) == (None, None, None)
    assert made_by("decode", ldc) == ("vq", None, None)
    assert made_by("decode", ldc, "--decoder", "ldm") == ("ldm", 1, 11)
    assert made_by("decode", ldc, "--decoder", "ldm", "--steps", 4, "--seed", 0) == ("ldm", 4, 0)
    assert made_by("decode", ldc, "--decoder", "ldm", "--realism", 0) == ("vq", None, None)
    assert made_by("upscale", photo, "--steps", 3) == ("ldm", 3, 0)
    assert run("decode", ldc, "-f", "--decoder", "ldm", "--steps", 4) == 0
    assert ", decoder ldm 4 steps, " in capfd.readouterr().err
    assert made_by("encode", photo, "--lossless") == made_by("decode", ldc, "--decoder", "ldm") == (None, None, None)


def test_verify_and_notes_are_said_and_quiet_is_quiet(fake, capfd, tmp_path):
    Image.new("CMYK", (8, 8)).save(tmp_path / "a.tif")
    assert run("encode", tmp_path / "a.tif", "--verify") == 0
    output = capfd.readouterr()
    assert "a.tif: note: CMYK was converted to RGB" in output.err and ", RMSE 0.000," in output.err
    assert run("encode", tmp_path / "a.tif", "-f", "--quiet") == 0
    output = capfd.readouterr()
    assert output.err == "" and output.out == ""


@pytest.mark.parametrize(
    "suffix, mode",
    [
        (".png", "RGBA"),
        (".webp", "RGBA"),
        (".tif", "RGBA"),
        (".jpg", "RGB"),
        (".bmp", "RGB"),
        (".ppm", "RGB"),
        (".jp2", "RGBA"),
        (".avif", "RGBA"),
    ],
)
def test_output_format_follows_the_suffix(suffix, mode, fake, capfd, tmp_path):
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    image.paste((0, 0, 200, 255), (0, 0, 4, 8))
    image.save(tmp_path / "a.png")
    assert run("encode", tmp_path / "a.png") == 0
    assert run("decode", tmp_path / "a.ldc", "-o", tmp_path / f"b{suffix}") == 0
    result = Image.open(tmp_path / f"b{suffix}")
    assert result.mode == mode
    flattened = mode == "RGB"
    assert ("put on white" in capfd.readouterr().err) == flattened
    pixel = result.getpixel((6, 4))
    assert min(pixel) > 240 if flattened else pixel[3] < 10


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg", ".tif", ".jp2", ".avif"])
def test_gray_alpha_in_every_format(suffix, fake, tmp_path):
    Image.new("LA", (8, 8), (90, 128)).save(tmp_path / "a.png")
    assert run("encode", tmp_path / "a.png") == 0
    assert run("decode", tmp_path / "a.ldc", "-o", tmp_path / f"b{suffix}") == 0
    pixel = Image.open(tmp_path / f"b{suffix}").convert("RGBA").getpixel((4, 4))
    expected = (172, 172, 172, 255) if suffix == ".jpg" else (90, 90, 90, 128)
    assert np.abs(np.subtract(pixel, expected)).max() <= 2


def test_a_format_that_cannot_hold_the_picture(fake, capfd, tmp_path):
    Image.new("L", (16400, 1)).save(tmp_path / "a.png")
    assert run("encode", tmp_path / "a.png") == 0
    assert run("decode", tmp_path / "a.ldc", "-o", tmp_path / "b.webp") == 1
    assert "16383" in errors(capfd)[0] and not (tmp_path / "b.webp").exists()


def test_no_file_of_another_kind_than_its_name(fake, capfd, tmp_path):
    for mode in ("RGB", "RGBA", "L", "LA"):
        colour = {"RGB": (200, 0, 0), "RGBA": (200, 0, 0, 9), "L": 90, "LA": (90, 9)}[mode]
        Image.new(mode, (8, 8), colour).save(tmp_path / f"{mode}.png")
        assert run("encode", tmp_path / f"{mode}.png") == 0
        code = run("decode", tmp_path / f"{mode}.ldc", "-o", tmp_path / f"{mode}.pgm")
        if "RGB" in mode:
            assert code == 1 and "a .pgm file has no colours; take .ppm" in errors(capfd)[0]
            assert not (tmp_path / f"{mode}.pgm").exists()
        else:
            assert code == 0 and (tmp_path / f"{mode}.pgm").read_bytes().startswith(b"P5")
        for suffix in ("pbm", "PFM"):
            assert run("decode", tmp_path / f"{mode}.ldc", "-o", tmp_path / f"b.{suffix}") == 2
            assert f"pictures cannot be written as '.{suffix}'" in errors(capfd)[0]
    assert run("upscale", tmp_path / "RGB.png", "-o", tmp_path / "b.pgm") == 1 and "no colours" in errors(capfd)[0]


def test_a_thumbnail_is_not_named_like_another_kind_of_picture(ldc, capfd, tmp_path):
    for name in ("a.jpg", "a.WEBP", "a.ldc", "a.jxl"):
        assert run("thumbnail", ldc, "-o", tmp_path / "new" / name) == 2
        assert "is the suffix of another kind of picture" in errors(capfd)[0]


@pytest.mark.parametrize(
    "error, said",
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried\nto allocate"), "not enough memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "not enough memory"),
        (RuntimeError("could not create a primitive"), "not enough memory"),
        (RuntimeError("can't start new thread"), "not enough memory"),
        (OSError(28, "No space left on device"), "No space left"),
        (ZeroDivisionError("a bug"), "internal error, please report it: ZeroDivisionError: a bug"),
    ],
)
def test_any_failure_is_one_line(error, said, photo, fake, capfd, monkeypatch):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(fake, "encode", fail)
    assert run("encode", photo) == 1
    [line] = capfd.readouterr().err.splitlines()
    assert said in line and str(photo) in line
    assert run("encode", photo, "--debug") == 1
    assert "Traceback" in capfd.readouterr().err


def test_a_codec_that_cannot_be_loaded_ends_the_run(photo, capfd, monkeypatch):
    def fail(args, model):
        raise UnsupportedError("there is no CUDA device")

    monkeypatch.setattr("codec.batch.backend.load_codec", fail)
    monkeypatch.setattr("codec.cli.commands.cores", lambda: 1)
    other = photo.with_name("other.png")
    other.write_bytes(photo.read_bytes())
    assert run("encode", photo, other) == 1
    assert capfd.readouterr().err == "ldc: error: the codec cannot be loaded: there is no CUDA device\n"


@pytest.mark.parametrize("force", [[], ["-f"]])
def test_interruption_leaves_no_half_file(force, photo, fake, capfd, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    ldc = photo.with_suffix(".ldc")
    if force:
        ldc.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)  # the temporary file is complete, the rename is not
        assert run("encode", photo, *force) == 130
    assert capfd.readouterr().err == "ldc: error: interrupted\n"
    assert sorted(path.name for path in photo.parent.iterdir()) == ["photo.ldc"] * bool(force) + ["photo.png"]
    assert not force or ldc.read_bytes() == b"old"


def test_output_is_written_with_the_usual_rights_and_through_links(photo, fake, tmp_path):
    (tmp_path / "real.ldc").write_bytes(b"")
    (tmp_path / "link.ldc").symlink_to("real.ldc")
    assert run("encode", photo, "-o", tmp_path / "link.ldc", "-f") == 0
    assert (tmp_path / "link.ldc").is_symlink() and (tmp_path / "real.ldc").stat().st_size > 0
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert (tmp_path / "real.ldc").stat().st_mode == plain.stat().st_mode


def test_devices_are_written_to_not_replaced(photo, fake):
    assert run("encode", photo, "-o", "/dev/null") == 0
    assert not Path("/dev/null").is_file()


def test_progress_bar_on_a_terminal_only(photo, fake, monkeypatch):
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Tty()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run("encode", photo) == 0
    assert "% |" in terminal.getvalue() and "bits/dim" in terminal.getvalue()
    terminal.truncate(0)
    assert run("encode", photo, "-f", "--quiet") == 0
    assert terminal.getvalue().strip("\0") == ""


def test_info(ldc, capfd):
    assert run("info", ldc) == 0
    output = capfd.readouterr()
    assert "width           48\n" in output.out and "quality         50.0\n" in output.out and output.err == ""
    assert run("info", ldc, "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["file_bytes"] == facts["present_bytes"] == ldc.stat().st_size
    assert facts["model_id"] == 250 and facts["table_hash"] == "0fa4e000" and facts["whole_sections"] == 2
    data = ldc.read_bytes()
    for size, whole in ((len(data) - 1, 1), (facts["header_bytes"] + 1, 0), (facts["header_bytes"], 0)):
        ldc.write_bytes(data[:size])
        assert run("info", ldc, "--json") == 0
        facts = json.loads(capfd.readouterr().out)
        assert (facts["present_bytes"], facts["whole_sections"]) == (size, whole)
    for bad in (data + b"\0", data[:-1] + b"\0" * (data[-1] == 0) + b"?", data[:9], b"text", b""):
        ldc.write_bytes(bad)
        assert run("info", ldc) == 1
        output = capfd.readouterr()
        assert output.out == "" and output.err.count("\n") == 1


def test_info_of_several_files_and_folders(ldc, capfd, tmp_path):
    folder = tmp_path / "more"
    (folder / "deep").mkdir(parents=True)
    data = ldc.read_bytes()
    (folder / "deep" / "a.LDC").write_bytes(data[:-5])
    (folder / "notes.txt").write_text("no picture")
    (folder / "bad.ldc").write_bytes(b"no picture")
    assert run("info", ldc, folder) == 1
    output = capfd.readouterr()
    first, second = output.out.split("\n\n")
    assert first.startswith(f"file            {ldc}\n") and second.startswith(
        f"file            {folder / 'deep' / 'a.LDC'}\n"
    )
    assert "truncated       no\n" in first and "truncated       yes\n" in second
    assert f"present_bytes   {len(data) - 5}\n" in second and f"file_bytes      {len(data)}\n" in second
    sizes = " ".join(map(str, container.read_header(data).section_bytes))
    assert f"section_bytes   {sizes}\n" in first and not set("()[]'") & set(output.out.replace(str(tmp_path), ""))
    assert output.err == f"ldc: error: {folder / 'bad.ldc'}: not an LDC file: it does not begin with 8A 'LDC'\n"
    assert run("info", folder, ldc, "--json") == 1
    bad, cut, whole = map(json.loads, capfd.readouterr().out.splitlines())
    assert (bad["input"], cut["truncated"], whole["truncated"]) == (str(folder / "bad.ldc"), True, False)
    assert (cut["file"], whole["file"]) == (str(folder / "deep" / "a.LDC"), str(ldc))
    (tmp_path / "none").mkdir()
    assert run("info", tmp_path / "none") == 2 and "no suitable files in the folder" in capfd.readouterr().err


def test_a_cut_file_names_the_flag_that_takes_it(ldc, fake, capfd, tmp_path):
    ldc.write_bytes(ldc.read_bytes()[:-5])
    assert run("decode", ldc, "-o", tmp_path / "a.png") == 1
    (line,) = errors(capfd)
    (flag,) = [word for word in line.split() if word.startswith("--")]
    assert run("decode", ldc, "-o", tmp_path / "a.png", flag) == 0


@pytest.mark.parametrize("name", ["x.jpg", "x.JPEG", "x.png", "x.heic", "x.jxl", "x.webp", "x.eps"])
def test_encode_writes_no_file_named_like_another_picture(photo, fake, capfd, name):
    assert run("encode", photo, "-f", "-o", photo.with_name(name)) == 2
    (line,) = errors(capfd)
    assert f"encode writes .ldc files, and '{Path(name).suffix.lower()}' is the suffix of another kind" in line
    assert [path.name for path in photo.parent.iterdir()] == ["photo.png"] and not fake.loads
    for other in ("x", "x.bin", "x.LDC"):
        assert run("encode", photo, "-o", photo.with_name(other)) == 0


def test_a_large_foreign_file_is_not_read(tmp_path, fake, capfd):
    with open(tmp_path / "big.ldc", "wb") as file:
        file.truncate(2**40)
    assert run("decode", tmp_path / "big.ldc") == 1
    assert "not an LDC file" in errors(capfd)[0]
    with open(tmp_path / "big.ldc", "r+b") as file:
        file.write(container.pack(container.Header(4, 4, 1, 1, 1), [b"abc"]))
    assert run("info", tmp_path / "big.ldc") == 1
    assert "left over" in errors(capfd)[0]


def test_one_name_everywhere(capfd, tmp_path):
    """That of the script, in usage, errors and version, however the program was started."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    (name,) = scripts
    assert scripts[name] == "codec.cli:main"
    for arguments, code in ((["--version"], 0), (["--help"], 0), (["info", "--help"], 0), ([], 2), (["info"], 2)):
        assert run(*arguments) == code
        said = "".join(capfd.readouterr())
        assert said.startswith((f"{name} ", f"usage: {name} ")) and "codec" not in said.split("\n")[0]
    assert run("info", tmp_path / "missing") == 1 and capfd.readouterr().err.startswith(f"{name}: error: ")
    assert run("decode", tmp_path / "a.ldc", "--steps", "5") == 2 and capfd.readouterr().err.startswith(
        f"{name}: error: "
    )


def test_plan_refuses_two_sources_for_one_target():
    with pytest.raises(outcome.UsageError, match="both"):
        plan.plan(["x/a.png", "y/a.png"], "out", ".ldc", lambda path: True)


@pytest.mark.parametrize(
    "output, there, inputs",
    [
        (None, ["d/a.png", "d/a.x2.png", "d/b/c.jpg", "d/b/c.x2.png"], ["d/a.png", "d/b/c.jpg"]),
        (None, ["d/a.jpg", "d/a.png", "d/a.jpg.x2.png", "d/a.png.x2.png"], ["d/a.jpg", "d/a.png"]),
        (None, ["d/a.jpg", "d/a.x2.jpg", "d/a.x2.png", "d/a.x2.x2.png"], ["d/a.jpg", "d/a.x2.jpg"]),
        (None, ["d/a.x2.png", "d/b.png"], ["d/a.x2.png", "d/b.png"]),  # of nothing that is there
        ("d/up", ["d/a.png", "d/up/a.x2.png", "d/up/old.x2.png"], ["d/a.png"]),
        ("d", ["d/a.png", "d/a.x2.png"], ["d/a.png"]),
        ("up", ["d/a.png", "d/a.x2.png"], ["d/a.png", "d/a.x2.png"]),
    ],
)
def test_a_plan_has_no_result_of_its_own_as_an_input(output, there, inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in there:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    tasks = plan.plan(["d"], output, ".x2.png", lambda path: path.suffix in (".png", ".jpg"))
    assert [task.source for task in tasks] == inputs


def test_what_was_enlarged_at_another_scale_is_no_input_of_a_folder(tmp_path, fake, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4), "red").save("a.png")
    for scale in ("2", "4", "2", "4"):
        assert cli.main(["upscale", "-f", ".", "--scale", scale]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.x2.png", "a.x4.png"]
    assert cli.main(["upscale", "-f", "a.png", "a.x4.png"]) == 0  # named, it is meant
    assert (tmp_path / "a.x4.x2.png").exists()


def test_a_plan_refuses_a_result_that_is_named_as_an_input():
    with pytest.raises(outcome.UsageError, match=r"'a.x2.png' is an input, and what is made of 'a.png'"):
        plan.plan(["a.png", "a.x2.png"], None, ".x2.png", lambda path: True)
    assert len(plan.plan(["a.png", "a.ldc"], "d/", ".ldc", lambda path: path.suffix == ".png")) == 2


# From here on fresh processes, and the codec with its networks.


def test_version_help_and_info_load_nothing_heavy(tmp_path):
    (tmp_path / "a.ldc").write_bytes(container.pack(container.Header(4, 4, 1, 1, 1), [b"abc"]))
    for args in (["--version"], ["--help"], ["encode", "--help"], ["info", tmp_path / "a.ldc"]):
        assert loaded_modules(*args) == set()
    assert codec_process("--version").stdout.decode() == f"ldc {codec.__version__}\n"
    assert b"--target-bytes" in codec_process("encode", "--help").stdout


def test_refusals_do_not_load_torch(tmp_path):
    (tmp_path / "a.ldc").write_bytes(container.pack(container.Header(4, 4, 1, 1, 1), [b"abc"])[:-1])
    assert loaded_modules("decode", tmp_path / "a.ldc") <= {"PIL", "numpy"}
    assert loaded_modules("encode", tmp_path / "missing.png") <= {"PIL", "numpy"}


def test_closed_pipe():
    program = f"{sys.executable} -m codec info --json /dev/stdin | true"
    result = subprocess.run(
        ["bash", "-c", program],
        input=container.pack(container.Header(4, 4, 1, 1, 1), [b"abc"]),
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    assert b"Traceback" not in result.stderr and b"Exception" not in result.stderr


@pytest.mark.slow
def test_real_codec_round_trip(tmp_path):
    ldc, out = tmp_path / "photo.ldc", tmp_path / "photo.png"
    report = json.loads(codec_process("encode", PHOTO, "-o", ldc, "--json", "--verify").stdout)
    assert report["output_bytes"] == ldc.stat().st_size < PHOTO.stat().st_size
    assert codec_process("decode", ldc, "-o", out, "--threads", "1").stderr.count(b"\n") == 1
    original, decoded = (np.asarray(Image.open(path).convert("RGB"), float) for path in (PHOTO, out))
    rmse = np.sqrt(((original - decoded) ** 2).mean())
    assert rmse == pytest.approx(report["rmse"], abs=0.05) and rmse < 12
    facts = json.loads(codec_process("info", ldc, "--json").stdout)
    assert (facts["width"], facts["height"], facts["file_bytes"]) == (512, 600, ldc.stat().st_size)


@pytest.mark.slow
def test_real_codec_in_a_pipe(tmp_path):
    picture = Image.open(PHOTO).resize((70, 50)).convert("L")
    picture.putalpha(128)
    picture.save(tmp_path / "a.png")
    data = codec_process("encode", "-", "-q", "20", "--effort", "1", input=(tmp_path / "a.png").read_bytes()).stdout
    image = Image.open(io.BytesIO(codec_process("decode", "-", input=data).stdout))
    assert image.mode == "LA" and image.size == (70, 50) and image.getchannel("A").getextrema() == (128, 128)


@pytest.mark.slow
def test_real_codec_loads_no_benchmark_packages(tmp_path):
    Image.open(PHOTO).resize((70, 50)).save(tmp_path / "a.png")
    heavy = {"compressai", "torchvision", "pandas", "matplotlib"}
    for args in (["encode", tmp_path / "a.png"], ["decode", tmp_path / "a.ldc", "-f"]):
        loaded = loaded_modules(*args)
        assert ("torch" in loaded) == (args[0] == "encode") and not heavy & loaded
