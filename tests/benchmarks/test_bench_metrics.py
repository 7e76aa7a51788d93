"""Metrics: hand cases, the libraries themselves, and network metrics with small random networks."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.harness.errors import BenchmarkError
from benchmarks.metrics.networks import hub_folder
from benchmarks.metrics.pictures import (
    DEFAULT_METRICS,
    IMAGE_METRICS,
    NETWORK_METRICS,
    MetricOptions,
    Scorer,
    psnr,
    rmse,
    usable_metrics,
)
from benchmarks.metrics.sets import FeatureExtractor, FeatureStore, inception_features, patches, set_values, usable_sets
from codec._compat import import_torchvision

torchvision = import_torchvision()
NOTHING = MetricOptions()


@pytest.fixture
def noisy(photo: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 6, photo.shape)
    return np.clip(photo + noise, 0, 255).round().astype(np.uint8)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """An empty torch hub folder."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


@pytest.fixture(scope="session")
def squeeze(tmp_path_factory: pytest.TempPathFactory) -> MetricOptions:
    """SqueezeNet 1.1 with random weights in a file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeeze.safetensors"
    save_file(torchvision.models.squeezenet1_1().state_dict(), path)
    return MetricOptions(feature_weights=path)


@pytest.mark.parametrize(("contrast", "octaves"), [(1, 0), (0.5, 2), (1.25, 2 * np.log2(1.25))])
def test_texture_counts_octaves_of_energy(contrast: float, octaves: float) -> None:
    grain = np.random.default_rng(0).integers(-12, 13, (64, 64, 3)) * 4
    scorer = Scorer(["texture"], NOTHING)
    scorer.reference((128 + grain).astype(np.uint8))
    other = (128 + contrast * grain).astype(np.uint8)
    assert scorer.score(other)["texture"] == pytest.approx(octaves, abs=1e-4)


def test_texture_of_flat_pictures_is_finite_and_slow_shades_are_none(photo: np.ndarray) -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    scorer = Scorer(["texture"], NOTHING)
    scorer.reference(flat)
    assert scorer.score(flat)["texture"] == 0
    shade = flat + np.arange(0, 64, dtype=np.uint8)[:, None, None]  # a grey level a row
    assert scorer.score(shade)["texture"] == 0
    noise = flat + np.random.default_rng(0).integers(0, 20, flat.shape, np.uint8)
    assert scorer.score(noise)["texture"] > 3


def test_rmse_and_psnr_by_hand() -> None:
    a, b = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    b[0, 0] = (255, 0, 0)
    assert rmse(a, b) == pytest.approx(255 / 12**0.5)
    assert rmse(b, a) == rmse(a, b)  # unsigned bytes must not wrap around
    assert psnr(rmse(a, b)) == pytest.approx(10 * np.log10(12))
    assert psnr(0) == float("inf")


def test_scores_are_the_libraries_own(photo: np.ndarray, noisy: np.ndarray) -> None:
    import piq
    from pytorch_msssim import ms_ssim

    x, y = (torch.from_numpy(np.tile(image, (2, 2, 1))).permute(2, 0, 1)[None].float() for image in (photo, noisy))
    scorer = Scorer(["ms_ssim", "gmsd", "mdsi", "vif", "haarpsi"], NOTHING)
    scorer.reference(np.tile(photo, (2, 2, 1)))
    values = scorer.score(np.tile(noisy, (2, 2, 1)))
    assert values["ms_ssim"] == pytest.approx(float(ms_ssim(x, y, data_range=255)), abs=1e-5)
    for name, function in (("gmsd", piq.gmsd), ("mdsi", piq.mdsi), ("vif", piq.vif_p), ("haarpsi", piq.haarpsi)):
        assert values[name] == pytest.approx(float(function(x, y, data_range=255.0)), rel=1e-3)
    assert values["rmse"] == pytest.approx(rmse(photo, noisy)) and values["psnr"] == pytest.approx(psnr(values["rmse"]))


def test_a_picture_too_small_for_a_metric_has_no_value_but_the_others(photo: np.ndarray, noisy: np.ndarray) -> None:
    scorer = Scorer(["ms_ssim", "gmsd"], NOTHING)
    scorer.reference(photo)
    values = scorer.score(noisy)
    assert np.isnan(values["ms_ssim"]) and values["gmsd"] > 0


def test_a_decoder_that_changes_the_size_is_an_error(photo: np.ndarray) -> None:
    scorer = Scorer([], NOTHING)
    scorer.reference(photo)
    with pytest.raises(BenchmarkError, match="the decoder gave"):
        scorer.score(photo[:-1])


def test_sqz_dist_is_the_documented_formula(squeeze: MetricOptions, photo: np.ndarray, noisy: np.ndarray) -> None:
    scorer = Scorer(["sqz_dist"], squeeze)
    scorer.reference(photo)
    network = torchvision.models.squeezenet1_1().eval()
    from safetensors.torch import load_file

    network.load_state_dict(load_file(squeeze.feature_weights))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x, y = ((torch.from_numpy(i).permute(2, 0, 1)[None] / 255 - mean) / std for i in (photo, noisy))
    total = 0.0
    with torch.inference_mode():
        for index, layer in enumerate(network.features):
            x, y = layer(x), layer(y)
            if index in (1, 4, 7, 9, 10, 11, 12):
                a, b = (torch.nn.functional.normalize(v, dim=1) for v in (x, y))
                total += float((a - b).square().sum(1).mean())
    assert scorer.score(noisy)["sqz_dist"] == pytest.approx(total, rel=1e-4)
    assert scorer.score(photo)["sqz_dist"] == pytest.approx(0, abs=1e-6)


def test_metrics_without_weights_are_left_out_with_one_sentence_each(hub: Path) -> None:
    usable, sentences = usable_metrics(IMAGE_METRICS, NOTHING)
    assert set(DEFAULT_METRICS) <= set(usable) and not {"sqz_dist", *NETWORK_METRICS} & set(usable)
    assert len(sentences) == 1 + len(NETWORK_METRICS) == 6 and all(
        "left out" in sentence and "\n" not in sentence for sentence in sentences
    )
    usable, sentences = usable_sets(["sqz_kid", "fid", "kid", "is"], NOTHING)
    assert usable == () and len(sentences) == 4
    assert "pt_inception-2015-12-05-6726825d.pth" in sentences[1]


@pytest.mark.parametrize("content", [b"", b"not weights", None])
def test_a_wrong_weight_file_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    _, (sentence,) = usable_metrics(["sqz_dist"], MetricOptions(feature_weights=path))
    assert "does not hold SqueezeNet 1.1 weights" in sentence and "\n" not in sentence
    save_file({"x": torch.zeros(1)}, path)
    _, (sentence,) = usable_metrics(["sqz_dist"], MetricOptions(feature_weights=path))
    assert "does not hold SqueezeNet 1.1 weights" in sentence


def test_lpips_runs_with_a_trunk_from_the_cache(
    hub: Path, monkeypatch: pytest.MonkeyPatch, photo: np.ndarray, noisy: np.ndarray
) -> None:
    """The real `lpips` package with its own heads; AlexNet's convolutions are random, its big classifier is left
    away."""
    import lpips

    torch.manual_seed(0)
    (hub / "alexnet-owt-7be5be79.pth").write_bytes(b"")
    features = torchvision.models.AlexNet(num_classes=1).features
    monkeypatch.setattr(lpips.pretrained_networks.tv, "alexnet", lambda pretrained: SimpleNamespace(features=features))
    scorer = Scorer(["lpips"], NOTHING)
    scorer.reference(photo)
    x, y = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in (photo, noisy))
    with torch.inference_mode():
        own = float(lpips.LPIPS(verbose=False).eval()(x, y, normalize=True))
    assert 0 < scorer.score(noisy)["lpips"] == pytest.approx(own, rel=1e-4)
    assert scorer.score(photo)["lpips"] == pytest.approx(0, abs=1e-6)


def test_dists_runs_with_weights_from_the_cache(
    hub: Path, monkeypatch: pytest.MonkeyPatch, photo: np.ndarray, noisy: np.ndarray
) -> None:
    """piq's DISTS with a random VGG16 trunk; its own alpha and beta come from a file in the cache."""
    import piq.perceptual
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    (hub / "vgg16-397923af.pth").write_bytes(b"")
    weights = torch.rand(2, 1, 1475, 1, 1)
    weights /= weights.sum()
    torch.save({"alpha": weights[0], "beta": weights[1]}, hub / "dists_weights.pt")
    trunk = SimpleNamespace(features=make_layers(cfgs["D"], batch_norm=False))
    monkeypatch.setattr(piq.perceptual, "vgg16", lambda pretrained, progress: trunk)
    scorer = Scorer(["dists"], NOTHING)
    scorer.reference(photo)
    x, y = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in (photo, noisy))
    with torch.inference_mode():
        own = float(piq.perceptual.DISTS()(x, y))
    assert 0 < scorer.score(noisy)["dists"] == pytest.approx(own, rel=2e-3)  # small enough for piq not to shrink it
    assert scorer.score(photo)["dists"] == pytest.approx(0, abs=1e-5)


