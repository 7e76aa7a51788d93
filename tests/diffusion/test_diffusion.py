"""Diffusion against closed forms for Gaussian data, known answers, and the samplers of diffusers."""

import math
from functools import partial
from statistics import NormalDist

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.diffusion import elbo, guidance, schedule
from codec.diffusion.noise import philox, quantiles, unit_noise
from codec.diffusion.precondition import Preconditioned, draw_sigmas, loss_weight
from codec.diffusion.sample import ancestral, dpmpp_2m, heun, posterior
from codec.diffusion.tiled import tiled, weights, windows

V = 0.6  # variance of the Gaussian data


def optimal(x: torch.Tensor, sigma: float, v: float = V) -> torch.Tensor:
    """E[x0 | x] for x0 ~ N(0, v)."""
    return x * (v / (v + sigma * sigma))


def curved(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """E[x0 | x] for x0 = -1 or 1, leaning on its neighbour: neither linear nor pointwise."""
    return torch.tanh((x + 0.3 * x.roll(1, -1)) / (sigma * sigma + 0.1))


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def samplers(shape: torch.Size) -> dict:
    return {"heun": heun, "dpmpp_2m": dpmpp_2m, "ancestral": partial(ancestral, noise=lambda i: normal(*shape, seed=i))}


# schedules


@given(n=st.integers(1, 300), low=st.floats(0.001, 1), high=st.floats(2, 200), rho=st.floats(1, 9))
def test_schedules_fall_from_end_to_end(n, low, high, rho):
    for sigmas in (schedule.karras(n, low, high, rho), schedule.log_uniform(n, low, high)):
        assert sigmas.shape == (n + 1,) and sigmas.dtype == torch.float32
        assert sigmas[-1] == 0 and (sigmas[:-1] > sigmas[1:]).all()
        assert sigmas[0].item() == pytest.approx(high, rel=1e-6)
        assert n == 1 or sigmas[-2].item() == pytest.approx(low, rel=1e-6)


def test_karras_is_even_in_the_seventh_root_and_log_uniform_in_the_logarithm():
    assert torch.allclose(
        (schedule.karras(9, 0.01, 50)[:-1].double() ** (1 / 7)).diff(n=2),
        torch.zeros(7, dtype=torch.float64),
        atol=1e-6,
    )
    assert torch.allclose(
        schedule.log_uniform(9, 0.01, 50)[:-1].double().log().diff(n=2), torch.zeros(7, dtype=torch.float64), atol=1e-6
    )


# preconditioning


def test_one_level_or_one_for_each():
    seen = []

    def network(x, c_noise, *, y):
        seen.append((x, c_noise, y))
        return x + y, 0 * x

    x, sigmas = normal(3, 2, 4, 4), torch.tensor([0.1, 1.0, 30.0])
    together = Preconditioned(network)(sigmas[:, None, None, None] * x, sigmas, y=2.0)
    for i, sigma in enumerate(sigmas.tolist()):
        alone = Preconditioned(network)(sigma * x[i : i + 1], sigma, y=2.0)
        assert torch.allclose(alone, together[i : i + 1], atol=1e-5)
        assert seen[-1][1].item() == pytest.approx(math.log(sigma) / 4, rel=1e-5)
        c_in, c_out = 1 / math.hypot(1, sigma), sigma / math.hypot(1, sigma)
        assert torch.allclose(alone, sigma * x[i] / (1 + sigma**2) + c_out * (c_in * sigma * x[i] + 2.0), atol=1e-5)
    assert torch.allclose(seen[0][1], sigmas.log() / 4)


@pytest.mark.parametrize("variance", [0.01, 1.0, 9.0])
def test_skip_is_the_wiener_filter_of_the_predicted_variance(variance):
    x = normal(2, 3, 4, 4)
    got = Preconditioned(lambda x, c_noise: (0 * x, torch.full_like(x, math.log(variance))))(x, 0.5)
    assert torch.allclose(got, variance / (variance + 0.25) * x, atol=1e-6)


def test_the_network_sees_unit_variance():
    for sigma in (0.05, 1.0, 80.0):
        seen = []
        x = normal(1, 4, 64, 64) + sigma * normal(1, 4, 64, 64, seed=1)
        Preconditioned(lambda x, c_noise, seen=seen: (seen.append(x), (x, x))[1])(x, sigma)
        assert seen[0].var().item() == pytest.approx(1, abs=0.05)


def test_loss_weight():
    assert loss_weight(torch.tensor([0.01, 0.5, 1.0, 100.0]), 6.0).tolist() == pytest.approx([6, 5, 2, 1.0001])


def test_drawn_sigmas():
    uniforms = (torch.arange(4096) + 0.5) / 4096
    logs = draw_sigmas(uniforms, -0.4, 1.2, 1e-9, 1e9).log()
    assert logs.mean().item() == pytest.approx(-0.4, abs=1e-3) and logs.std().item() == pytest.approx(1.2, abs=5e-3)
    assert logs[1024].item() == pytest.approx(-0.4 + 1.2 * NormalDist().inv_cdf(1024.5 / 4096), abs=1e-4)
    ends = draw_sigmas(torch.tensor([0.0, 1.0]), -0.4, 1.2, 0.002, 80.0)
    assert ends.tolist() == pytest.approx([0.002, 80.0])


# samplers


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m", "ancestral"])
def test_one_step_is_the_denoiser(name):
    x, seen = 80 * normal(1, 4, 6, 6), []
    out = samplers(x.shape)[name](curved, x, schedule.karras(1, 0.01, 80.0), callback=lambda *args: seen.append(args))
    assert torch.equal(out, curved(x, 80.0))
    assert [(step, steps) for step, steps, _ in seen] == [(1, 1)] and torch.equal(seen[0][2], out)


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m", "ancestral"])
def test_callback_gets_every_step_and_the_last_estimate(name):
    x, seen = 20 * normal(1, 4, 6, 6), []
    out = samplers(x.shape)[name](curved, x, schedule.karras(7, 0.01, 20.0), callback=lambda *args: seen.append(args))
    assert [(step, steps) for step, steps, _ in seen] == [(i, 7) for i in range(1, 8)]
    assert torch.equal(seen[0][2], curved(x, 20.0)) and torch.equal(seen[-1][2], out)


@pytest.mark.parametrize("sampler", [heun, dpmpp_2m])
def test_probability_flow_to_second_order(sampler):
    """dx/dsigma = (x - D) / sigma takes x to x sqrt(V / (V + sigma_max^2)); twice the steps, a quarter of the error."""
    x = 80 * normal(1, 1, 4, 4, dtype=torch.float64)
    exact = x * math.sqrt(V / (V + 80.0**2))

    def error(n: int) -> float:
        return (sampler(optimal, x, schedule.log_uniform(n, 1e-5, 80.0)) / exact - 1).abs().max().item()

    assert error(256) < 2e-3
    assert 3 < error(128) / error(256) < 5


def impulses(n: int) -> torch.Tensor:
    """The ancestral sampler's answers (n,) to sigma_max alone and to each unit noise alone: linear denoiser, so
    variances add."""
    x = torch.zeros(n, 1, 1, 1, dtype=torch.float64)
    x[0] = 80.0

    def noise(i: int) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(i), n).double()[:, None, None, None]

    return ancestral(optimal, x, schedule.log_uniform(n, 1e-3, 80.0), noise).flatten()


