"""The semantic decoders on a small untrained model: what holds whatever the weights are."""

import numpy as np
import pytest
import torch

from codec import zoo
from codec.api import Codec
from codec.bitstream.container import parse
from codec.errors import CodecError, UnsupportedError
from codec.models.context import Context, everywhere, grid
from codec.models.painter import without_weave
from codec.models.restorer import Condition
from codec.restoration import restore
from codec.restoration.consistency import CELL, stream_agreement
from tests.support.small import CONFIG, RESTORERS, network, small_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sent(small_codec) -> bytes:
    picture = np.random.default_rng(0).integers(0, 256, (70, 100, 3), np.uint8)
    return small_codec.encode(picture, quality=60, seed=5)


def test_no_realism_is_exactly_the_vq_picture(small_codec, sent):
    vq = small_codec.decode_array(sent)
    for decoder in RESTORERS:
        assert np.array_equal(small_codec.decode_array(sent, decoder=decoder, realism=0), vq)


def test_realism_is_the_straight_line(small_codec, sent):
    vq, ldm = (
        small_codec.decode_array(sent).astype(float),
        small_codec.decode_array(sent, decoder="ldm", steps=2).astype(float),
    )
    assert np.abs(ldm - vq).max() > 2
    half = small_codec.decode_array(sent, decoder="ldm", steps=2, realism=0.5)
    assert np.abs(half - (vq + ldm) / 2).max() <= 0.5


def test_the_seed_in_the_file_is_the_default(small_codec, sent):
    assert parse(sent).header.seed == 5
    first = small_codec.decode_array(sent, decoder="ldm", steps=2)
    assert np.array_equal(first, small_codec.decode_array(sent, decoder="ldm", steps=2, seed=5))
    assert not np.array_equal(first, small_codec.decode_array(sent, decoder="ldm", steps=2, seed=6))


@pytest.mark.parametrize("sampler", restore.SAMPLERS)
def test_samplers_and_progress(small_codec, sent, sampler):
    seen = []
    small_codec.decode(sent, decoder="ldm", steps=3, sampler=sampler, progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1) and len(seen) >= 4


@pytest.mark.parametrize("quality, steps", [(60, 4), (5, 1)])
def test_threads_change_nothing_but_rounding(small_codec, quality, steps):
    picture = np.random.default_rng(0).integers(0, 256, (70, 100, 3), np.uint8)
    sent, pictures = small_codec.encode(picture, quality=quality, seed=5), []
    for threads in (1, 2):
        small_codec._threads = threads
        pictures.append(small_codec.decode_array(sent, decoder="ldm", steps=steps).astype(int))
    small_codec._threads = 1
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_guidance_moves_the_sample_and_1_is_none(small_codec, sent):
    plain = small_codec.decode_array(sent, decoder="ldm", steps=2, consistency=False)
    assert np.array_equal(
        plain, small_codec.decode_array(sent, decoder="ldm", steps=2, consistency=False, guidance=1.0)
    )
    assert not np.array_equal(
        plain, small_codec.decode_array(sent, decoder="ldm", steps=2, consistency=False, guidance=3.0)
    )


def test_a_context_of_the_caller_replaces_the_hyper_tokens(small_codec, sent):
    options = {"decoder": "ldm", "steps": 1, "consistency": False}
    a = small_codec.decode_array(sent, **options, context=torch.zeros(3, 8))
    assert not np.array_equal(a, small_codec.decode_array(sent, **options, context=torch.full((3, 8), 5.0)))


def test_a_context_may_be_numpy(small_codec, sent):
    tokens = np.random.default_rng(0).standard_normal((3, 8)) * 5
    small = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    for given in (dict(steps=1), dict(steps=2)):

        def decoded(context, given=given):
            return small_codec.decode_array(sent, decoder="ldm", consistency=False, **given, context=context)

        tensor = torch.from_numpy(tokens.astype(np.float32))
        expected = decoded(tensor)
        assert not np.array_equal(expected, decoded(torch.zeros(3, 8)))
        wide = np.zeros((3, 16))
        wide[:, ::2] = tokens
        tensor.requires_grad_(True)
        for same in (tokens, tokens.astype(np.float32), tokens.tolist(), wide[:, ::2], tensor, tensor.double()):
            assert np.array_equal(decoded(same), expected)
        grown = [np.asarray(small_codec.upscale(small, 2, **given, context=c)) for c in (tensor, tokens, tokens + 3)]
        assert np.array_equal(grown[0], grown[1]) and not np.array_equal(grown[1], grown[2])


