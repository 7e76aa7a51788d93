"""codec.model: what it says agrees with files, its gradients with differences, and training it makes it better."""

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

import codec
from codec.bitstream.container import read_header
from codec.errors import CodecError, CorruptError, PictureError, UnknownModelError, UnsupportedError

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def net() -> codec.CodecModule:
    """Nothing here may change its weights."""
    return codec.model()


@pytest.fixture
def x(photo) -> torch.Tensor:
    """(2, 3, 77, 90): sides that are multiples of nothing."""
    return torch.stack([tensor(photo.crop((180, top, 270, top + 77))) for top in (60, 330)])


def tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def rmse(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean().sqrt() * 255)


# files


@pytest.mark.slow
def test_files_are_those_of_encode_and_decode(net, x):
    for quality, effort in (([20.0, 77.7], 1), (50.0, 1), (torch.tensor([30.0, 90.0]), 3)):
        x = x if effort == 1 else x[:, :, :40, :40]
        files = net.compress(x, quality, effort=effort, lossless=False)
        each = [quality] * 2 if isinstance(quality, float) else [float(q) for q in quality]
        assert files == [
            codec.encode(one, quality=q, effort=effort, lossless=False) for one, q in zip(x, each, strict=True)
        ]
    x_hat = net.decompress(files)
    assert x_hat.shape == x.shape and x_hat.dtype == torch.float32
    for one, data in zip(x_hat, files, strict=True):
        assert np.array_equal((one * 255).round().byte().permute(1, 2, 0).numpy(), np.asarray(codec.decode(data)))
    drawn = torch.zeros(1, 3, 40, 40)
    drawn[:, 0, 10:20] = 1
    (data,) = net.compress(drawn)  # as encode: lossless where that is smaller
    assert read_header(data).header.lossless and torch.equal(net.decompress([data]), drawn)
    assert all(p.requires_grad for p in net.parameters())


def test_what_it_says_is_what_a_file_says(net, photo):
    x = torch.stack([tensor(ImageOps.fit(photo.crop((0, k, 500, 400 + k)), (190, 201))) for k in (0, 190)])
    for quality in (torch.tensor([10.0, 50.0]), torch.tensor([80.0, 100.0])):
        with torch.no_grad():
            said = net(x, quality)
        files = net.compress(x, quality, lossless=False)
        assert (said.x_hat.clamp(0, 1) - net.decompress(files)).abs().max() < 0.51 / 255  # one is rounded
        sizes = torch.tensor([8.0 * len(data) for data in files])
        assert ((said.bits / sizes - 1).abs() < 0.02).all(), said.bits / sizes
        assert said.bits.shape == (2,) and said.bits.dtype == said.x_hat.dtype == torch.float32


def test_in_train_mode_it_costs_as_much(net, photo):
    x = tensor(ImageOps.fit(photo, (250, 301)))[None]
    for quality in (50.0, 90.0):
        (data,) = net.compress(x, quality, lossless=False)
        with torch.no_grad():
            said = net.train()(x, quality)
            net.eval()
        assert abs(said.bits.item() / (8 * len(data)) - 1) < 0.03
        assert abs(rmse(said.x_hat.clamp(0, 1), x) / rmse(net.decompress([data]), x) - 1) < 0.03


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 2), (31, 64)])
def test_any_size_and_every_picture_alone(net, x, size, mode):
    x = x[:, :, : size[0], : size[1]]
    net.train(mode)
    together = net(x, [30.0, 70.0])
    apart = [net(one[None], q) for one, q in zip(x, (30.0, 70.0), strict=True)]
    net.eval()
    assert together.x_hat.shape == x.shape and (together.bits > 8 * 20).all()
    for k, one in enumerate(apart):
        assert torch.allclose(together.x_hat[k], one.x_hat[0], atol=1e-4)
        assert torch.allclose(together.bits[k], one.bits[0], rtol=1e-4)
    (g,) = torch.autograd.grad((together.x_hat.sum() + together.bits.sum()), net.vqvae.log2_gain)
    assert g.isfinite().all() and g.abs().max() > 0


def test_nothing_is_drawn_and_nothing_is_left_behind(net, x):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first, again = (net.train()(x).bits for _ in range(2))
    net.eval().compress(x[:1, :, :40, :40])
    assert torch.equal(first, again) and torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads and torch.is_grad_enabled() and not net.training
    other = codec.model()
    assert not {p.data_ptr() for p in other.parameters()} & {p.data_ptr() for p in net.parameters()}


