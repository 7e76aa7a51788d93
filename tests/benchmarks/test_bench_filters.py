"""The study of networks behind g_s."""

import csv
import sys

import numpy as np
import torch

from benchmarks.studies.filters import measure
from benchmarks.studies.filters.renderer import Renderer
from codec import zoo
from codec.models.filter import Filter
from codec.training.base.decoded import Decoded
from codec.training.data.shards import networks


def test_a_renderer_changes_nothing_at_first_and_sees_what_is_near():
    torch.manual_seed(0)
    net = Renderer(8, 2, 4, 2, 16).requires_grad_(False)
    x, features, level = torch.rand(1, 3, 96, 96) - 0.5, torch.rand(1, 16, 12, 12), torch.zeros(1, 3, 1, 1)
    assert not net(x, features, level).any()
    torch.nn.init.normal_(net.head.weight)
    before, moved = net(x, features, level), x.clone()
    moved[:, :, 40:48, 40:48] += 1
    changed = (net(moved, features, level) != before).any(1)[0].nonzero()
    assert changed.min() >= 48 - 16 - net.reach and changed.max() < 40 + 16 + net.reach and len(changed) > 64


def test_operations_are_those_of_the_convolutions():
    filtering, width = measure.operations(Filter(8, 1, 16), 16), 8
    block = 2 * width * width + 9 * width + 4 * width * width
    ends = 2 * 48 * width + 4 * width
    assert filtering == (block + ends) / 16e3 + 3 * width / 256**2 / 1e3


def test_every_network_has_a_row_for_each_validation_and_is_not_trained_twice(tmp_path, monkeypatch):
    rng, decoded = np.random.default_rng(0), tmp_path / "decoded"
    decoded.mkdir()
    made_by = networks(zoo.load().vqvae)
    for name in ("shard-000", "validation"):
        x = rng.integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)
        x_hat = (x / 255 + rng.normal(0, 0.1, x.shape)).astype(np.float16)
        features, level = rng.normal(size=(3, 128, 8, 8)).astype(np.float16), np.array([1, 3, 3], np.float32)
        Decoded(x, x_hat, features, level).save(decoded / f"{name}.safetensors", made_by)
    small = (measure.Variant(8, 1), measure.Variant(8, 1, 4, 1))
    monkeypatch.setattr(measure, "VARIANTS", small)
    monkeypatch.setattr(measure, "FilterConfig", lambda steps, **c: measure_config(steps, c))
    command = ["measure", "--decoded", str(decoded), "--runs", str(tmp_path / "runs"), "--steps", "4"]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path)])
    measure.main()
    with open(tmp_path / "filters.csv") as f:
        rows = list(csv.DictReader(f))
    names = ["filter 8x1"] * 4 + ["renderer 8x1, 4x1"] * 4 + ["shipped"]
    assert [r["network"] for r in rows] == names and all(np.isfinite(float(r["all"])) for r in rows)
    assert {k for k in rows[0] if k.startswith("level")} == {"level_1.00", "level_3.00"}
    monkeypatch.setattr(measure, "train", None)  # not called again
    measure.main()


def measure_config(steps, settings):
    from codec.training.base.train_filter import FilterConfig

    return FilterConfig(steps, batch=1, crop=32, **settings)
