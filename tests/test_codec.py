"""The shipped weights on real pictures: every size and mode, rates, targets, cut files, tiles."""

import io
import pickle
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

import codec
from codec.bitstream.container import Header, pack, parse, read_header
from codec.coding import tiles
from codec.coding.model import pad
from codec.errors import CodecError, CorruptError, RateError, UnsupportedError
from tests.support.codes import decoded_codes, digest
from tests.support.drawn import discs

QUALITIES = (0, 15, 30, 45, 60, 75, 90, 96, 100)


def rmse(a: object, b: object) -> float:
    """Of two pictures of one size, as RGB."""
    a, b = (np.asarray(x.convert("RGB") if isinstance(x, Image.Image) else x, float) for x in (a, b))
    assert a.shape == b.shape
    return float(np.sqrt(np.square(a - b).mean()))


@pytest.fixture(scope="module")
def ladder(shipped, small) -> list[tuple[bytes, float]]:
    """File and RMSE at each of QUALITIES."""
    files = [shipped.encode(small, quality=q) for q in QUALITIES]
    return [(data, rmse(shipped.decode(data), small)) for data in files]


@pytest.fixture(scope="module")
def medium(ladder) -> bytes:
    return ladder[QUALITIES.index(60)][0]


# pictures of all kinds


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (33, 1), (31, 65), (96, 64)])
def test_round_trip(shipped, photo, size, mode):
    picture = ImageOps.fit(photo, size).convert(mode)
    if mode.endswith("A"):
        alpha = np.arange(size[0] * size[1], dtype=np.uint32).reshape(size[::-1]) * 37 % 256
        picture.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    out = shipped.decode(shipped.encode(picture, quality=90, lossless=False))
    assert (out.mode, out.size) == (picture.mode, picture.size)
    assert rmse(out, picture) < 12
    if mode.endswith("A"):
        assert (np.asarray(out.getchannel("A")) == alpha).all()


def test_flat_pictures_keep_their_colour(shipped):
    """Saturated colours are rare in photographs: there single pixels are off by more (README, limits)."""
    most = {
        (0, 0, 0): 4,
        (255, 255, 255): 4,
        (20, 120, 90): 4,
        (255, 255, 0): 6,
        (0, 255, 0): 6,
        (0, 0, 255): 8,
        (255, 0, 0): 14,
        (255, 0, 255): 20,
    }
    for colour, single in most.items():
        flat = np.full((40, 50, 3), colour, np.uint8)
        for quality, mean, size in ((50, 2.1, 120), (100, 1.15, 200)):
            data = shipped.encode(flat, quality=quality, lossless=False)
            error = np.abs(shipped.decode_array(data).astype(int) - flat)
            assert np.sqrt(np.square(error).mean()) < mean and error.max() <= (single if quality == 100 else 24), colour
            assert len(data) < size


def test_pictures_unlike_photographs(shipped):
    """Large latents, far from what was trained on: noise keeps the half of its energy that the transform keeps, a
    checkerboard nearly all."""
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    checker = np.kron(np.indices((5, 6)).sum(0) % 2, np.ones((9, 9))).astype(np.uint8)[..., None].repeat(3, 2) * 255
    for picture, bound in ((noise, 60), (checker, 25)):
        assert rmse(shipped.decode_array(shipped.encode(picture, quality=100, lossless=False)), picture) < bound


# rate and distortion


def test_more_quality_is_more_bytes_and_less_error(ladder):
    sizes, errors = [len(data) for data, _ in ladder], [error for _, error in ladder]
    assert all(a < b for a, b in pairwise(sizes)), sizes
    assert all(a > b for a, b in pairwise(errors)), errors


def test_quality_is_continuous(shipped, small, ladder):
    """A half step of quality lies between its neighbours, a difference below 1/64 is none."""
    low, high = ladder[3], ladder[4]
    between = shipped.encode(small, quality=52.5)
    assert len(low[0]) < len(between) < len(high[0])
    assert shipped.encode(small, quality=52.501) == between != shipped.encode(small, quality=52.52)