def test_ancestral_sampling_approaches_the_variance_of_the_data():
    errors = [V - impulses(n).square().sum().item() for n in (100, 200, 400)]
    assert 0 < errors[2] < 0.03 * V  # the posterior of a point is narrower than that of the data
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.2) and errors[0] / errors[1] == pytest.approx(2, rel=0.2)


def test_posterior_keeps_the_marginal():
    t, s = 3.0, 1.2
    x0 = torch.full((200_000,), 0.7, dtype=torch.float64)
    x = posterior(x0 + t * normal(200_000, dtype=torch.float64), x0, t, s, normal(200_000, seed=1, dtype=torch.float64))
    assert x.mean().item() == pytest.approx(0.7, abs=0.01) and x.std().item() == pytest.approx(s, rel=0.01)


def test_sigmas_must_fall_to_zero():
    for sigmas in ([2.0, 1.0], [1.0, 2.0, 0.0], [0.0], [1.0, 1.0, 0.0]):
        with pytest.raises(AssertionError):
            heun(optimal, normal(1, 1, 2, 2), torch.tensor(sigmas))


# samplers against diffusers


def recorded(seen: list):
    """The denoiser that both sides use; it keeps what it is asked."""

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        seen.append(x)
        return curved(x, sigma)

    return denoise


def same(ours: list[torch.Tensor], theirs: list[torch.Tensor], tolerance: float = 1e-6) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=tolerance, atol=tolerance), (a - b).abs().max()