# gradients


@pytest.mark.parametrize("mode", [True, False])
def test_gradients_agree_with_differences(net, x, mode):
    """Along directions that matter, over steps that are long against those of the quantiser."""
    x = (x[:1] * 0.8 + 0.1).requires_grad_(True)
    field = F.interpolate(torch.randn(1, 3, 3, 4, generator=torch.Generator().manual_seed(3)), (77, 90), mode="bicubic")
    contrast = (x - x.mean((2, 3), keepdim=True)).detach()
    net.train(mode)
    said = net(x, 60.0)

    def along(function: Any, direction: torch.Tensor) -> tuple[float, float]:
        """Derivative by gradient, and by difference."""
        (slope,) = torch.autograd.grad(function(said), x, retain_graph=True)
        with torch.no_grad():
            low, high = (function(net((x + e * direction).clamp(0, 1), 60.0)) for e in (-0.4, 0.4))
        return float((slope * direction).sum()), float((high - low) / 0.8)

    for function, direction in (
        (lambda s: (s.x_hat * field).mean(), 0.1 * field),
        (lambda s: (s.x_hat - 0.5).square().mean(), contrast),
        (lambda s: (s.x_hat - 0.5).square().mean(), torch.full_like(x, 0.1)),
    ):
        found, true = along(function, direction)
        assert abs(found / true - 1) < 0.2, (found, true)
    found, true = along(lambda s: s.bits.sum(), contrast)
    assert 0.4 < found / true < 1.6, (found, true)
    net.eval()


def test_gradients_of_the_synthesis_are_exact(net, x):
    """Nothing there depends on the quantiser."""
    said = net(x, 40.0)
    w = net.vqvae.g_s.head.bias
    (slope,) = torch.autograd.grad((said.x_hat - x).square().sum(), w)
    changed, step = copy.deepcopy(net), 0.02 * slope / slope.norm()
    values = []
    for sign in (-1, 1):
        with torch.no_grad():
            changed.vqvae.g_s.head.bias.copy_(w + sign * step)
            changed.update()
            values.append(float((changed(x, 40.0).x_hat - x).square().sum()))
    assert (values[1] - values[0]) / 2 == pytest.approx(float((slope * step).sum()), rel=0.02)


@pytest.mark.parametrize("mode", [True, False])
def test_steps_on_the_picture_lower_the_loss(net, x, mode):
    x = x[1:]
    target, losses = (x * 0.7 + 0.2).clamp(0, 1), []
    y = x.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([y], lr=0.03)
    net.train(mode)
    for _ in range(5):
        loss = (net(y, 50.0).x_hat - target).square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            y.clamp_(0, 1)
    net.eval()
    assert losses[-1] < 0.4 * losses[0], losses
    y = x.clone().requires_grad_(True)
    before = net(y, 50.0).bits.sum()
    (slope,) = torch.autograd.grad(before, y)
    with torch.no_grad():
        after = net((y - 0.02 * slope.sign()).clamp(0, 1), 50.0).bits.sum()
    assert after < 0.97 * before


# training