def test_a_label_speaks_beside_the_hyper_tokens(small_codec, sent):
    assert small_codec.labels() == ("cats", "dogs")
    options = {"decoder": "ldm", "steps": 1, "consistency": False}
    plain, cats, dogs = (small_codec.decode_array(sent, **options, label=label) for label in (None, "cats", "dogs"))
    assert not np.array_equal(plain, dogs) and not np.array_equal(cats, dogs)
    assert np.array_equal(dogs, small_codec.decode_array(sent, **options, label="dogs"))
    tokens = torch.cat(
        [torch.zeros(3, 8), small_codec._loaded.labels.conditioner.tokens[1]]
    )  # a context of the caller and the label: both are there
    assert np.array_equal(
        small_codec.decode_array(sent, **options, context=tokens),
        small_codec.decode_array(sent, **options, context=torch.zeros(3, 8), label="dogs"),
    )
    small = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    assert (
        small_codec.upscale(small, 2, steps=1, consistency=False).tobytes()
        != small_codec.upscale(small, 2, steps=1, consistency=False, label="dogs").tobytes()
    )


def test_labels_that_cannot_be(small_codec, sent, tmp_path):
    with pytest.raises(CodecError, match=r"no label 'birds' \(there is: cats, dogs\)"):
        small_codec.decode(sent, decoder="ldm", label="birds")
    with pytest.raises(CodecError, match="label has no effect with the decoder gan"):
        small_codec.decode(sent, decoder="gan", label="cats")
    with pytest.raises(UnsupportedError, match="no class labels for model 0"):
        Codec(small_codec._model, torch.device("cpu"), 1).labels()
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(CodecError, match="bad.safetensors"):
        zoo.read_labels(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    "options, word",
    [
        ({"steps": 0}, "steps"),
        ({"realism": 1.1}, "realism"),
        ({"guidance": -1}, "guidance"),
        ({"sampler": "magic", "steps": 2}, "magic"),
        ({"sampler": "heun"}, "one step"),
        ({"sampler": "heun", "steps": 1}, "one step"),
        ({"seed": -1}, "seed"),
        ({"context": torch.zeros(3, 9)}, "context"),
        ({"context": torch.zeros(0, 8)}, "context"),
        ({"context": torch.zeros(8)}, "context"),
        ({"context": np.zeros((3, 9))}, r"a context has shape \(tokens, 8\), not \(3, 9\)"),
        ({"context": np.full((3, 8), np.nan)}, "a context has to be finite"),
        ({"context": "a cat"}, "a context is an array or tensor of numbers, not str"),
        ({"context": [[1.0], [1.0, 2.0]]}, "a context is an array or tensor of numbers, not list"),
    ],
)
def test_options_that_cannot_be(small_codec, sent, options, word):
    with pytest.raises(CodecError, match=word):
        small_codec.decode(sent, decoder="ldm", **options)


def test_no_weights_for_this_model(small_codec, sent):
    bare = Codec(small_codec._model, torch.device("cpu"), 1)
    assert bare.decoders() == ("vq",)
    with pytest.raises(UnsupportedError, match="model 0 has no decoder 'gan'"):
        bare.decode(sent, decoder="gan")


def test_a_prefix_of_the_file_decodes_too(small_codec, sent):
    cut = len(sent) - 20
    assert small_codec.decode(sent, decoder="ldm", steps=2, max_bytes=cut).size == (100, 70)


def test_one_step_is_another_network_pass_than_the_process(small_codec, sent):
    once, walked = (small_codec.decode_array(sent, decoder="ldm", steps=n, consistency=False) for n in (1, 2))
    assert np.array_equal(once, small_codec.decode_array(sent, decoder="ldm", consistency=False))
    assert not np.array_equal(once, walked)


