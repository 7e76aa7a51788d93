"""The command: its outputs, resuming after a kill, two equal runs, and one sentence for every kind of bad input."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.analysis.published import drawn_curves, is_whole
from benchmarks.rd_curve import main
from benchmarks.report import outputs

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
SCRIPT = [sys.executable, str(ROOT / "benchmarks" / "rd_curve.py")]
TIMES = ["encode_s", "decode_s", "metrics_s"]
FAST = ["--metrics", "gmsd", "--jobs", "1", "--no-report", "--rate-axis", "log"]


def read(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "rd.csv", dtype=str)


@pytest.mark.slow
def test_a_run_writes_table_means_bjontegaard_figures_and_metadata(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--images", str(folder), "--codecs", "jpeg,bpg-444", "--points", "3", "--out", str(out), *FAST]
    assert main(arguments) == 0
    table = read(out)
    assert len(table) == 2 * 2 * 3
    assert not table.duplicated(["image_hash", "codec", "setting", "version"]).any()
    row = table[["bytes", "width", "height", "bits_per_dim", "bpp", "rmse", "psnr"]].astype(float).iloc[0]
    assert row.bits_per_dim == pytest.approx(8 * row.bytes / (row.width * row.height * 3))
    assert row.bpp == pytest.approx(3 * row.bits_per_dim)
    assert row.psnr == pytest.approx(20 * np.log10(255 / row.rmse), abs=1e-4)
    means = pd.read_csv(out / "mean.csv", dtype={"setting": str})
    jpeg = table[(table.codec == "jpeg") & (table.setting == "90")].rmse.astype(float)
    mean = means[(means.codec == "jpeg") & (means.setting == "90")].iloc[0]
    assert mean.rmse == pytest.approx(jpeg.mean(), abs=1e-5)
    assert mean.rmse_pooled == pytest.approx(np.sqrt((jpeg**2).mean()), abs=1e-5) and mean.rmse_pooled > mean.rmse
    assert mean.psnr_pooled < mean.psnr and mean.images == 2
    bd = pd.read_csv(out / "bd.csv").set_index(["anchor", "codec"])
    assert bd.loc[("bpg-444", "jpeg"), "bd_rate_percent"] > 30 > -10 > bd.loc[("jpeg", "bpg-444"), "bd_rate_percent"]
    facts = json.loads((out / "run.json").read_text())
    assert facts["this_run"]["rows"] == 12 and set(facts["codecs"]) == {"jpeg", "bpg-444"} and facts["machine"]["cpu"]
    run = facts["this_run"]
    harness_s = run["start_s"] + run["harness_share"] * run["measuring_s"] + run["outputs_s"]
    assert (
        run["outputs_s"] > 0
        and abs(
            run["harness_share_of_all"]
            - harness_s / (harness_s + (1 - run["harness_share"]) * run["measuring_s"] + run["showcase_s"])
        )
        < 0.02
    )
    assert {path.name for path in (out / "figures").iterdir()} >= {
        "rate_rmse_log.pdf",
        "rate_rmse_log.png",
        "rate_gmsd_log.png",
    }
    assert str(folder) not in (out / "run.json").read_text() + (out / "rd.csv").read_text()

    before = (out / "rd.csv").read_bytes()
    assert main(arguments) == 0
    assert (out / "rd.csv").read_bytes() == before  # times too: nothing was measured again
    facts = json.loads((out / "run.json").read_text())
    assert facts["this_run"]["rows"] == 0 and [run["rows"] for run in facts["runs"]] == [12]

    arguments[arguments.index("jpeg,bpg-444")] = "webp,vvc"  # a run of one more codec leaves the facts of the others
    assert main(arguments) == 0
    facts = json.loads((out / "run.json").read_text())
    assert set(facts["codecs"]) == set(facts["settings"]) == {"jpeg", "bpg-444", "webp"} and len(facts["runs"]) == 2
    assert set(facts["absent"]) <= {"vvc"}


@pytest.mark.slow
def test_two_runs_agree_apart_from_times_with_any_number_of_jobs(folder: Path, tmp_path: Path) -> None:
    common = ["--images", str(folder), "--codecs", "webp,bpg-420", "--points", "2", "--rate-axis", "log", "--no-report"]
    assert main([*common, "--jobs", "1", "--out", str(tmp_path / "one")]) == 0
    done = subprocess.run(
        [*SCRIPT, *common, "--jobs", "2", "--out", str(tmp_path / "two")], capture_output=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    one, two = (read(tmp_path / name).drop(columns=TIMES) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.slow
def test_killed_and_run_again_the_table_is_complete_without_doubles(folder: Path, tmp_path: Path, jobs: str) -> None:
    out = tmp_path / "out"
    command = [
        *SCRIPT, "--images", str(folder), "--codecs", "jpeg,jpeg2000,webp", "--metrics", "", "--jobs", jobs,
        "--rate-axis", "log", "--no-report", "--out", str(out),
    ]  # fmt: skip
    rows = []
    for wanted in (3, 17):  # killed when this many rows are there
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and (
            not (out / "rd.csv").is_file() or (out / "rd.csv").read_bytes().count(b"\n") <= wanted
        ):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        rows.append((out / "rd.csv").read_bytes().count(b"\n") - 1)
    with (out / "rd.csv").open("ab") as file:
        file.write(b"jpeg,50,Pill")  # what a kill inside a write leaves
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    table = read(out)
    assert 0 < rows[0] <= rows[1]
    assert len(table) == 2 * (10 + 10 + 9)
    assert not table.duplicated(["image_hash", "codec", "setting", "version"]).any()
    assert table.notna().drop(columns="ms_ssim").all(axis=None)


@pytest.mark.slow
def test_interrupted_from_the_keyboard_it_says_so(folder: Path, tmp_path: Path) -> None:
    """In the midst of the run: ten rows are there, both workers are held in an encoder, and Ctrl-C goes to all
    processes as from a terminal."""
    out, script = tmp_path / "out", Path(__file__).parents[1] / "support" / "waiting_run.py"
    arguments = ["--images", str(folder), "--codecs", "jpeg,webp", "--metrics", "", "--jobs", "2", "--out", str(out)]
    command = [sys.executable, str(script), str(tmp_path), *arguments]
    # a shell's background job ignores Ctrl-C, and so would what it starts
    listening = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True, **listening)
    while len(list(tmp_path.glob("*.waits"))) < 2 or (out / "rd.csv").read_bytes().count(b"\n") < 11:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=300)  # what the workers are held in never ends by itself
    assert not (tmp_path / "go").exists()
    assert process.returncode == 130
    assert b"interrupted; finished rows are kept" in errors and b"Traceback" not in errors
    assert 10 <= len(read(out)) < 40


def test_without_arguments_the_settings_are_few_and_the_photographs_come_from_packages(tmp_path: Path) -> None:
    """The defaults themselves, on one cheap codec."""
    assert (
        main(
            [
                "--codecs",
                "jpeg",
                "--metrics",
                "",
                "--jobs",
                "1",
                "--no-report",
                "--rate-axis",
                "linear",
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    table = read(tmp_path)
    assert "grace_hopper.jpg" in set(table.image) and table.groupby("image").size().eq(5).all()


def sentences(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


def test_bad_images_are_told_and_the_good_ones_measured(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:300])
    (folder / "text.jpg").write_text("no picture")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGBA", (40, 40)).save(folder / "alpha.png")
    Image.new("I;16", (40, 40)).save(folder / "deep.png")
    deep = np.random.default_rng(0).integers(0, 65536, (40, 40, 3)).astype(np.uint16)
    (folder / "deep-rgb.png").write_bytes(imagecodecs.png_encode(deep))  # which Pillow opens as 8-bit RGB
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    out = tmp_path / "out"
    assert main(["--images", str(folder), "--codecs", "jpeg", "--points", "2", "--out", str(out), *FAST]) == 1
    text = sentences(capsys)
    for words in (
        "broken.png: cannot be read", "text.jpg: cannot be read", "dot.png: 1x1 pixels are too few", "alpha.png: not measured, because what is coded would be another picture (it has transparent pixels)",
        "deep.png: not measured, because what is coded would be another picture (16-bit samples were reduced to 8 bits)",
        "deep-rgb.png: not measured, because what is coded would be another picture (16-bit samples", "copy.png: the same picture as a.png",
    ):  # fmt: skip
        assert text.count(words) == 1
    assert set(read(out).image) == {"a.png", "b.png"} and len(read(out)) == 4


def test_a_codec_that_fails_on_one_picture_loses_no_other_row(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.codecs.pillow_codecs import WebP

    real = WebP.encode
    monkeypatch.setattr(
        WebP,
        "encode",
        lambda self, image, setting: 1 / 0 if image.shape[0] == 96 and setting else real(self, image, setting),
    )
    out = tmp_path / "out"
    assert main(["--images", str(folder), "--codecs", "jpeg,webp", "--points", "3", "--out", str(out), *FAST]) == 1
    text = sentences(capsys)
    assert text.count("a.png: webp failed at setting") == 1 and "ZeroDivisionError" in text
    assert "webp: 2 setting(s) not measured on all 2 images" in text
    assert len(read(out)) == 3 * 2 + 1 + 3
    monkeypatch.setattr(WebP, "encode", real)
    assert main(["--images", str(folder), "--codecs", "jpeg,webp", "--points", "3", "--out", str(out), *FAST]) == 0
    assert len(read(out)) == 12


def test_a_broken_bpgenc_fails_the_run_but_not_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "bpgenc").write_text("#!/bin/sh\nexit 3\n")
    (tools / "bpgenc").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    out = tmp_path / "out"
    assert main(["--images", str(folder), "--codecs", "jpeg,bpg-444", "--points", "2", "--out", str(out), *FAST]) == 1
    text = sentences(capsys)
    assert text.count("bpg-444 is broken: bpgenc is on the PATH but does not work") == 1
    assert set(read(out).codec) == {"jpeg"}
    assert "bpg-444" in json.loads((out / "run.json").read_text())["absent"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--images", "EMPTY"], 1, "no images in this folder"),
        (["--images", "MISSING"], 1, "there is no such folder"),
        (["--codecs", "jpeg,gif"], 1, "unknown codec 'gif'"),
        (["--codecs", "vvc"], 1, "none of the codecs can run here"),
        (["--settings", "jpeg=high"], 1, "expected CODEC=NUMBER"),
        (["--settings", "gif=3"], 1, "unknown codec 'gif'"),
        (["--settings", "jpeg=nan"], 1, "expected CODEC=NUMBER"),
        (["--settings", "jpeg=50.5"], 1, "jpeg has no setting 50.5: it takes whole numbers from 1 to 100"),
        (["--settings", "jpeg=50,200"], 1, "jpeg has no setting 200: it takes whole numbers from 1 to 100"),
        (
            ["--codecs", "bpg-444", "--settings", "bpg-444=30.5"],
            1,
            "bpg-444 has no setting 30.5: it takes whole numbers",
        ),
        (["--codecs", "jpeg2000", "--settings", "jpeg2000=0.5"], 1, "it takes numbers from 1 to 10000"),
        (["--anchor", "png"], 1, "anchor codec 'png' is not in the table"),
        (["--settings", "webp=30"], 1, "--settings webp=30: webp is not among the codecs of this run"),
        (["--published", "mars"], 1, "no published curves for 'mars'"),
        (["--out", "FILE/x"], 1, "cannot write to the output folder"),
    ],
)
def test_each_bad_input_is_one_sentence(
    arguments: list[str],
    code: int,
    words: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").write_text("")
    monkeypatch.chdir(tmp_path)
    defaults = {"--images": str(folder), "--codecs": "jpeg", "--out": str(tmp_path / "out")}
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    merged = [text for pair in {**defaults, **given}.items() for text in pair]
    assert main([*merged, "--points", "2", *FAST]) == code
    assert sentences(capsys).count(words) == 1
    table = tmp_path / "out" / "rd.csv"
    assert not table.is_file() or len(table.read_text().splitlines()) == 1  # told before anything was measured


def test_settings_of_one_codec_are_named_once(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--images", str(folder), "--codecs", "jpeg,vvc", "--out", str(tmp_path / "out"), *FAST]
    assert main([*arguments, "--settings", "jpeg=30", "--settings", "jpeg=50"]) == 1
    assert "there are settings of jpeg already" in sentences(capsys)
    assert main([*arguments, "--settings", "jpeg=30,50", "--settings", "vvc=30"]) == 0  # of one that cannot run, too
    assert set(read(tmp_path / "out").codec) <= {"jpeg", "vvc"}


def test_a_picture_that_has_changed_is_measured_in_place_of_the_old_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Means were over what it was and what it is."""
    out = tmp_path / "out"
    arguments = ["--images", str(folder), "--codecs", "jpeg", "--points", "2", "--out", str(out), *FAST]
    assert main(arguments) == 0
    with Image.open(folder / "a.png") as picture:
        picture.rotate(180).save(folder / "a.png")
    assert main(arguments) == 0
    assert "a.png: another picture than in the table" in sentences(capsys)
    assert set(pd.read_csv(out / "mean.csv").images) == {2} and len(read(out)) == 4
    assert len(pd.read_csv(out / "superseded.csv")) == 2
    (folder / "a.png").rename(tmp_path / "a.png")
    assert main(arguments) == 0
    assert "has 1 more picture(s), which this run does not: means are over all" in sentences(capsys)


