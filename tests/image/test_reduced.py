"""Drawings in fewer colours: within the bytes and the error of the other file, or not at all."""

import math

import numpy as np
import pytest

from codec.bitstream.container import parse, read_header
from codec.image import lossless, read, reduced
from tests.support.drawn import discs


def refuse() -> float:
    raise AssertionError("the other file is decoded for nothing")


def error_of(data: bytes, pixels: np.ndarray) -> float:
    """Mean squared error where something is seen, worked out from the decoded picture."""
    got, wanted = np.asarray(lossless.decode(data)).astype(float), pixels.astype(float)
    shown = pixels[..., 3] > 0 if pixels.shape[2] == 4 else np.ones(pixels.shape[:2], bool)
    return float(np.square(got[shown][:, :3] - wanted[shown][:, :3]).mean())


@pytest.mark.parametrize("alpha", [False, True])
def test_better_in_bytes_and_error_or_none(alpha):
    pixels = discs(alpha)
    picture = read.load(pixels)
    exact = len(lossless.encode(picture))
    errors = []
    for most in (exact // 2, exact * 3 // 4, exact - 200):
        data = reduced.encode_within(picture, most, lambda: math.inf, level=1900)
        header = read_header(data).header
        assert len(data) <= most and header.reduced and not header.exact and header.level == 1900
        errors.append(error_of(data, pixels))
        assert (
            reduced.encode_within(picture, most, lambda: errors[-1] / 0.71, level=1900) is None
        )  # not clearly smaller
        assert reduced.encode_within(picture, most, lambda: errors[-1] / 0.69, level=1900) == data
        got = np.asarray(lossless.decode(data))
        if alpha:
            assert (got[..., 3] == pixels[..., 3]).all() and (got[got[..., 3] == 0] == 0).all()
        colours = len(np.unique(got[got[..., -1] > 0] if alpha else got.reshape(-1, 3), axis=0))
        assert 2 <= colours < len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0))
    assert errors == sorted(errors, reverse=True) and errors[0] > 4 * errors[-1] > 0
    assert reduced.encode_within(picture, exact // 11, refuse, level=0) is None  # two colours need more


def test_gray_and_hidden_colours_stay():
    gray = discs()[..., 1]
    data = reduced.encode_within(read.load(gray), 900, lambda: math.inf, level=5)
    image = lossless.decode(data)
    assert (
        image.mode == "L" and parse(data).header.gray and 2 <= len(np.unique(np.asarray(image))) < len(np.unique(gray))
    )
    same = reduced.quantised(np.repeat(gray.reshape(-1, 1), 3, 1), 7)
    assert (same == same[:, :1]).all() and len(np.unique(same)) == 7
    picture = read.load(discs(alpha=True))
    data = reduced.encode_within(picture, 10**6, lambda: math.inf, level=5, keep_hidden=True)
    got = np.asarray(lossless.decode(data)).astype(int)
    assert np.abs(got[0, 0] - (90, 0, 0, 0)).max() <= 2
    whole = float(np.square(got[..., :3] - picture.rgb).mean())
    assert reduced.squared_error(picture, got[..., :3].astype(np.uint8), True) == pytest.approx(whole)


def test_each_colour_becomes_one_near_it():
    colours = np.random.default_rng(1).integers(0, 256, (5000, 3)).astype(np.uint8)
    for count in (2, 5, 16, 256):
        got = reduced.quantised(colours, count).astype(int)
        palette = np.unique(got, axis=0)
        distance = np.square(palette[None] - colours[:, None].astype(int)).sum(-1)
        assert len(palette) <= count
        own = np.square(got - colours).sum(-1)
        assert own.mean() <= 1.05 * distance.min(1).mean() and own.mean() < 255**2 / count ** (2 / 3)


def test_what_is_not_flat_is_given_up_at_a_look(photo, monkeypatch):
    monkeypatch.setattr(reduced, "quantised", None)
    assert reduced.encode_within(read.load(photo), 10**7, refuse, level=6400) is None
    for shape in ((3, 1), (1, 1), (1, 4, 3)):
        assert reduced.encode_within(read.load(np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)), 99, refuse, level=0) is None  # fmt: skip
    nothing = np.zeros((20, 20, 4), np.uint8)
    assert reduced.encode_within(read.load(nothing), 10**7, refuse, level=0) is None


def test_few_colours_are_not_made_more(monkeypatch):
    """A picture of three colours is tried with two only."""
    pixels = np.repeat(np.array([[0, 90, 255]], np.uint8), 40, 1).repeat(40, 0)
    tried, quantised = [], reduced.quantised
    monkeypatch.setattr(reduced, "quantised", lambda colours, count: tried.append(count) or quantised(colours, count))
    data = reduced.encode_within(read.load(pixels), 10**6, lambda: math.inf, level=0)
    assert set(tried) == {2} and len(np.unique(np.asarray(lossless.decode(data)))) == 2