def test_fewer_bytes_than_jpeg(small, ladder):
    """At the error of JPEG at quality 40 (4:2:0, optimised); the whole comparison is in results/."""
    out = io.BytesIO()
    Image.fromarray(small).save(out, "JPEG", quality=40, optimize=True)
    error, sizes = rmse(Image.open(out), small), [len(data) for data, _ in ladder]
    ours = np.exp(np.interp(np.log(error), np.log([e for _, e in ladder])[::-1], np.log(sizes)[::-1]))
    assert ours < 0.85 * len(out.getvalue())


def test_size_is_what_the_tables_promise(shipped, photo, monkeypatch):
    """Within 1 %, the header apart; and the decoder finds the codes that the encoder meant."""
    coder, sent = shipped._model.coder, []

    def spy(v, tokens, *rest, keep):
        sent.append((tokens, encode(v, tokens, *rest)))
        return sent[-1][1]

    encode = coder.encode
    monkeypatch.setattr(coder, "encode", spy)
    for quality in (30, 60, 90):
        data = shipped.encode(photo, quality=quality)
        tokens, encoded = sent.pop()
        ideal, sizes = sum(encoded.bits) / 8, read_header(data).section_bytes
        assert abs(sum(sizes) - ideal) <= 0.01 * ideal
        assert len(data) - sum(sizes) <= 50
        assert digest(*decoded_codes(shipped, data)) == digest(tokens, encoded.v_hat)


@pytest.mark.parametrize("target", [400, 1500, 6000])
def test_target_bytes_is_never_exceeded(shipped, small, target):
    data = shipped.encode(small, target_bytes=target)
    assert 0.9 * target < len(data) <= target
    assert shipped.decode(data).size == (256, 300)


def test_target_bpp_is_never_exceeded(shipped, small):
    assert 0.9 * 0.2 < len(shipped.encode(small, target_bpp=0.2)) * 8 / (256 * 300) <= 0.2


def test_target_psnr_is_reached_by_the_smallest_file(shipped, small):
    x = np.asarray(small, float)

    def psnr(data: bytes) -> float:
        return 10 * np.log10(255**2 / np.square(shipped.decode_array(data) - x).mean())

    data = shipped.encode(small, target_psnr=30.0)
    level = read_header(data).header.level
    assert psnr(data) >= 30.0 > psnr(shipped.encode(small, quality=(level - 64) / 64))
    assert read_header(shipped.encode(small, target_psnr=99.0)).header.lossless  # no quality reaches it
    with pytest.raises(RateError, match="does not reach the PSNR"):
        shipped.encode(small, target_psnr=99.0, lossless=False)


def test_hidden_pixels_do_not_count_for_a_target_psnr(shipped, small):
    pixels = np.dstack([small, np.zeros(small.shape[:2], np.uint8)])
    pixels[20:90, 150:230, 3] = 255  # a rough part among smooth ones that the encoder invents

    def psnr(data: bytes, seen: np.ndarray) -> float:
        error = shipped.decode_array(data)[seen].astype(float) - small[seen]
        return 10 * np.log10(255**2 / np.square(error).mean())

    seen = pixels[..., 3] > 0
    assert psnr(shipped.encode(pixels, target_psnr=33, lossless=False), seen) >= 33
    kept = shipped.encode(pixels, target_psnr=33, lossless=False, keep_hidden=True)
    assert psnr(kept, np.ones_like(seen)) >= 33


def test_target_above_the_largest_file_gives_the_largest(shipped, small, ladder):
    assert shipped.encode(small, target_bytes=10**7, lossless=False) == ladder[-1][0]


def test_target_that_cannot_be_reached(shipped, small):
    with pytest.raises(RateError, match=r"smallest file of this picture has \d+ bytes, more than the 30 wanted"):
        shipped.encode(small, target_bytes=30)