class TinyInception(torch.nn.Module):
    """Same interface as the FID Inception: `avgpool` before `fc`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 12, 9, stride=8)
        self.avgpool = torch.nn.AdaptiveAvgPool2d(1)
        self.fc = torch.nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[2:] == (299, 299) and x.abs().max() < 1.00001
        return self.fc(self.avgpool(self.conv(x).relu()).flatten(1))


def test_fid_kid_and_is_from_inception_features(
    hub: Path, monkeypatch: pytest.MonkeyPatch, photo: np.ndarray, noisy: np.ndarray
) -> None:
    from piq.feature_extractors import InceptionV3

    torch.manual_seed(0)
    (hub / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"")
    monkeypatch.setattr(InceptionV3, "fid_inception_v3", staticmethod(TinyInception))
    names = ("fid", "kid", "is")
    assert usable_sets(names, NOTHING) == (names, ())
    extract = FeatureExtractor(names, NOTHING)
    pieces = [(slice(y, y + 32), slice(x, x + 32)) for y in range(0, 128, 32) for x in range(0, 160, 32)]
    original, near, far = ([extract(image[piece]) for piece in pieces] for image in (photo, noisy, 255 - photo))
    assert set(original[0]) == {"inception", "logits"}
    close, distant = (set_values(names, original, other) for other in (near, far))
    assert close["fid"] < distant["fid"] and close["kid"] < distant["kid"]
    assert 1 <= close["is"] < 10
    pooled = np.concatenate([item["inception"] for item in original])
    assert pooled.shape == (20, 12)
    mean_gap = np.square(pooled.mean(0) - np.concatenate([item["inception"] for item in far]).mean(0)).sum()
    assert distant["fid"] >= mean_gap * 0.99  # FID is the squared mean gap plus a non-negative covariance term


def test_inception_features_are_those_before_the_logits() -> None:
    torch.manual_seed(0)
    network = TinyInception()
    with torch.inference_mode():
        pooled, logits = inception_features(network, torch.rand(2, 3, 64, 64))
        assert torch.allclose(network.fc(pooled), logits)


def test_sqz_kid_grows_with_damage(squeeze: MetricOptions, photo: np.ndarray, noisy: np.ndarray) -> None:
    extract = FeatureExtractor(["sqz_kid"], squeeze)
    pieces = [(slice(y, y + 64), slice(x, x + 64)) for y in (0, 32, 64) for x in (0, 32, 64, 96)]
    original, near, far = ([extract(image[piece]) for piece in pieces] for image in (photo, noisy, 255 - photo))
    values = [set_values(["sqz_kid"], original, other)["sqz_kid"] for other in (near, far)]
    assert values[0] < values[1]
    assert set_values(["sqz_kid"], original, near)["sqz_kid"] == pytest.approx(values[0], rel=1e-9)
    assert not set_values(["sqz_kid"], original, [*near[:-1], {}])  # another run left other features of one picture


def test_patches_are_the_grid_and_the_shifted_grid() -> None:
    image = np.arange(512 * 768, dtype=np.uint32).reshape(512, 768, 1).astype(np.uint8).repeat(3, 2)
    found = patches(image)
    assert len(found) == 6 + 2 and all(patch.shape == (256, 256, 3) for patch in found)
    assert np.array_equal(found[6], image[128:384, 128:384])
    assert len(patches(image[:100])) == 1 and len(patches(image[:, :300])) == 2


def test_features_are_kept_on_disk_and_completed(tmp_path: Path) -> None:
    store, key = FeatureStore(tmp_path / "features"), ("hash", "jpeg", "10", "v")
    assert store.has(key, []) and not store.has(key, ["sqz_kid"])
    store.save(key, {"squeeze": np.ones((2, 3), np.float32)})
    store.save(key, {"logits": np.zeros((2, 4), np.float32)})
    assert store.has(key, ["sqz_kid", "is"]) and not store.has(key, ["fid"])
    assert store.load(key)["squeeze"].shape == (2, 3)
    (path,) = (tmp_path / "features").iterdir()
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):  # what a full disk leaves
        path.write_bytes(whole[:length])
        assert store.load(key) == {} and not store.has(key, ["sqz_kid"])
    path.write_bytes(whole.replace(b"\x80?", b"\x81?"))
    assert not store.has(key, ["sqz_kid"])


@pytest.mark.parametrize("name", ["lpips", "lpips_vgg", "dists", "effnet", "label_agreement", "fid"])
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut short", b"\x80\x02}q\x00."], ids=["empty", "cut", "pickle"])
def test_damaged_weights_leave_the_metric_out_with_a_sentence(name: str, data: bytes, tmp_path: Path) -> None:
    """They were a traceback, which took the other metrics with it."""
    files = (
        "alexnet-owt-7be5be79.pth",
        "vgg16-397923af.pth",
        "dists_weights.pt",
        "pt_inception-2015-12-05-6726825d.pth",
    )
    (tmp_path / "checkpoints").mkdir()
    for path in (*(tmp_path / "checkpoints" / file for file in files), tmp_path / "efficientnet_lite0.safetensors"):
        path.write_bytes(data)
    usable = usable_sets if name == "fid" else usable_metrics
    with hub_folder(tmp_path):
        found, (sentence,) = usable([name], MetricOptions())
    assert found == () and sentence.startswith(f"{name} is left out: its weights cannot be read (")
    assert len(sentence.splitlines()) == 1 and len(sentence) < 300


@pytest.mark.parametrize("name, package", [("ms_ssim", "pytorch_msssim"), ("gmsd", "piq")])
def test_a_missing_package_leaves_the_metric_out(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert usable_metrics([name], MetricOptions()) == (
        (),
        (f"{name} is left out: the package {package} is not installed",),
    )