@pytest.mark.parametrize("n", [1, 2, 9, 20])
def test_heun_is_that_of_diffusers(n):
    sigmas, x = schedule.karras(n, 0.02, 40.0).double(), 40 * normal(1, 4, 8, 8, dtype=torch.float64)
    seen, theirs = [], []
    out = heun(recorded(seen), x, sigmas)
    scheduler = diffusers.HeunDiscreteScheduler(prediction_type="sample")
    scheduler.set_timesteps(n)
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.set_begin_index(0)
    for i in range(2 * n - 1):  # levels: s0, s1, s1, s2, s2, ..., 0; the second of a pair is the step that is kept
        theirs.append(x)
        x = scheduler.step(curved(x, scheduler.sigmas[i + i % 2].item()), scheduler.timesteps[i], x).prev_sample
    same([*seen, out], [*theirs, x])


@pytest.mark.parametrize("n", [1, 2, 9, 20])
@pytest.mark.parametrize("name", ["karras", "log_uniform"])
def test_dpmpp_2m_is_that_of_diffusers(n, name):
    sigmas, x = getattr(schedule, name)(n, 0.02, 40.0).double(), 40 * normal(1, 4, 8, 8, dtype=torch.float64)
    seen, theirs = [], []
    out = dpmpp_2m(recorded(seen), x, sigmas)
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(
        sigma_min=0.02,
        sigma_max=40.0,
        sigma_data=1.0,
        sigma_schedule={"karras": "karras", "log_uniform": "exponential"}[name],
    )
    scheduler.set_timesteps(n)
    if n > 1:  # theirs of one exponential step begins at sigma_min
        assert torch.allclose(scheduler.sigmas.double(), sigmas, rtol=1e-5)
    scheduler.sigmas = sigmas
    scheduler.set_begin_index(0)
    for i, sigma in enumerate(sigmas[:-1].tolist()):
        theirs.append(x)
        output = (
            (curved(x, sigma) - x / (1 + sigma**2)) * math.hypot(1, sigma) / sigma
        )  # their network's: D = c_skip x + c_out F
        x = scheduler.step(output, scheduler.timesteps[i], x).prev_sample
    same([*seen, out], [*theirs, x])


@pytest.mark.parametrize("n", [1, 2, 9, 20])
def test_ancestral_is_that_of_diffusers(n):
    sigmas, x = schedule.karras(n, 0.02, 40.0).double(), 40 * normal(1, 4, 8, 8)
    seen, theirs = [], []
    generator = torch.Generator().manual_seed(7)
    out = ancestral(recorded(seen), x, sigmas, lambda i: torch.randn(x.shape, generator=generator))
    scheduler = diffusers.EulerAncestralDiscreteScheduler()
    scheduler.set_timesteps(n)
    scheduler.sigmas = sigmas
    scheduler.set_begin_index(0)
    generator = torch.Generator().manual_seed(7)
    for t, sigma in zip(scheduler.timesteps, sigmas.tolist(), strict=False):
        theirs.append(x)
        scheduler.scale_model_input(x, t)
        x = scheduler.step((x - curved(x, sigma)) / sigma, t, x, generator=generator).prev_sample
    same([*seen, out], [*theirs, x], 1e-4)  # their samples are float32


# noise


@pytest.mark.parametrize(
    "counter, key, answer",
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter, key, answer):
    """The vectors of Random123's tests/kat_vectors."""
    words = philox(
        tuple(np.array([int(word, 16)], np.uint64) for word in counter.split()),
        tuple(int(word, 16) for word in key.split()),
    )
    assert " ".join(f"{int(word[0]):08x}" for word in words) == answer


def test_noise_known_answer():
    """Written out: counter (row, column, channel // 8, stream), key (low, high), pieces from the low end."""
    seed, stream = 0x299F31D0_A4093822, 0x03707344
    noise = unit_noise(seed, stream, 0x15, (1000, 1001), (7, 8)).flatten()
    words = philox(tuple(np.array([word], np.uint64) for word in (1000, 7, 2, stream)), (0xA4093822, 0x299F31D0))
    pieces = [part for word in words for part in (int(word[0]) & 0xFFFF, int(word[0]) >> 16)][: 0x15 - 16]
    assert noise[16:].tolist() == [
        pytest.approx(NormalDist().inv_cdf((piece + 0.5) / 65536), abs=2**-13 + 1e-9) for piece in pieces
    ]
    # key 0, counter 0: quantiles of e8d5 6627 c58d e169 ac4c bc57 dbd8 9b00, in units of 2^-12
    first = unit_noise(0, 0, 8, (0, 1), (0, 1)).flatten() * 4096
    assert first.tolist() == [5479, -1048, 3049, 4823, 1836, 2581, 4402, 1096]