def test_the_smallest_file_that_is_told_is_one_that_can_be_had(shipped):
    flat = np.zeros((48, 64, 3), np.uint8)  # without loss it is smaller
    for lossless in (None, False):
        with pytest.raises(RateError, match=r"smallest file of this picture has \d+ bytes, more than the 30") as told:
            shipped.encode(flat, target_bytes=30, lossless=lossless)
        least = int(re.search(r"has (\d+) bytes", str(told.value))[1])
        assert len(shipped.encode(flat, target_bytes=least, lossless=lossless)) == least
        with pytest.raises(RateError):
            shipped.encode(flat, target_bytes=least - 1, lossless=lossless)
        assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": -1},
        {"quality": 100.5},
        {"quality": float("nan")},
        {"effort": 0},
        {"effort": 10},
        {"seed": -1},
        {"seed": 2**32},
        {"target_bytes": 0},
        {"target_bpp": -1.0},
        {"target_bpp": float("nan")},
        {"target_bytes": 900, "target_bpp": 1.0},
        {"target_bytes": 900, "target_psnr": 30},
        {"target_psnr": 0},
        {"target_psnr": float("nan")},
    ],
    ids=str,
)
def test_options_out_of_range(shipped, small, options):
    with pytest.raises(CodecError):
        shipped.encode(small, **options)


# without loss


@pytest.fixture(scope="module")
def page() -> np.ndarray:
    """Text on white, with a hole in alpha: uint8 (200, 300, 4)."""
    image = Image.new("RGBA", (300, 200), "white")
    draw = ImageDraw.Draw(image)
    for y in range(5, 190, 14):
        draw.text((8, y), "Drawings cost less without loss than with it", "navy")
    draw.rectangle((250, 150, 290, 190), fill=(90, 0, 0, 0))
    return np.asarray(image)


def test_a_drawing_is_kept_without_loss_where_that_is_smaller(shipped, page):
    lossy, data = shipped.encode(page, lossless=False), shipped.encode(page)
    assert not read_header(lossy).header.lossless and read_header(data).header.lossless
    assert len(data) < len(lossy) and data == shipped.encode(page, lossless=True)
    seen = page * (page[..., 3:] > 0)
    assert (np.asarray(shipped.decode(data)) == seen).all()
    assert (np.asarray(codec.decode(shipped.encode(page, keep_hidden=True))) == page).all()
    small = shipped.encode(page, quality=0)
    assert not read_header(small).header.exact and len(small) < len(data)


def test_photographs_stay_as_they_are(shipped, small, ladder):
    """Bytes of before, at all qualities; asked for, each pixel."""
    for quality, (data, _) in zip(QUALITIES, ladder, strict=True):
        assert not read_header(data).header.lossless
        if quality in (45, 100):
            assert shipped.encode(small, quality=quality, lossless=False) == data
    gray = small[..., 1]
    for picture in (small, gray):
        exact = shipped.decode(shipped.encode(picture, lossless=True))
        assert exact.mode == ("L" if picture is gray else "RGB") and (np.asarray(exact) == picture).all()


def test_a_target_is_met_without_loss_where_it_fits(shipped, page, small):
    exact = shipped.encode(page, lossless=True)
    bpp = 8 * len(exact) / (300 * 200)
    assert shipped.encode(page, target_bytes=len(exact)) == exact == shipped.encode(page, target_bpp=bpp * 1.001)
    below = shipped.encode(page, target_bytes=len(exact) - 1)
    assert len(below) < len(exact) and not read_header(below).header.exact
    assert read_header(shipped.encode(small, target_bytes=10**7)).header.lossless
    told: list[float] = []
    shipped.encode(page, target_bytes=10**6, progress=told.append)
    assert told == [1.0]


