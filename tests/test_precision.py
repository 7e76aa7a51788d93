"""bfloat16 changes pictures by little, and what the bytes mean not at all."""

import numpy as np
import pytest
import torch

import codec
from codec.coding import precision
from codec.errors import CodecError
from codec.models.vqvae import VQVAE
from tests.support.codes import decoded_codes, digest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def narrow():
    return codec.load(threads=1, precision="bfloat16")


def apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a.astype(float) - b).mean()))


@pytest.mark.parametrize("quality", [5, 50, 100])
def test_codes_are_the_same_and_pictures_nearly(shipped, narrow, small, quality):
    data = shipped.encode(small, quality=quality)
    assert digest(*decoded_codes(shipped, data)) == digest(*decoded_codes(narrow, data))
    wide, found = shipped.decode_array(data), narrow.decode_array(data)
    assert 0 < apart(wide, found) <= 4 and abs(rmse(wide, small) - rmse(found, small)) < 0.01


@pytest.mark.parametrize("decoder", ["perceptual", "gan", "ldm"])
def test_restorers_see_a_picture_without_rounding(shipped, narrow, small, decoder):
    data = shipped.encode(small, quality=30)
    wide, found = shipped.decode_array(data, decoder=decoder), narrow.decode_array(data, decoder=decoder)
    assert np.abs(wide.astype(int) - found).mean() < 0.2 and abs(rmse(wide, small) - rmse(found, small)) < 0.03


def test_numbers_of_threads_agree_within_a_grey_level(narrow, small):
    data = narrow.encode(small, quality=40)
    assert apart(narrow.decode_array(data), codec.load(threads=2, precision="bfloat16").decode_array(data)) <= 1


def test_files_are_the_same_unless_bfloat16_is_asked_for(shipped, narrow, small, monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    auto = codec.load(threads=1, precision="auto")
    data = shipped.encode(small, quality=60)
    assert auto.encode(small, quality=60) == data
    other = narrow.encode(small, quality=60)
    assert (
        0.98 < len(other) / len(data) < 1.02
        and abs(rmse(shipped.decode_array(other), small) - rmse(shipped.decode_array(data), small)) < 0.05
    )


@pytest.mark.parametrize("effort", [2, 3])
def test_an_encoder_looks_in_bfloat16_where_that_is_fast(small, monkeypatch, effort):
    """It is in effect, and costs nothing: the file is as good as one that was looked for in float32."""

    def coded(fast: bool) -> tuple[int, float]:
        seen: list[bool] = []
        with monkeypatch.context() as m:
            m.setattr(precision, "has_bfloat16", lambda device: fast)
            one = codec.load(threads=1)
            name = "synthesise" if effort > 2 else "pixels"
            real = getattr(VQVAE, name)
            m.setattr(VQVAE, name, lambda *a, **k: seen.append(torch.is_autocast_enabled("cpu")) or real(*a, **k))
            data = one.encode(small, quality=60, effort=effort, lossless=False)
        assert seen and all(value == fast for value in seen)
        return len(data), rmse(one.decode_array(data), small)

    (size, error), (other_size, other_error) = coded(False), coded(True)
    assert other_size == pytest.approx(size, rel=0.02) and other_error == pytest.approx(error, rel=0.01)


def test_auto_takes_what_the_machine_has(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert precision.narrow("auto", cpu) and not precision.narrow("float32", cpu)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")  # as ATEN_CPU_CAPABILITY=avx2 has it
    assert not precision.narrow("auto", cpu) and precision.narrow("bfloat16", cpu)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert not precision.narrow("auto", cpu)


def test_another_precision_is_refused():
    with pytest.raises(CodecError, match="there is no precision 'float16'"):
        codec.load(precision="float16")