@settings(max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**64 - 1), stream=st.integers(0, 2**32 - 1), channels=st.integers(1, 20))
def test_a_window_is_a_crop_of_the_plane(data, seed, stream, channels):
    a, c = data.draw(st.integers(0, 8)), data.draw(st.integers(0, 8))
    b, d = data.draw(st.integers(a, 9)), data.draw(st.integers(c, 12))
    plane = unit_noise(seed, stream, 20, (0, 9), (0, 12))
    window = unit_noise(seed, stream, channels, (a, b), (c, d))
    assert window.dtype == torch.float32 and torch.equal(window, plane[:channels, a:b, c:d])


def test_noise_is_normal_and_uncorrelated():
    planes = {key: unit_noise(*key, 8, (0, 200), (0, 200)) for key in ((1, 0), (1, 1), (2, 0), (1 + 2**32, 0))}
    z = planes[1, 0]
    limit = 4 / math.sqrt(z.numel())
    for plane in planes.values():
        moments = [plane.pow(k).mean().item() for k in (1, 2, 3, 4)]
        assert moments == [
            pytest.approx(m, abs=limit * s) for m, s in zip([0, 1, 0, 3], [1, 1.42, 3.9, 9.8], strict=True)
        ]
    others = [*list(planes.values())[1:], z.roll(1, 0), z.roll(1, 1), z.roll(1, 2), z.transpose(1, 2)]
    for other in others:
        assert abs((z * other).mean().item()) < 1.5 * limit


def test_quantiles():
    table = quantiles()
    exact = np.array([NormalDist().inv_cdf((i + 0.5) / 65536) for i in range(65536)])
    assert table.dtype == np.float32 and np.array_equal(table, np.round(exact * 4096) / 4096)
    assert np.array_equal(table, -table[::-1])
    assert np.abs(exact * 4096 % 1 - 0.5).min() > 1e-8  # no value is so near to a tie that a maths library could tip it
    assert table.astype(np.float64).var() == pytest.approx(1, abs=1e-4)


# guidance


def test_classifier_free_guidance():
    x = normal(1, 2, 4, 4)
    denoise = guidance.classifier_free(curved, optimal, 2.5)
    assert torch.allclose(denoise(x, 1.5), optimal(x, 1.5) + 2.5 * (curved(x, 1.5) - optimal(x, 1.5)), atol=1e-6)

    def never(x, sigma):
        raise AssertionError

    assert torch.equal(guidance.classifier_free(curved, never, 1.0)(x, 1.5), curved(x, 1.5))


# rate


def test_bits_are_divergences_of_gaussians():
    def divergence(mean, variance, other_mean, other_variance):
        """In bits."""
        p = torch.distributions.Normal(mean, variance**0.5)
        return torch.distributions.kl_divergence(
            p, torch.distributions.Normal(other_mean, other_variance**0.5)
        ) / math.log(2)

    x0, denoised, x = (normal(50, seed=seed, dtype=torch.float64) for seed in range(3))
    t, s = 2.0, 1.3
    zero = torch.zeros(())
    variance = torch.tensor(s**2 * (1 - s**2 / t**2), dtype=torch.float64)
    expected = divergence(posterior(x, x0, t, s, zero), variance, posterior(x, denoised, t, s, zero), variance)
    assert torch.allclose(elbo.step_bits(x0, denoised, t, s), expected)
    expected = divergence(x0, torch.tensor(t**2), torch.zeros_like(x0), torch.tensor(1 + t**2))
    assert torch.allclose(elbo.prior_bits(x0, t), expected)


def test_chain_costs_the_information_it_gives():
    """Unit Gaussian data: prior plus steps tend to I(x0; x_s) = log2(1 + 1/s^2) / 2 bits an element from above, in
    1/T."""
    x0 = normal(2, 30_000)
    first, last = 20.0, 0.1
    information = 0.5 * math.log2(1 + last**-2)
    excess = []
    for count in (20, 40, 80):
        sigmas = schedule.log_uniform(count, last, first)[:-1]
        found = list(elbo.chain(partial(optimal, v=1.0), x0, sigmas, lambda i: normal(2, 30_000, seed=100 + i)))
        assert [sigma for sigma, _, _ in found] == sigmas.tolist()
        bits = torch.stack([bits for _, bits, _ in found])  # (T, 2)
        assert bits.shape == (count, 2) and bits.dtype == torch.float64
        mse = [t**2 / (1 + t**2) for t in sigmas.tolist()]  # of the optimal denoiser
        expected = 0.5 * math.log2(1 + first**-2) + sum(
            0.5 * (s**-2 - t**-2) * m / math.log(2)
            for t, s, m in zip(sigmas.tolist(), sigmas.tolist()[1:], mse, strict=False)
        )
        total = (bits.sum() / x0.numel()).item()
        assert total == pytest.approx(expected, rel=0.02)
        excess.append(expected - information)
        for (_, _, denoised), m in zip(found, mse, strict=True):
            assert (denoised - x0).square().mean().item() == pytest.approx(m, rel=0.04)
    assert excess[0] > excess[1] > excess[2] > 0 and excess[2] < 0.1 * information