@pytest.mark.parametrize("alpha", [False, True])
def test_a_drawing_is_kept_in_fewer_colours_where_that_is_better_in_both(shipped, alpha):
    """Where the lossless file is too large: fewer bytes and less error than the networks, and the file says so."""
    x = discs(alpha)
    shown = x[..., 3] > 0 if alpha else np.ones(x.shape[:2], bool)

    def error(data: bytes) -> float:
        return float(np.square(np.asarray(codec.decode(data))[..., :3][shown] - x[..., :3][shown].astype(float)).mean())

    lossy, data = shipped.encode(x, lossless=False), shipped.encode(x)
    assert len(data) <= len(lossy) < len(shipped.encode(x, lossless=True))
    assert 0 < error(data) < error(lossy) / 2
    header = read_header(data).header
    assert (header.lossless, header.reduced, header.exact, header.level) == (True, True, False, 50 * 64)
    assert not read_header(lossy).header.reduced and read_header(shipped.encode(x, quality=90)).header.exact
    small = shipped.encode(x, target_bytes=len(data))
    assert len(small) <= len(data) and read_header(small).header.reduced and error(small) < error(lossy)
    assert read_header(small).header.level < header.level  # the networks' quality in so many bytes


def test_a_lossless_file_is_exact_whatever_the_decoder(shipped, page):
    data = shipped.encode(page, lossless=True)
    exact = np.asarray(shipped.decode(data))
    for options in ({"decoder": "ldm", "seed": 3}, {"decoder": "gan", "realism": 0.5}, {"max_bytes": len(data)}):
        assert (np.asarray(shipped.decode(data, **options)) == exact).all()
    assert (shipped.decode_array(data, decoder="perceptual") == exact[..., :3]).all()
    with pytest.raises(UnsupportedError, match="no decoder 'best'"):
        shipped.decode(data, decoder="best")
    for options in ({"max_bytes": len(data) - 1}, {"allow_truncated": True}):
        with pytest.raises(CorruptError, match="it is coded without loss, and parts of it give no coarser picture"):
            shipped.decode(data if "max_bytes" in options else data[:-1], **options)


# files


def test_same_settings_give_the_same_bytes(shipped, small, medium):
    again = codec.load(threads=1)
    assert again.encode(small, quality=60) == shipped.encode(small, quality=60) == medium
    tile = small[:64, :64]
    assert again.encode(tile, effort=2, seed=5) == shipped.encode(tile, effort=2, seed=5)
    assert (again.decode_array(medium) == shipped.decode_array(medium)).all()


def test_effort_pays(shipped, small):
    """At the error of the refined file, effort 1 needs more bytes: its curve runs through that error between the
    qualities here."""
    refined = shipped.encode(small, quality=50, effort=4)
    error = rmse(shipped.decode(refined), small)
    plain = [shipped.encode(small, quality=q) for q in (50, 53, 56)]
    errors = [rmse(shipped.decode(data), small) for data in plain]
    assert errors[-1] < error < errors[0]
    sizes = np.log([len(data) for data in plain])
    needed = np.exp(np.interp(-np.log(error), -np.log(errors), sizes))
    assert len(refined) < 0.98 * needed


def test_cut_files_give_coarser_pictures_in_order(shipped, small, ladder):
    data = ladder[QUALITIES.index(75)][0]
    info = read_header(data)
    ends = info.header_bytes + np.cumsum(info.section_bytes)
    assert ends[-1] == len(data)
    errors = []
    for end in ends.tolist():
        picture = shipped.decode_array(data, max_bytes=end)
        assert (shipped.decode_array(data[:end], allow_truncated=True) == picture).all()
        errors.append(rmse(picture, small))
        if end < len(data):  # what lies between two ends is of no use
            assert (shipped.decode_array(data, max_bytes=end + 1) == picture).all()
            with pytest.raises(CorruptError, match="cut short"):
                shipped.decode(data[:end])
    assert all(a > b for a, b in pairwise(errors)), errors
    assert errors[-1] == ladder[QUALITIES.index(75)][1] and errors[0] < 80
    with pytest.raises(CorruptError, match="too little"):
        shipped.decode(data, max_bytes=int(ends[0]) - 1)


@pytest.mark.parametrize(
    ("change", "sentence"), [({"model_id": 4711}, "made with model 4711"), ({"table_hash": 1}, "other tables of model")]
)
def test_file_of_another_model_is_refused(shipped, medium, change, sentence):
    stream = parse(medium)
    other = pack(Header(**{**vars(stream.header), **change}), stream.sections)
    with pytest.raises(UnsupportedError, match=sentence):
        shipped.decode(other)
    with pytest.raises(UnsupportedError, match="not known"):
        codec.load(4711)


