"""Model files that do not fit their own description are refused in a sentence."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import codec
from codec import zoo
from codec.errors import CodecError
from tests.support.small import small_coder, small_model


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Settings and arrays of a sound file."""
    model = small_model()
    coder, arrays = small_coder(model)
    path = tmp_path_factory.mktemp("model") / "sound.safetensors"
    zoo.write_model(path, model, coder.trellis.name, arrays | coder.latent.flat() | coder.tokens.flat())
    codec.load(str(path))
    with safe_open(path, "numpy") as f:
        return f.metadata(), {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118


@pytest.mark.parametrize("name", ["sd", "log2_gain", "tokens.codebook", "g_s.head.bias"])
@pytest.mark.parametrize("change", ["short", "deep"])
def test_an_array_of_another_shape(name, change, stored, tmp_path):
    meta, arrays = stored
    value = arrays[name][..., :-1] if change == "short" else arrays[name][None, None]
    save_file({**arrays, name: np.ascontiguousarray(value)}, tmp_path / "a.safetensors", meta)
    with pytest.raises(CodecError, match=r"the model file a.safetensors cannot be read: "):
        codec.load(str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("name", ["sd", "log2_gain", "tokens.codebook", "g_s.head.bias", "integer.token_net.a.bias"])
def test_an_array_that_is_not_there_or_holds_nothing(name, stored, tmp_path):
    meta, arrays = stored
    without = {key: value for key, value in arrays.items() if key != name}
    for held in (without, {**without, name: arrays[name].ravel()[:0]}):
        save_file(held, tmp_path / "a.safetensors", meta)
        with pytest.raises(CodecError, match=r"the model (file a.safetensors )?cannot be (read|used): "):
            codec.load(str(tmp_path / "a.safetensors"))
