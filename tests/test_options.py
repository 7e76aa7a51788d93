"""The options: one record for all who take them, checked once, and nothing that has no effect."""

import inspect
from dataclasses import fields

import numpy as np
import pytest
import torch

import codec
from codec import api
from codec.errors import CodecError
from codec.options import TAKES, DecodeOptions, EncodeOptions, UpscaleOptions

KINDS = {"encode": EncodeOptions, "decode": DecodeOptions, "upscale": UpscaleOptions, "decode_array": DecodeOptions}


@pytest.mark.parametrize(
    "function",
    [
        codec.encode,
        codec.decode,
        codec.upscale,
        api.Codec.encode,
        api.Codec.decode,
        api.Codec.upscale,
        api.Codec.decode_array,
    ],
)
def test_functions_show_the_fields_of_the_record(function):
    shown = dict(inspect.signature(function).parameters)
    assert not any(p.kind is p.VAR_KEYWORD for p in shown.values())
    wanted = {f.name: f.default for f in fields(KINDS[function.__name__])} | {"progress": None}
    found = {name: p.default for name, p in shown.items() if name not in ("self", "image", "data")}
    assert found == wanted
    if function.__name__ != "decode_array":
        missing = [name for name in wanted if f"{name}:" not in function.__doc__ and name != "scale"]
        assert not missing


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": 101},
        {"effort": 0},
        {"seed": -1},
        {"target_bpp": 1, "target_bytes": 9},
        {"target_bytes": 0},
        {"target_bpp": float("inf")},
        {"target_bytes": float("inf")},
        {"target_bpp": float("nan")},
        {"quality": "50"},
        {"quality": None},
        {"effort": 1.5},
        {"seed": 1.5},
        {"target_bytes": "9"},
        {"quality": np.zeros(2)},
        {"lossless": "always"},
        {"lossless": np.array([1, 0])},
        {"lossless": 2},
        {"keep_hidden": "no"},
        {"metadata": ["keep"]},
        {"metadata": np.array(["keep", "drop"])},
        {"quality": 10**400},
        {"effort": np.zeros(2, int)},
        {"keep_hidden": None},
        {"lossless": True, "quality": 60},
        {"lossless": True, "target_bytes": 900},
        {"lossless": True, "target_bpp": 1.0},
        {"lossless": True, "seed": 3},
    ],
)
def test_what_cannot_be_encoded(wrong):
    with pytest.raises(CodecError):
        EncodeOptions(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": -1},
        {"max_bytes": 1.5},
        {"max_bytes": "5"},
        {"decoder": "ldm", "steps": 2.5},
        {"decoder": "ldm", "seed": "1"},
        {"decoder": ["x"]},
        {"decoder": None},
        {"decoder": "ldm", "label": ["cat"]},
        {"decoder": "ldm", "steps": 2, "sampler": np.array(["heun", "x"])},
        {"decoder": "ldm", "consistency": "no"},
        {"allow_truncated": "yes"},
        {"allow_truncated": None},
    ],
)
def test_what_cannot_be_decoded(wrong):
    with pytest.raises(CodecError):
        DecodeOptions(**wrong)
    with pytest.raises(CodecError, match=r" is | has "):  # and before a file is asked for anything
        codec.decode("there is no such file.ldc", **wrong)


@pytest.mark.parametrize("wrong", [{"scale": 2.0}, {"scale": 3}, {"scale": "2"}, {"realism": "1"}])
def test_what_cannot_be_enlarged(wrong):
    with pytest.raises(CodecError):
        UpscaleOptions(**wrong)


def test_fields_are_of_plain_types():
    """Of whatever type they were given, what compares and prints them need not know."""
    given = {"target_bytes": np.uint16(9), "effort": np.int8(3), "seed": torch.tensor(4), "keep_hidden": np.True_}
    encode = EncodeOptions(quality=torch.tensor(50.0), lossless=np.False_, **given)
    assert encode == EncodeOptions(target_bytes=9, effort=3, seed=4, keep_hidden=True, lossless=False)
    assert encode.lossless is False and EncodeOptions(lossless=0).lossless is False and encode.keep_hidden is True
    assert [type(value) for value in vars(encode).values()] == [
        float,
        type(None),
        int,
        type(None),
        int,
        int,
        bool,
        bool,
        str,
    ]
    decode = DecodeOptions(decoder="gan", max_bytes=np.int64(9), realism=np.float32(0.5), consistency=np.False_)
    assert decode == DecodeOptions(decoder="gan", max_bytes=9, realism=0.5, consistency=False)
    assert decode.consistency is False and type(decode.realism) is float and type(decode.max_bytes) is int
    assert type(UpscaleOptions(scale=np.int64(4)).scale) is int