def test_an_unwritable_folder_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    """As another user where the tests run as root, for whom every folder is writable: a read-only path of /proc."""
    out = "/proc/benchmark-results" if sys.platform == "linux" else "/benchmark-results"
    done = subprocess.run(
        [*SCRIPT, "--images", str(folder), "--codecs", "jpeg", "--metrics", "", "--out", out],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (
        done.returncode == 1 and "cannot write to the output folder" in done.stderr and "Traceback" not in done.stderr
    )


@pytest.mark.parametrize(
    "arguments", [["--metrics", "beauty"], ["--codecs", ""], ["--jobs", "0"], ["--no-such-option"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_missing_weights_leave_the_column_out_with_a_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    before = torch.hub.get_dir()
    out = tmp_path / "out"
    try:
        code = main([
            "--images", str(folder), "--codecs", "jpeg", "--points", "2", "--out", str(out), "--jobs", "1", "--no-report",
            "--rate-axis", "log", "--metrics", "gmsd,lpips,fid", "--weights-cache", str(tmp_path),
        ])  # fmt: skip
    finally:
        torch.hub.set_dir(before)
    assert code == 1  # they were asked for
    text = sentences(capsys)
    assert text.count("lpips is left out") == 1 and text.count("fid is left out") == 1
    assert "lpips" not in read(out).columns and "gmsd" in read(out).columns


def test_without_metrics_torch_is_not_imported(folder: Path, tmp_path: Path) -> None:
    arguments = ["--images", str(folder), "--codecs", "jpeg", "--points", "2", "--jobs", "1", "--metrics", ""]
    arguments += ["--no-report", "--rate-axis", "log", "--out", str(tmp_path / "out")]
    program = f"import sys; from benchmarks.rd_curve import main; print(main({arguments}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1:] == ["0 False"], done.stderr


def test_the_module_form_shows_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rd_curve", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0 and "--images" in done.stdout


def test_a_folder_that_is_only_named_kodak_gets_no_published_curves(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Curves that are means of 24 pictures were drawn beside those of two."""
    named, drawn = folder.rename(tmp_path / "Kodak"), []
    monkeypatch.setattr(outputs, "draw_figure", lambda means, out, dataset, *rest: drawn.append(dataset))
    arguments = ["--images", str(named), "--codecs", "jpeg", "--points", "2", "--out", str(tmp_path / "out"), *FAST]
    assert main(arguments) == 0
    assert "no published curves: these 2 picture(s) may not be all of kodak" in capsys.readouterr().err
    assert drawn and not any(drawn_curves(dataset, "rmse") for dataset in drawn)
    drawn.clear()
    assert main([*arguments, "--published", "kodak"]) == 0  # who says so knows it
    assert set(drawn) == {"kodak"} and "no published curves" not in capsys.readouterr().err


def test_the_whole_set_is_known() -> None:
    rows = pd.read_csv(RESULTS / "kodak" / "rd.csv", dtype={"setting": str})
    assert is_whole("kodak", rows) and not is_whole("tecnick", rows)
    assert not is_whole("kodak", rows[rows.image_hash != rows.image_hash.iloc[0]])
    assert not is_whole("kodak", rows.assign(width=512))


def test_set_metrics_survive_in_a_checkout_without_features(folder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from codec._compat import import_torchvision

    torch.manual_seed(0)
    weights = tmp_path / "squeeze.safetensors"
    save_file(import_torchvision().models.squeezenet1_1().state_dict(), weights)
    out = tmp_path / "out"
    common = [
        "--images",
        str(folder),
        "--points",
        "2",
        "--out",
        str(out),
        "--jobs",
        "1",
        "--no-report",
        "--rate-axis",
        "log",
    ]
    common += ["--metrics", "sqz_kid,sqz_dist", "--feature-weights", str(weights)]
    assert main([*common, "--codecs", "jpeg"]) == 0
    first = pd.read_csv(out / "sets.csv")
    assert list(first.codec) == ["jpeg", "jpeg"]
    assert first.sqz_kid.notna().all()
    shutil.rmtree(out / ".features")
    assert main([*common, "--codecs", "webp"]) == 0
    both = pd.read_csv(out / "sets.csv")
    pd.testing.assert_frame_equal(both[both.codec == "jpeg"], first)
    assert len(both) == 4
    assert len(read(out)) == 8


def test_an_asked_metric_that_cannot_run_is_an_error_a_default_one_is_not(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the first command of the README: only what the codec itself needs is installed."""
    for module in ("piq", "imagecodecs", "pillow_heif"):
        monkeypatch.setitem(sys.modules, module, None)
    common = ["--images", str(folder), "--codecs", "jpeg,jxl,heic", "--points", "2", "--jobs", "1", "--no-report"]
    common += ["--rate-axis", "log", "--out", str(tmp_path / "out")]
    assert main(common) == 0
    text = sentences(capsys)
    assert text.count("gmsd is left out: the package piq is not installed") == 1
    (line,) = [line for line in text.splitlines() if line.startswith("not installed: ")]
    assert line.startswith("not installed: imagecodecs, pillow-heif, piq.") and '-e ".[bench]"' in line
    assert main([*common, "--metrics", "ms_ssim,gmsd"]) == 1


def test_without_out_results_go_to_a_folder_that_git_ignores(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the last words are the Bjontegaard table and where the report is."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    (folder / ".gitignore").write_text("*")
    monkeypatch.chdir(tmp_path)
    arguments = ["--images", str(folder), "--codecs", "jpeg,webp", "--points", "3", "--metrics", "", "--jobs", "1"]
    assert main([*arguments, "--rate-axis", "log"]) == 0
    words = capsys.readouterr().out.splitlines()
    assert words[-1] == "report: runs/benchmark/pictures/report.html" and Path(words[-1].split()[1]).is_file()
    assert "BD-rate against jpeg, %" in words[0] and {line.split()[0] for line in words[1:-1]} == {"jpeg", "webp"}
    changed = subprocess.run(["git", "status", "--short"], capture_output=True, text=True, check=True).stdout
    assert changed.split() == ["??", ".gitignore"]
    page = (tmp_path / "runs/benchmark/pictures/report.html").read_text()
    assert '"photograph": "a.png"' in page and '"photograph": "b.png"' in page  # the user's own


def test_black_flat_and_small_pictures_lose_no_figure(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: np.ndarray
) -> None:
    """PSNR without an error is infinite; MS-SSIM needs sides over 160: means are over the others, and say so."""
    Image.new("RGB", (64, 64)).save(folder / "black.png")
    Image.fromarray(np.tile(photo, (2, 2, 1))[:176, :176]).save(folder / "large.png")
    out = tmp_path / "out"
    arguments = ["--images", str(folder), "--codecs", "jpeg,webp", "--metrics", "ms_ssim,gmsd"]
    arguments += ["--settings", "jpeg=20,50,90", "--settings", "webp=10,50,90"]  # all without error on black
    assert main([*arguments, "--jobs", "1", "--rate-axis", "log", "--out", str(out)]) == 0
    text = sentences(capsys)
    assert "ms_ssim cannot be computed on every image: its means are over fewer (1 of 4 images)" in text
    means, rows = pd.read_csv(out / "mean.csv"), pd.read_csv(out / "rd.csv")
    assert (means.images == 4).all() and (means.ms_ssim_images == 1).all() and (means.psnr_images == 3).all()
    assert "gmsd_images" not in means
    mean = means[(means.codec == "jpeg") & (means.setting == 90)].iloc[0]
    part = rows[(rows.codec == "jpeg") & (rows.setting == 90)]
    assert mean.psnr == pytest.approx(part.psnr[part.image != "black.png"].mean(), abs=1e-4)
    assert mean.ms_ssim == pytest.approx(part.ms_ssim[part.image == "large.png"].item(), abs=1e-5)
    bd = pd.read_csv(out / "bd.csv").set_index(["anchor", "codec"])
    assert bd.loc[("jpeg", "webp"), ["images", "ms_ssim_images"]].tolist() == [3, 1]
    assert {"rate_psnr_log.png", "rate_ms_ssim_log.png"} <= {path.name for path in (out / "figures").iterdir()}
    assert "(1 of 4 images)" in (out / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_one_black_picture_alone_still_gives_all_files(folder: Path, tmp_path: Path, jobs: str) -> None:
    for path in folder.iterdir():
        path.unlink()
    Image.new("RGB", (64, 64)).save(folder / "black.png")
    out = tmp_path / "out"
    arguments = ["--images", str(folder), "--codecs", "jpeg", "--metrics", "gmsd", "--jobs", jobs]
    arguments += ["--settings", "jpeg=20,90"]  # both without error
    assert main([*arguments, "--rate-axis", "log", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} >= {"bd.csv", "mean.csv", "report.html", "contact_sheet.png"}
    assert (out / "figures" / "rate_rmse_log.png").is_file() and not (out / "figures" / "rate_psnr_log.png").exists()


def test_hidden_files_and_results_among_the_pictures_are_not_measured(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "._a.png").write_bytes(b"\0\5\x16\7")
    (folder / ".cache").mkdir()
    Image.new("RGB", (40, 40), "red").save(folder / ".cache" / "c.png")
    arguments = ["--images", str(folder), "--codecs", "jpeg", "--points", "2", "--metrics", "", "--jobs", "1"]
    for name in ("first", "first", "second"):
        assert main([*arguments, "--rate-axis", "log", "--out", str(folder / name)]) == 0
        assert set(read(folder / name).image) == {"a.png", "b.png"} and "cannot be read" not in sentences(capsys)
    assert main([*arguments, "--out", str(folder)]) == 1
    assert "choose another --out" in sentences(capsys)
    assert not (folder / "rd.csv").exists()