def test_perceptual_has_no_noise(small_codec, sent):
    net = small_codec._loaded.restorers["perceptual"]
    x = torch.rand(1, 3, 64, 64)
    known = restore.Known(Condition(x, torch.tensor([2.0]), None), None)
    a, b = (restore.restore("perceptual", net, known, restore.Options(), seed, lambda done: None) for seed in (1, 2))
    c, d = (restore.restore("gan", net, known, restore.Options(), seed, lambda done: None) for seed in (1, 2))
    assert torch.equal(a, b) and not torch.equal(c, d)


def test_agreement_brings_latents_nearer_to_what_was_sent():
    """With transforms that undo each other, the latents of a disturbed picture go back into the cells of what was
    sent."""
    net = small_model().requires_grad_(False)
    basis = torch.linalg.qr(torch.randn(768, CONFIG.channels, generator=torch.Generator().manual_seed(0)))[0].t()
    net.g_a.klt.weight.copy_(basis[:, :, None, None])
    net.g_s.klt.weight.copy_(basis.t()[:, :, None, None])
    position = torch.tensor([4.0])
    gain = torch.exp2(net.interpolate(net.log2_gain, position))
    torch.manual_seed(0)
    x = torch.rand(1, 3, 64, 96) * 0.4 + 0.3
    sent_v = net.analyse(x, position)[0] * gain

    def outside(x):
        d = net.analyse(x, position)[0] * gain - sent_v
        return (d.abs() - CELL).clamp(min=0).sum().item()

    disturbed = x + 0.8 * torch.randn_like(x)
    assert outside(stream_agreement(net, sent_v, position)(disturbed)) < 0.5 * outside(disturbed) > 0


@pytest.mark.parametrize("task, painted", [(2.0, 1.1), (0.5, 0.925), (7.0, 1.4), (8.0, 0.7), (9.0, 1.0)])
def test_what_is_painted_into_a_stream_is_emphasised(monkeypatch, task, painted):
    """A decoded picture gets more of it, one enlarged twice less, one enlarged by four what the network says."""
    net = network()
    torch.manual_seed(0)
    x = torch.rand(1, 3, 64, 64) * 0.2 + 0.4
    known = restore.Known(Condition(x, torch.tensor([task]), None), None)
    monkeypatch.setattr(restore, "paint", lambda net, s, condition, step, dots: condition.x_c + 0.1)
    x_hat = restore.restore("perceptual", net, known, restore.Options(), 0, lambda done: None)
    assert torch.allclose(x_hat, x + 0.1 * painted, atol=1e-6)


def test_what_repeats_with_the_grid_is_not_painted():
    """A pattern of 4, 8 or 16 pixels goes, its mean, noise and a pattern of another period stay."""
    torch.manual_seed(0)
    noise, mean = torch.randn(1, 3, 320, 320), 0.3
    for period in (4, 8, 16):
        dots = torch.randn(1, 3, period, period).repeat(1, 1, 320 // period, 320 // period)
        dots -= dots.mean((2, 3), keepdim=True)
        assert torch.allclose(without_weave(dots + mean), torch.full_like(dots, mean), atol=1e-5)
    kept = without_weave(noise).square().mean() / noise.square().mean()
    assert kept > 0.9
    other = torch.sin(torch.arange(320) * (2 * torch.pi / 10)).expand(1, 3, 320, 320)
    assert without_weave(other).square().mean() > 0.9 * other.square().mean()


def test_windows_of_the_painter_leave_no_seam(monkeypatch):
    net = network()
    torch.manual_seed(0)
    x, s = torch.rand(1, 3, 16 * 20, 16 * 40), torch.randn(1, 16, 20, 40)
    condition = Condition(x, torch.tensor([2.0]), None)
    for dots in (0.0, 10.0):
        monkeypatch.setattr(restore, "PAINT_TILE", 64)
        whole = restore.paint(net, s, condition, lambda done: None, dots)
        monkeypatch.setattr(restore, "PAINT_TILE", 8)
        assert torch.allclose(restore.paint(net, s, condition, lambda done: None, dots), whole, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 4])