def arguments(function) -> str:
    """What a docstring says of them, on one line."""
    text = " ".join(function.__doc__.split())
    return text[text.index(next(word for word in ("image: ", "data: ") if word in text)) : text.index(" progress: ")]


@pytest.mark.parametrize("name", ["encode", "decode", "upscale"])
def test_a_function_and_its_method_say_the_same_of_their_arguments(name):
    assert arguments(getattr(codec, name)) == arguments(getattr(api.Codec, name))


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"threads": "2"}, "threads is not a whole number: '2'"),
        ({"threads": 1.5}, "threads is not a whole number: 1.5"),
        ({"threads": 0}, "threads 0 is less than 1"),
        ({"model": 5.5}, "model 5.5 is not known here"),
        ({"weights": 5}, "weights is the path of a folder, not int"),
    ],
)
def test_what_cannot_be_loaded(wrong, said):
    with pytest.raises(CodecError, match=said):
        codec.load(**wrong)


@pytest.mark.parametrize("decoder", TAKES)
def test_every_option_is_taken_or_refused(decoder):
    values = {
        "realism": 0.5,
        "steps": 2,
        "sampler": "heun",
        "guidance": 2.0,
        "consistency": True,
        "seed": 1,
        "context": np.zeros((1, 8)),
        "label": "sky",
    }
    assert set(values) == set(TAKES["ldm"])
    for name, value in values.items():
        asked = {name: value} | ({"steps": 3} if name == "sampler" else {})  # one step needs no sampler
        if name in TAKES[decoder]:
            assert DecodeOptions(decoder=decoder, **asked).generation() == asked
        else:
            with pytest.raises(CodecError, match=f"{name} has no effect with the decoder {decoder}"):
                DecodeOptions(decoder=decoder, **{name: value})
    with pytest.raises(CodecError, match="sampler has no effect with one step"):
        DecodeOptions(decoder="ldm", sampler="heun")


def test_what_a_decoder_takes_changes_its_picture(small_codec):
    """And what it does not take would not: the table of effects is true of the networks."""
    data = small_codec.encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), quality=60)
    values = {
        "realism": 0.5,
        "steps": 5,
        "sampler": "heun",
        "guidance": 3.0,
        "consistency": False,
        "seed": 9,
        "context": np.ones((1, 8), np.float32),
        "label": "dogs",
    }
    for decoder, takes in TAKES.items():
        for name in takes:
            base = {"steps": 5} if name == "sampler" else {}
            plain = small_codec.decode_array(data, decoder=decoder, **base)
            changed = small_codec.decode_array(data, decoder=decoder, **base, **{name: values[name]})
            assert not np.array_equal(plain, changed), (decoder, name)
    with pytest.raises(TypeError, match="nonsense"):
        small_codec.decode(data, nonsense=1)


@pytest.mark.parametrize("decoder", TAKES)
def test_what_is_said_to_be_used_is_what_makes_the_picture(small_codec, decoder):
    """The picture is the same where it is asked for by what is reported, and only that changes it."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    data, other = (small_codec.encode(pixels, quality=20, seed=seed, lossless=False) for seed in (7, 8))
    used = DecodeOptions(decoder=decoder).used(7)
    said = {name: value for name in ("steps", "seed") if (value := getattr(used, name)) is not None}
    picture = small_codec.decode_array(data, decoder=decoder)
    assert used.decoder == decoder
    assert np.array_equal(picture, small_codec.decode_array(other, decoder=decoder, **said))
    assert (used.seed is None) == np.array_equal(picture, small_codec.decode_array(other, decoder=decoder))
    assert used.seed in (None, 7) and ("steps" in TAKES[decoder]) == (used.steps is not None)
    if used.steps is not None:
        assert not np.array_equal(picture, small_codec.decode_array(data, decoder=decoder, steps=used.steps + 1))
    if decoder != "vq":
        assert DecodeOptions(decoder=decoder, realism=0.0).used(7).decoder == "vq"
        plain = small_codec.decode_array(data, decoder=decoder, realism=0.0)
        assert np.array_equal(plain, small_codec.decode_array(data))


def test_what_enlarges_a_picture(small_codec):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
    used = UpscaleOptions().used()
    assert (used.decoder, used.steps, used.seed) == ("ldm", 1, 0)
    pictures = [np.asarray(small_codec.upscale(pixels, **o)) for o in ({}, {"steps": 1, "seed": 0}, {"seed": 1})]
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])
    assert UpscaleOptions(steps=3, seed=9).used().seed == 9 and UpscaleOptions(steps=3).used().steps == 3