@pytest.mark.slow
def test_training_then_files(x, tmp_path):
    net = codec.model()
    unchanged = net.compress(x[:1], 60.0, lossless=False)
    assert not net.update() and net.model_id == codec.load().model_id
    net.train()
    optimiser, losses = torch.optim.Adam(net.parameters(), lr=1e-4), []
    for name, p in net.named_parameters():
        p.requires_grad_("lapped" not in name and "klt" not in name and "gain" not in name)
    for _ in range(5):
        said = net(x, 60.0)
        loss = said.bits.sum() / x[:, 0].numel() + 0.01 * (said.x_hat - x).square().mean() * 255**2
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.95 * losses[0], losses
    net.eval()
    for stale in (lambda: net(x), lambda: net.compress(x), lambda: net.decompress(unchanged), lambda: net.save("a")):
        with pytest.raises(CodecError, match=r"^the weights have changed: call update\(\)"):
            stale()
    assert net.update() and not net.update() and net.model_id == 0
    with torch.no_grad():
        said = net(x, 60.0)
    files = net.compress(x, 60.0, lossless=False)
    assert ((said.bits / torch.tensor([8.0 * len(data) for data in files]) - 1).abs() < 0.03).all()
    assert (said.x_hat.clamp(0, 1) - net.decompress(files)).abs().max() < 0.51 / 255
    # files of changed weights are taken for nobody else's, and the other way round
    with pytest.raises(UnknownModelError):
        codec.decode(files[0])
    with pytest.raises(UnsupportedError, match="made with model"):
        net.decompress(unchanged)
    net.save(tmp_path / "mine.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]
    picture = np.asarray(codec.load(str(tmp_path / "mine.safetensors")).decode(files[0]), int)
    near = np.abs(picture - (net.decompress(files)[0] * 255).round().permute(1, 2, 0).numpy())
    assert near.max() <= 2  # its networks are in half precision
    listed = '{"models": {"1000": {"file": "mine.safetensors", "sha256": "0"}}}'
    (tmp_path / "manifest.json").write_text(listed)
    assert codec.load(1000, weights=tmp_path).model_id == codec.model(1000, weights=tmp_path).model_id == 1000
    # the state of one makes another the same
    other = codec.model()
    other.load_state_dict(net.state_dict())
    assert other.update() and other.compress(x, 60.0, lossless=False) == files
    assert torch.equal(copy.deepcopy(net)(x, 60.0).bits, said.bits)


def test_weights_that_no_integers_hold_are_refused():
    net = codec.model()
    with torch.no_grad():
        net.vqvae.prior.nets[0].head.weight[0, 0] = 1e6
    with pytest.raises(CodecError, match="no file can be made with these weights"):
        net.update()


# refusals


def test_what_cannot_be_is_told(net, x, tmp_path):
    for wrong, said in (
        (x[0], r"x has shape \(N, 3, H, W\), not \(3, 77, 90\)"),
        (x[:, :1], r"not \(2, 1, 77, 90\)"),
        (x[:0], r"not \(0, 3, 77, 90\)"),
        (x * 255, "outside 0..1"),
        (x - 0.5, "outside 0..1"),
        (x * torch.nan, "outside 0..1"),
        ((x * 255).byte(), "x holds floating-point values in 0..1, not torch.uint8"),
        (x.numpy(), r"x is a tensor \(N, 3, H, W\), not ndarray"),
        (x.to("meta"), "x is on meta, and the model on cpu"),
    ):
        for use in (net, net.compress):
            with pytest.raises(CodecError, match=said):
                use(wrong)
    for wrong, said in (
        (101, "quality 101 is outside 0..100"),
        ([50.0], "there are 1 qualities for 2 pictures"),
        (torch.tensor([50.0, torch.nan]), "quality nan is outside"),
        ("best", "quality is not a number"),
    ):
        for use in (net, net.compress):
            with pytest.raises(CodecError, match=said):
                use(x, wrong)
    with pytest.raises(CodecError, match="quality has no effect with lossless"):
        net.compress(x, 60.0, lossless=True)
    files = [*net.compress(x[:1]), *net.compress(x[:1, :, :20])]
    with pytest.raises(CodecError, match=r"different sizes \(90x20, 90x77\)"):
        net.decompress(files)
    with pytest.raises(CorruptError):
        net.decompress([files[0][:-1]])
    for wrong in (files[0], [], "a.ldc", None, 5, (data for data in files)):
        with pytest.raises(CodecError, match="decompress takes a list of files"):
            net.decompress(wrong)
    with pytest.raises(CodecError, match="there is no device 'tpu'"):
        codec.model(device="tpu")
    with pytest.raises(CodecError, match="there is no model file"):
        codec.model("missing.safetensors")
    for path in (tmp_path / "missing" / "a.safetensors", tmp_path):
        with pytest.raises(CodecError, match=f"cannot write '{path}': "):
            net.save(path)
    assert list(tmp_path.iterdir()) == []
    assert issubclass(PictureError, CodecError)
    assert torch.equal(net(x.double(), 50).bits, net(x, 50).bits)


# the page


@pytest.mark.slow
def test_the_example_of_the_page_runs(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "api.md").read_text()
    section = re.search(r"^## Tensors and gradients\n(.*?)(?=^## )", text, re.S | re.M)[1]
    photo.resize((128, 150)).save("photo.jpg")
    made: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", section, re.S | re.M):
        exec(block, made)
    assert made["files"] == [codec.encode(made["x"][0], quality=60)]
    assert made["losses"][-1] < made["losses"][0]
    assert Path("mine.ldc").read_bytes() and Path("mine.safetensors").is_file()
