"""Metrics of published networks beside the libraries: DISTS at full size, EfficientNet, agreement of labels; the
records."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.metrics import pictures, published, sets
from benchmarks.metrics.efficientnet import EfficientNetLite0
from benchmarks.metrics.networks import EFFICIENTNET, hub_folder
from benchmarks.metrics.pictures import MetricOptions, Scorer, usable_metrics
from benchmarks.metrics.sets import usable_sets
from benchmarks.report import tables
from benchmarks.report.style import AXIS_NAMES
from codec._compat import import_torchvision

import_torchvision()


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    with hub_folder(tmp_path):
        yield tmp_path


@pytest.fixture
def effnet(hub: Path) -> EfficientNetLite0:
    """Random weights."""
    torch.manual_seed(0)
    network = EfficientNetLite0()
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)
    save_file(network.state_dict(), hub / EFFICIENTNET)
    return network.eval()


@pytest.fixture
def large(photo: np.ndarray) -> np.ndarray:
    """600 x 300, not divisible by 32."""
    return np.tile(photo, (5, 2, 1))[:600, :300]


def noisy(image: np.ndarray, spread: float) -> np.ndarray:
    return np.clip(image + np.random.default_rng(0).normal(0, spread, image.shape), 0, 255).round().astype(np.uint8)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255


@pytest.mark.slow
def test_dists_is_measured_at_full_size(hub: Path, monkeypatch: pytest.MonkeyPatch, large: np.ndarray) -> None:
    """piq shrinks a picture whose short side is above 256; the value here is that of the whole pictures."""
    import piq.perceptual
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    (hub / "checkpoints" / "vgg16-397923af.pth").write_bytes(b"")
    weights = torch.rand(2, 1, 1475, 1, 1)
    torch.save(
        {"alpha": weights[0] / weights.sum(), "beta": weights[1] / weights.sum()},
        hub / "checkpoints" / "dists_weights.pt",
    )
    features = make_layers(cfgs["D"], batch_norm=False)
    monkeypatch.setattr(piq.perceptual, "vgg16", lambda pretrained, progress: SimpleNamespace(features=features))
    other = noisy(large, 20)
    scorer = Scorer(["dists"], MetricOptions())
    scorer.reference(large)
    found = scorer.score(other)["dists"]
    network = piq.perceptual.DISTS()
    with torch.inference_mode():
        whole = 1 - float(super(piq.perceptual.DISTS, network).forward(tensor(large), tensor(other)))
        shrunk = float(network(tensor(large), tensor(other)))
    assert found == pytest.approx(whole, rel=1e-4)
    assert abs(found - shrunk) > 0.05 * shrunk


def test_efficientnet_has_the_published_shape() -> None:
    network = EfficientNetLite0()
    assert sum(p.numel() for p in network.parameters()) == 4_652_008  # of the authors' lite0
    with torch.inference_mode():
        layers = network.eval().layers(torch.rand(1, 3, 64, 96))
    assert [tuple(layer.shape[1:]) for layer in layers] == [
        (16, 32, 48),
        (24, 16, 24),
        (40, 8, 12),
        (112, 4, 6),
        (1280, 2, 3),
    ]


def test_the_odd_row_of_padding_is_at_the_end() -> None:
    """As in TensorFlow: the first output of a convolution with stride 2 and kernel 3 sees the pixels 0 to 2, not -1
    to 1."""
    network = EfficientNetLite0().eval()
    with torch.inference_mode():
        network._conv_stem.weight.zero_()[:, :, 0, 0] = 1
        x = torch.rand(1, 3, 32, 32)
        assert torch.allclose(network._conv_stem(x)[0, 0], x[0].sum(0)[::2, ::2])


def test_effnet_is_its_formula_and_grows_with_damage(effnet: EfficientNetLite0, large: np.ndarray) -> None:
    scorer = Scorer(["effnet"], MetricOptions())
    scorer.reference(large)
    little, much = (scorer.score(noisy(large, spread))["effnet"] for spread in (5, 40))
    assert 0 < little < much
    assert scorer.score(large)["effnet"] == pytest.approx(0, abs=1e-6)
    total = 0.0
    with torch.inference_mode():
        x, y = (
            torch.nn.functional.pad(tensor(image), (0, 20, 0, 8), mode="replicate")
            for image in (large, noisy(large, 40))
        )
        for a, b in zip(effnet.layers(x), effnet.layers(y), strict=True):
            a, b = (torch.nn.functional.normalize(v, dim=1) for v in (a, b))
            total += float((a - b).square().sum(1).mean())
    assert much == pytest.approx(total, rel=1e-3)


def test_agreement_is_the_probability_that_stays_over_the_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that names the strongest colour."""
    monkeypatch.setattr(published, "load_effnet", lambda metric: lambda x: 1000 * (x.mean((2, 3)) - 0.5))
    red, blue = (np.broadcast_to(np.array(colour, np.uint8), (256, 256, 3)) for colour in ((255, 0, 0), (0, 0, 255)))
    scorer = Scorer(["label_agreement"], MetricOptions())
    original = np.block([[[red], [red]], [[red], [red]]])
    scorer.reference(original)
    assert scorer.score(original)["label_agreement"] == pytest.approx(1)
    assert scorer.score(np.block([[[blue], [red]], [[red], [red]]]))["label_agreement"] == pytest.approx(
        4 / 5
    )  # four patches and the shifted one
    assert scorer.score(np.block([[[blue], [blue]], [[blue], [red]]]))["label_agreement"] == pytest.approx(1 / 5)


def test_without_the_folder_there_is_a_sentence_that_says_how_to_make_it(hub: Path) -> None:
    usable, sentences = usable_metrics(pictures.NETWORK_METRICS, MetricOptions())
    assert usable == () and all(
        "python -m benchmarks.metrics.weights --out HUB" in sentence and "\n" not in sentence for sentence in sentences
    )
    assert [sentence.split()[0] for sentence in sentences] == list(pictures.NETWORK_METRICS)


def test_inception_score_is_refused_without_the_last_layer(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from piq.feature_extractors import InceptionV3

    class Headless(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.avgpool, self.fc = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(3, 10)
            torch.nn.init.zeros_(self.fc.weight)

    (hub / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"")
    monkeypatch.setattr(InceptionV3, "fid_inception_v3", staticmethod(Headless))
    usable, (sentence,) = usable_sets(["fid", "kid", "is"], MetricOptions())
    assert usable == ("fid", "kid") and "no last layer" in sentence and "label_agreement" in sentence


def test_every_metric_has_one_record_and_all_lists_follow_it() -> None:
    records = [*pictures.METRICS, *sets.METRICS]
    names = [record.name for record in records]
    assert len(names) == len(set(names)) and set(names) == {*pictures.IMAGE_METRICS, *sets.SET_METRICS}
    assert all(
        AXIS_NAMES[record.name] == record.axis and tables.DIGITS[record.name] == record.digits for record in records
    )
    assert {"ms_ssim", "psnr", "label_agreement"} <= pictures.HIGHER_IS_BETTER and not {
        "lpips",
        "dists",
        "effnet",
    } & pictures.HIGHER_IS_BETTER