def test_forged_sections_are_refused_or_decoded(shipped, small):
    """Checksums are right, what they cover was written by nobody."""
    data = shipped.encode(small[:64, :64], quality=70)
    stream, rng, refused = parse(data), np.random.default_rng(0), 0
    for turn in range(60):
        sections = list(stream.sections)
        k = turn % len(sections)
        sections[k] = (rng.bytes(len(sections[k])), b"\xff" * len(sections[k]), b"")[turn % 3]
        try:
            assert shipped.decode(pack(stream.header, sections)).size == (64, 64)
        except CorruptError:
            refused += 1
    assert 0 < refused < 60


def test_unknown_decoder_is_refused(shipped, medium):
    with pytest.raises(CodecError, match="model 6 has no decoder 'best'"):
        shipped.decode(medium, decoder="best")


def test_threads_are_put_back(shipped, small, medium):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        shipped.decode(medium)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# tiles


@pytest.mark.parametrize("tile", [4, 10])
def test_tiles_leave_no_seams(shipped, small, ladder, monkeypatch, tile):
    """The picture of a file does not depend on the decoder's tiles; 300x256 pixels are 20x16 positions, one tile of
    the usual size."""
    for data, _ in (ladder[1], ladder[-2]):
        whole, codes = shipped.decode_array(data), digest(*decoded_codes(shipped, data))
        monkeypatch.setattr(tiles, "TILE", tile)
        tiled = shipped.decode_array(data)
        assert digest(*decoded_codes(shipped, data)) == codes
        assert np.abs(tiled.astype(int) - whole).max() <= 1
        with monkeypatch.context() as without:
            without.setattr(tiles, "HALO", 0)
            assert (
                np.abs(shipped.decode_array(data).astype(int) - whole).max() > 1
            )  # so the comparison above sees seams
        monkeypatch.undo()


def test_tiles_of_the_encoder(shipped, small, monkeypatch):
    """Latents of tiles are those of the whole up to rounding of floats, so files differ by little if at all."""
    vqvae, position = shipped._model.vqvae, torch.tensor([3.0])
    x = pad(small)

    def analyse() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            (y,), tokens = tiles.analyse(
                (x.shape[2], x.shape[3]),
                lambda rows, columns: vqvae.analyse(x[:, :, rows, columns].float() / 255, position),
                lambda done: None,
            )
            return y, tokens

    y, tokens = analyse()
    whole = shipped.encode(small, quality=60)
    monkeypatch.setattr(tiles, "TILE", 6)
    y_tiled, tokens_tiled = analyse()
    assert (tokens == tokens_tiled).all()
    assert ((y - y_tiled).abs() <= 1e-3 * vqvae.sd).all()
    tiled = shipped.encode(small, quality=60)
    assert abs(len(tiled) - len(whole)) <= 0.002 * len(whole)
    monkeypatch.undo()
    assert rmse(shipped.decode(tiled), shipped.decode(whole)) < 0.5


def test_progress_is_told(shipped, small):
    for call in (
        lambda step: shipped.encode(small, progress=step),
        lambda step: shipped.encode(small[:64, :64], effort=2, progress=step),
        lambda step: shipped.decode(shipped.encode(small[:32]), progress=step),
    ):
        told: list[float] = []
        call(told.append)
        assert told and told == sorted(told) and told[0] >= 0 and told[-1] == 1


def test_higher_qualities_stay_better_where_latents_are_very_large(shipped, small):
    """A white area beside a photograph: its means lie far outside the frequency tables."""
    picture = small.copy()
    picture[:128] = 255
    errors = [rmse(shipped.decode(shipped.encode(picture, quality=q)), picture) for q in (85, 93, 100)]
    assert errors[0] > errors[1] > errors[2]
    dark = 255 - picture
    assert rmse(shipped.decode(shipped.encode(dark, quality=100)), dark) < errors[0]