def test_chain_visits_the_marginals_and_begins_with_the_prior():
    x0, sigmas, seen = 0.7 + normal(2, 30_000), torch.tensor([20.0, 4.0, 0.5, 0.4]), []
    found = list(elbo.chain(recorded(seen), x0, sigmas, lambda i: normal(2, 30_000, seed=100 + i)))
    assert torch.allclose(found[0][1], elbo.prior_bits(x0, 20.0).double().sum(1))
    assert torch.allclose(found[2][1], elbo.step_bits(x0, found[1][2], 4.0, 0.5).double().sum(1))
    for x, sigma in zip(seen, sigmas.tolist(), strict=True):
        assert (x - x0).std().item() == pytest.approx(sigma, rel=0.02) and (x - x0).mean().item() == pytest.approx(
            0, abs=0.02 * sigma
        )


def test_chain_levels_stay_above_zero():
    with pytest.raises(AssertionError):
        next(elbo.chain(optimal, normal(1, 4), torch.tensor([1.0, 0.0]), lambda i: normal(1, 4)))


# tiles


even = st.integers(1, 60).map(lambda k: 2 * k)


@given(n=even, tile=even, data=st.data())
def test_windows_cover_and_weights_sum_to_one(n, tile, data):
    overlap = 2 * data.draw(st.integers(0, tile // 2 - 1))
    spans, total = windows(n, tile, overlap), torch.zeros(n, dtype=torch.float64)
    assert spans[0][0] == 0 and spans[-1][1] == n
    assert all(start % 2 == 0 and stop - start == min(n, tile) for start, stop in spans)
    assert all(
        before[1] - after[0] >= overlap and before < after for before, after in zip(spans, spans[1:], strict=False)
    )
    for (start, stop), weight in zip(spans, weights(n, tile, overlap), strict=True):
        assert (weight > 0).all()
        total[start:stop] += weight
    assert torch.allclose(total, torch.ones(n, dtype=torch.float64))


def test_weights_ramp_across_the_overlap():
    """Two windows of 12 that share 4 of 20 positions."""
    first, second = weights(20, 12, 4)
    ramp = [math.sin(math.pi / 2 * (k + 0.5) / 4) ** 2 for k in range(4)]
    assert second.tolist() == pytest.approx(ramp + [1.0] * 8) and first.tolist() == pytest.approx(
        [1.0] * 8 + ramp[::-1]
    )


@pytest.mark.parametrize("shape", [(32, 32), (34, 80), (62, 18), (100, 32)])
def test_tiles_of_a_pointwise_denoiser_are_the_plain_call(shape):
    x, done, places = (
        normal(2, 3, *shape),
        [],
        torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")).float(),
    )

    def denoise_window(x, sigma, rows, columns):
        assert x.shape[2:] == (rows[1] - rows[0], columns[1] - columns[0]) and max(x.shape[2:]) <= 32
        here = places[:, rows[0] : rows[1], columns[0] : columns[1]]
        return torch.tanh(x / sigma) + 0.01 * here[0] - 0.02 * here[1]

    denoise = tiled(denoise_window, shape, 32, 8, callback=lambda *args: done.append(args))
    expected = torch.tanh(x / 0.7) + 0.01 * places[0] - 0.02 * places[1]
    assert torch.allclose(denoise(x, 0.7), expected, atol=1e-6)
    count = len(windows(shape[0], 32, 8)) * len(windows(shape[1], 32, 8))
    assert done == [(i, count) for i in range(1, count + 1)]


def test_what_fits_is_one_call():
    calls, x = [], normal(1, 3, 20, 32)
    denoise = tiled(lambda x, sigma, **place: calls.append(place) or curved(x, sigma), (20, 32), 32, 8)
    assert torch.equal(denoise(x, 0.5), curved(x, 0.5))
    assert calls == [{"rows": (0, 20), "columns": (0, 32)}]


def test_seams_are_blended():
    """Windows that disagree by a constant: no step between neighbours larger than the ramp's."""
    out = tiled(lambda x, sigma, rows, columns: torch.full_like(x, rows[0]), (56, 8), 32, 8)(
        torch.zeros(1, 1, 56, 8), 1.0
    )[0, 0, :, 0]
    assert out[0] == 0 and out[-1] == 24 and (out.diff() >= 0).all() and out.diff().max() < 24 * 0.2