def test_upscaled_picture_made_smaller_is_the_picture(small_codec, scale):
    y, x = np.mgrid[:26, :35]
    small = np.stack([60 + x * 4, 50 + y * 5, 200 - x * 3], 2).astype(np.uint8)
    big = small_codec.upscale(small, scale, steps=2)
    assert big.size == (35 * scale, 26 * scale)
    back = np.asarray(big.resize((35, 26), 3), float)
    assert np.sqrt(np.square(back - small).mean()) <= 2
    assert np.array_equal(np.asarray(big), np.asarray(small_codec.upscale(small, scale, steps=2, seed=0)))
    assert not np.array_equal(np.asarray(big), np.asarray(small_codec.upscale(small, scale, steps=2, seed=1)))


def test_scale_that_was_not_trained(small_codec):
    with pytest.raises(CodecError, match="scale 3"):
        small_codec.upscale(np.zeros((8, 8, 3), np.uint8), 3)


def test_upscale_keeps_alpha_and_gray(small_codec):
    rgba = np.full((20, 20, 4), 90, np.uint8)
    rgba[:10, :, 3] = 0
    assert small_codec.upscale(rgba, 2, steps=1).mode in ("RGBA", "LA")
    assert small_codec.upscale(np.full((20, 20), 90, np.uint8), 2, steps=1).mode == "L"


def test_weights_file_round_trip(tmp_path):
    net = network()
    zoo.write_restorer(tmp_path / "ldm-0.safetensors", net)
    again = zoo.read_restorer(tmp_path / "ldm-0.safetensors")
    assert torch.equal(again.scale, net.scale) and torch.equal(again.residual, net.residual)
    for (name, a), b in zip(net.named_parameters(), again.parameters(), strict=True):
        step = a.flatten(1).abs().amax(1).reshape(-1, *[1] * (a.ndim - 1)) / 127 if a.ndim > 1 else a.abs().max() / 127
        assert ((a - b).abs() <= 0.51 * step + 1e-3).all(), name
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(CodecError, match="bad.safetensors"):
        zoo.read_restorer(tmp_path / "bad.safetensors")


def test_sizes_are_geometric_between_levels_and_apart_for_enlargements():
    net = network()
    size = net.size(torch.tensor([2.0, 2.5, 3.0, 7.0, 8.0, 9.0])).flatten()
    assert torch.allclose(size[1], (size[0] * size[2]).sqrt(), rtol=1e-5)
    assert torch.allclose(size[[0, 2, 3, 4, 5]], net.residual[[2, 3, 7, 8, 9]], rtol=1e-5)


def test_attention_sees_near_tokens_more_than_far_ones():
    net = network().denoiser
    for layer in net.attention:
        layer.slope.fill_(3.0)
    x, x_c, features = torch.randn(1, 16, 4, 16), torch.rand(1, 3, 64, 256), torch.zeros(1, 6)
    places = grid(2, 8, 2.0)[None]
    values = torch.randn(1, 16, 8)
    changed = values.clone()
    changed[:, 0] += 3.0  # the token at the upper left

    def run(v):
        return net(x, torch.zeros(1), x_c, features, Context(v, places))[0]

    moved = (run(changed) - run(values)).abs().mean((0, 1))
    assert moved[0, 0] > 20 * moved[-1, -1] > 0 or moved[-1, -1] == 0


def test_window_of_a_context():
    context = Context(torch.arange(16.0)[None, :, None], grid(4, 4, 2.0)[None])
    part = context.window((2, 6), (4, 8))
    assert part.values.flatten().tolist() == [6, 7, 10, 11]
    assert torch.equal(part.positions, grid(2, 2, 2.0)[None])
    both = context.joined(everywhere(torch.tensor([[[20.0], [21.0]]]))).window((2, 6), (4, 8))
    assert (
        both.values.flatten().tolist() == [6, 7, 10, 11, 20, 21]
        and both.positions.isnan().all(-1)[0].tolist() == [False] * 4 + [True] * 2
    )


def test_condition_without_context_runs():
    net = network()
    x = torch.rand(2, 3, 64, 64)
    value, log_variance = net(torch.randn(2, 16, 4, 4), torch.zeros(2), Condition(x, torch.tensor([0.0, 8.0]), None))
    assert value.shape == log_variance.shape == (2, 16, 4, 4)
    assert net.encode(x, Condition(x, torch.tensor([0.0, 8.0]), None)).shape == (2, 16, 4, 4)
