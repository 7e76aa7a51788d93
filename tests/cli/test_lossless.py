"""The command line on lossless files: asked for, told, decoded without a model, refused where it has no meaning."""

import json

import numpy as np
import pytest
from PIL import Image

from codec import cli
from codec.bitstream.container import read_header
from tests.support.drawn import discs
from tests.support.process import loaded_modules


@pytest.fixture
def drawing(tmp_path):
    """A sprite with alpha, whose hidden pixels have a colour."""
    pixels = np.zeros((40, 60, 4), np.uint8)
    pixels[..., 0] = 77
    pixels[5:35, 10:50] = 200, 30, 40, 255
    pixels[15:25, 20:40] = 255, 255, 255, 128
    path = tmp_path / "sprite.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def no_model(monkeypatch):
    monkeypatch.setattr("codec.batch.backend.load_codec", None)


def run(*args: object) -> int:
    try:
        return cli.main([str(arg) for arg in args])
    except SystemExit as exit:
        return exit.code


def test_asked_for_it_needs_no_model(drawing, no_model, capfd):
    ldc, back = drawing.with_suffix(".ldc"), drawing.with_name("back.png")
    assert run("encode", drawing, "--lossless", "--verify", "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["lossless"], report["quality"], report["rmse"]) == (True, 100.0, 0.0)
    assert report["psnr"] is None and report["ms_ssim"] is None  # exact, and too small for five scales
    assert run("info", ldc) == 0
    assert "lossless        yes\n" in capfd.readouterr().out
    assert run("info", ldc, "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    assert (facts["lossless"], facts["alpha"], facts["gray"], facts["whole_sections"]) == (True, True, False, 1)
    assert run("decode", ldc, "-o", back) == 0
    assert ", lossless, " in capfd.readouterr().err
    before, after = (np.asarray(Image.open(path)) for path in (drawing, back))
    assert (after == before * (before[..., 3:] > 0)).all() and (after[0, 0] == 0).all()
    assert run("encode", drawing, "-f", "--lossless", "--keep-hidden", "--verify") == 0
    assert "RMSE 0.000" in capfd.readouterr().err
    assert run("decode", ldc, "-f", "-o", back) == 0
    assert (np.asarray(Image.open(back)) == before).all()


def test_another_decoder_has_nothing_to_add(drawing, no_model, capfd):
    ldc, back = drawing.with_suffix(".ldc"), drawing.with_name("back.png")
    assert run("encode", drawing, "--lossless", "--keep-hidden", "--quiet") == 0
    assert run("decode", ldc, "-o", back, "--decoder", "ldm", "--steps", "3") == 0
    assert "note: the file is coded without loss: the decoder ldm has no detail to add" in capfd.readouterr().err
    assert (np.asarray(Image.open(back)) == np.asarray(Image.open(drawing))).all()


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["-q", "50"], "quality has no effect with lossless"),
        (["--target-bytes", "900"], "target_bytes has no effect with lossless"),
        (["--target-bpp", "1"], "target_bpp has no effect with lossless"),
        (["--seed", "4"], "seed has no effect with lossless"),
        (["--device", "cuda"], "device has no effect with lossless"),
        (["--precision", "bfloat16"], "precision has no effect with lossless"),
        (["--threads", "2"], "threads has no effect with lossless"),
        (["--model", "6"], "model has no effect with lossless"),
    ],
)
def test_what_has_no_effect_is_refused(drawing, no_model, capfd, options, sentence):
    assert run("encode", drawing, "--lossless", *options) == 2
    assert sentence in capfd.readouterr().err and not drawing.with_suffix(".ldc").exists()


def test_a_part_of_it_is_refused(drawing, no_model, capfd):
    ldc, back = drawing.with_suffix(".ldc"), drawing.with_name("back.png")
    assert run("encode", drawing, "--lossless", "--quiet") == 0
    data = ldc.read_bytes()
    assert run("decode", ldc, "-o", back, "--max-bytes", len(data) - 1) == 1
    ldc.write_bytes(data[:-1])
    for options in ([], ["--allow-truncated"]):
        assert run("decode", ldc, "-o", back, *options) == 1
    assert capfd.readouterr().err.count("it is coded without loss, and parts of it give no coarser picture") == 3
    assert run("info", ldc, "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    assert (facts["present_bytes"], facts["whole_sections"]) == (len(data) - 1, 0) and not back.exists()


def test_by_default_where_it_is_smaller(drawing, shipped, monkeypatch, capfd):
    monkeypatch.setattr("codec.batch.backend.load_codec", lambda args, model: shipped)
    for options, lossless in (([], True), (["--no-lossless"], False), (["--target-bytes", "9000"], True)):
        assert run("encode", drawing, "-f", "--json", "--verify", *options) == 0
        report = json.loads(capfd.readouterr().out)
        assert report["lossless"] is lossless and (report["rmse"] == 0) is lossless
        header = read_header(drawing.with_suffix(".ldc").read_bytes()).header
        assert header.lossless is header.alpha_inside is lossless


def test_fewer_colours_are_told(drawing, shipped, monkeypatch, capfd):
    """They are not called lossless; --lossless never makes them, --no-lossless neither."""
    monkeypatch.setattr("codec.batch.backend.load_codec", lambda args, model: shipped)
    path, ldc = drawing.with_name("discs.png"), drawing.with_name("discs.ldc")
    Image.fromarray(discs()).save(path)
    assert run("encode", path, "--json", "--verify") == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["lossless"], report["reduced"], report["quality"]) == (False, True, 50.0) and report["rmse"] > 0
    assert run("info", ldc) == 0
    told = capfd.readouterr().out
    assert "lossless        no\n" in told and "reduced         yes\n" in told and "quality         50.0\n" in told
    assert run("decode", ldc, "-o", drawing.with_name("back.png"), "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["lossless"], report["reduced"], report["decoder"]) == (False, True, None)
    for options, code in (([], 0), (["-q", 51], 1), (["--no-lossless"], 1), (["--lossless"], 1)):
        assert run("encode", path, "--skip-existing", *options) == code, options
        assert ("was made with other settings" in capfd.readouterr().err) is bool(code)
    assert run("encode", path, "-f") == 0
    assert ", quality 50.00, reduced colours, " in capfd.readouterr().err
    for option, lossless in (("--lossless", True), ("--no-lossless", False)):
        assert run("encode", path, "-f", option, "--json") == 0
        report = json.loads(capfd.readouterr().out)
        assert (report["lossless"], report["reduced"]) == (lossless, False)


def test_torch_is_not_loaded(drawing):
    assert loaded_modules("encode", drawing, "--lossless") <= {"PIL", "numpy"}
    assert loaded_modules("decode", drawing.with_suffix(".ldc"), "-f") <= {"PIL", "numpy"}


def test_a_lossless_output_that_is_there_is_of_other_settings_where_loss_is_asked_for(drawing, no_model, capfd):
    assert run("encode", drawing, "--lossless", "--quiet") == 0
    assert run("encode", drawing, "--lossless", "--skip-existing") == 0 and "skipped" in capfd.readouterr().err
    assert run("encode", drawing, "--skip-existing") == 0  # may have been the smaller one
    capfd.readouterr()
    assert run("encode", drawing, "--no-lossless", "--skip-existing") == 1
    assert "was made with other settings" in capfd.readouterr().err
