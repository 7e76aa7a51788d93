"""The comparison of decoders, on a small table; KID and its bootstrap."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.analysis import decoders
from benchmarks.metrics.sets import FeatureStore, Kid, interval, resamples
from benchmarks.studies import decoders as study


def features(count: int, shift: float = 0.0, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"squeeze": (rng.normal(shift, 1, (6, 20))).astype(np.float32)} for _ in range(count)]


def test_kid_agrees_with_piq() -> None:
    import torch

    from codec._compat import import_torchvision

    import_torchvision()
    import piq

    x, y = features(30), features(30, 0.4, 1)
    stacked = [torch.from_numpy(np.concatenate([f["squeeze"] for f in s])).double() for s in (y, x)]
    assert Kid(x, y)() == pytest.approx(float(piq.KID().compute_metric(*stacked)), rel=1e-6)


def test_kid_of_resampled_images() -> None:
    x, y = features(5), features(5, 0.4, 1)
    kid = Kid(x, y)
    found = kid.resampled(np.array([[1, 1, 1, 1, 1], [2, 0, 1, 1, 1], [1, 1, 0, 0, 0]]))
    assert found[0] == pytest.approx(kid()) and found[1] != pytest.approx(kid())
    assert found[2] == pytest.approx(Kid(x[:2], y[:2])())


def test_the_bootstrap_of_kid_is_centred_and_as_wide_as_the_jackknife() -> None:
    rng = np.random.default_rng(3)
    own = rng.normal(0, 2, (30, 1, 20))  # patches of one image are alike
    x, y = ([{"squeeze": f} for f in own + rng.normal(shift, 1, (30, 8, 20))] for shift in (0.0, 0.5))
    kid, n = Kid(x, y), 30
    values = kid.resampled(resamples(n))
    left_out = kid.resampled(1 - np.eye(n, dtype=np.int64))
    error = np.sqrt((n - 1) / n * np.square(left_out - left_out.mean()).sum())
    assert abs(values.mean() - kid()) < 0.25 * error
    assert values.std() == pytest.approx(error, rel=0.3)
    low, high = interval(values)
    assert low < kid() < high


@pytest.fixture
def measured(tmp_path):
    """A table in which ldm has more error and features nearer to the originals than vq."""
    store, rows = FeatureStore(tmp_path / ".features"), []
    original = features(4)
    for k in range(4):
        store.save((f"i{k}", "original", "", ""), original[k])
        for name, shift, rmse in (("vq", 0.5, 10.0 + k), ("ldm", 0.1, 11.0 + k)):
            store.save((f"i{k}", f"ours-{name}", "20", "v"), features(4, shift, 7)[k])
            rows.append({"codec": f"ours-{name}", "setting": "20", "version": "v", "image_hash": f"i{k}", "bytes": 100 + k, "bits_per_dim": 0.01 * (k + 1), "rmse": rmse,
                         "ms_ssim": 0.9, "gmsd": 0.1, "mdsi": 0.2, "sqz_dist": 3.0 - shift + k, "decode_s": 1.0})  # fmt: skip
    return pd.DataFrame(rows), store


def test_differences_to_vq_are_paired(measured) -> None:
    found = decoders.table(*measured).set_index("decoder")
    ldm = found.loc["ldm"]
    assert (ldm.rmse_minus_vq, ldm.rmse_minus_vq_low, ldm.rmse_minus_vq_high) == pytest.approx((1, 1, 1))
    assert ldm.rmse_high - ldm.rmse_low > 1  # pictures differ much more than decoders do
    assert ldm.sqz_kid_minus_vq_high < 0 and ldm.sqz_kid < found.loc["vq"].sqz_kid


def test_other_files_are_no_comparison(measured) -> None:
    rows, store = measured
    rows.loc[rows.codec == "ours-ldm", "bytes"] += 1
    with pytest.raises(AssertionError, match="different files"):
        decoders.table(rows, store)


class TwoDecoders:
    """A codec whose files hold a picture and whose second decoder adds noise; it counts what it does."""

    model_id = 5

    def __init__(self) -> None:
        self.encoded, self.decoded, self.weights, self.fails = 0, [], "1", ""

    def decoders(self) -> tuple[str, ...]:
        return ("vq", "painter")

    def decoder_id(self, name: str) -> str:
        return f"{name} {self.weights if name == 'painter' else 0}"

    def encode(self, image: np.ndarray, *, quality: float, lossless: bool | None) -> bytes:
        assert lossless is False
        self.encoded += 1
        return bytes([int(quality)]) + np.array(image.shape, "<u2").tobytes() + image.tobytes()

    def decode_array(self, data: bytes, decoder: str) -> np.ndarray:
        image = np.frombuffer(data[7:], np.uint8).reshape(np.frombuffer(data[1:7], "<u2"))
        self.decoded.append(decoder)
        if decoder == self.fails:
            raise ValueError("no memory")
        spread = 100 / data[0] + (5 if decoder == "painter" else 0)
        return np.clip(image + np.random.default_rng(0).normal(0, spread, image.shape), 0, 255).round().astype(np.uint8)


@pytest.fixture
def codec(monkeypatch: pytest.MonkeyPatch) -> TwoDecoders:
    import codec

    one = TwoDecoders()
    monkeypatch.setattr(codec, "load", lambda **_: one)
    return one


def arguments(folder, out) -> list[str]:
    return [
        "--images",
        str(folder),
        "--qualities",
        "20,50",
        "--metrics",
        "gmsd,lpips",
        "--out",
        str(out),
        "--jobs",
        "1",
    ]


def test_every_decoder_reads_the_same_file_and_a_second_run_measures_nothing(
    codec: TwoDecoders, folder, tmp_path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert study.main(arguments(folder, tmp_path)) == 0
    assert codec.encoded == 4 and sorted(codec.decoded) == ["painter"] * 4 + ["vq"] * 4
    rows = pd.read_csv(tmp_path / "decoder_rows.csv")
    assert len(rows) == 8 and set(rows.codec) == {"ours-vq", "ours-painter"} and "lpips" not in rows
    assert rows.groupby(["image", "setting"]).bytes.nunique().eq(1).all()
    found = pd.read_csv(tmp_path / "decoders.csv").set_index(["decoder", "setting"])
    painter = rows[(rows.codec == "ours-painter") & (rows.setting == 20)].set_index("image").rmse
    vq = rows[(rows.codec == "ours-vq") & (rows.setting == 20)].set_index("image").rmse
    assert found.loc[("painter", 20), "rmse_minus_vq"] == pytest.approx((painter - vq).mean(), rel=1e-4)
    assert 3 < found.loc[("painter", 20), "rmse_minus_vq_low"] <= found.loc[("painter", 20), "rmse_minus_vq_high"] < 6
    said = capsys.readouterr()
    assert said.err.count("lpips is left out") == 1 and "painter" in said.out
    before = (tmp_path / "decoders.csv").read_bytes()
    assert study.main(arguments(folder, tmp_path)) == 0
    assert codec.encoded == 4 and (tmp_path / "decoders.csv").read_bytes() == before
    codec.weights = "2"
    assert study.main(arguments(folder, tmp_path)) == 0
    assert codec.decoded[8:] == ["painter"] * 4  # vq is as it was
    assert set(pd.read_csv(tmp_path / "decoders.csv").version) == {
        "codec 0.1.0, vq 0, effort 1",
        "codec 0.1.0, painter 2, effort 1",
    }


def test_a_decoder_that_fails_ends_neither_the_run_nor_the_table(
    codec: TwoDecoders, folder, tmp_path, capsys: pytest.CaptureFixture
) -> None:
    codec.fails = "painter"
    with pytest.raises(SystemExit) as caught:
        study.main(arguments(folder, tmp_path))
    assert "nothing was measured" in str(caught.value) and capsys.readouterr().err.count("no memory") == 4
    codec.fails = ""
    assert study.main(arguments(folder, tmp_path)) == 0
    assert len(pd.read_csv(tmp_path / "decoders.csv")) == 4


def test_an_unknown_decoder_is_one_sentence(codec: TwoDecoders, folder, tmp_path) -> None:
    with pytest.raises(SystemExit) as caught:
        study.main([*arguments(folder, tmp_path), "--decoders", "vq,wizard"])
    assert str(caught.value) == "there are no weights for the decoder 'wizard' (there are: vq, painter)"


def test_fid_and_kid_are_there_when_the_features_are(tmp_path) -> None:
    """Both with intervals, and the differences for the same resampled pictures, which are narrower than those of the
    values."""
    store, rows = FeatureStore(tmp_path / ".features"), []
    rng = np.random.default_rng(0)
    own = rng.normal(0, 2, (8, 1, 20))
    for k in range(8):
        patch = own[k] + rng.normal(0, 1, (6, 20))
        store.save((f"i{k}", "original", "", ""), {"inception": patch.astype(np.float32)})
        for name, share in (("vq", 0.6), ("ldm", 0.65)):
            store.save(
                (f"i{k}", f"ours-{name}", "20", "v"),
                {"inception": (share * patch + rng.normal(0, 0.05, patch.shape)).astype(np.float32)},
            )
            rows.append(
                {
                    "codec": f"ours-{name}",
                    "setting": "20",
                    "version": "v",
                    "image_hash": f"i{k}",
                    "bytes": 100,
                    "bits_per_dim": 0.01,
                    "rmse": 10.0,
                    "decode_s": 1.0,
                }
            )
    found = decoders.table(pd.DataFrame(rows), store).set_index("decoder").loc["ldm"]
    for metric in ("fid", "kid"):
        assert found[f"{metric}_low"] < found[metric] < found[f"{metric}_high"]
        assert found[f"{metric}_minus_vq_high"] < 0
        assert (
            found[f"{metric}_minus_vq_high"] - found[f"{metric}_minus_vq_low"]
            < found[f"{metric}_high"] - found[f"{metric}_low"]
        )
    assert "sqz_kid" not in found and "is" not in found


def test_no_decoder_is_worse_than_vq_over_the_whole_range_of_qualities() -> None:
    """docs/results.md says so, of the mean of the held-out photographs."""
    root = Path(__file__).parents[2] / "results" / "held-out"
    table = pd.read_csv(root / "decoders.csv")
    assert {0, 5, 100} <= set(table.setting) and set(table.decoder) == {"vq", "perceptual", "gan", "ldm"}
    assert (table.groupby("setting").size() == 4).all() and (table.images == table.images.iloc[0]).all()
    rows = pd.read_csv(root / "decoder_rows.csv")
    for metric in ("lpips", "dists"):
        means = rows.groupby(["setting", "codec"])[metric].mean().unstack()
        for name in ("perceptual", "gan", "ldm"):
            assert (means[f"ours-{name}"] <= means["ours-vq"]).all(), (metric, name)
        stated = table.pivot(index="setting", columns="decoder", values=metric)
        np.testing.assert_allclose(stated["vq"], means["ours-vq"], atol=1e-4)


def test_no_single_picture_is_worse_than_vq() -> None:
    """But by what nobody sees; docs/results.md says how much."""
    rows = pd.read_csv(Path(__file__).parents[2] / "results" / "held-out" / "decoder_rows.csv")
    assert set(rows.groupby(["setting", "image_hash"]).codec.nunique()) == {4} and {0, 5, 10, 20} < set(rows.setting)
    for metric in ("lpips", "dists"):
        values = rows.pivot_table(index=["image_hash", "setting"], columns="codec", values=metric)
        assert (values.sub(values["ours-vq"], axis=0)).max().max() < 0.006, metric
