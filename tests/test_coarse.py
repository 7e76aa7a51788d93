"""A smaller picture of the first groups: what it is made of, how near it is, and what is refused."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import codec
from codec import coarse
from codec.bitstream.container import Header, level_of, pack, parse, read_header
from codec.errors import CodecError, CorruptError, FormatError, UnknownModelError, UnsupportedError
from codec.opened import opened
from tests.support import damage
from tests.support.watched import Watched

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def data(shipped, photo):
    """512x600, so that there are several bands; quality 60."""
    return shipped.encode(photo, quality=60)


def linear(shipped, data: bytes, groups: int) -> torch.Tensor:
    """The linear part of the synthesis of so many groups by PyTorch, (1, 3, H, W) in 0..255, padded."""
    model, stream = shipped.model, parse(data)
    file = opened(stream, shipped.model_id, model.table_hash)
    _, v_hat = model.coder.decode(file.sections, file.h, file.w, stream.header.level)
    v_hat[model.config.groups[groups - 1].stop :] = 0
    g_s = model.vqvae.g_s
    with torch.inference_mode():
        x = g_s.linear(model.from_steps(v_hat, stream.header.level))
        constant = g_s.head.bias.reshape(3, -1).mean(1) + g_s.filter.head.bias.reshape(3, -1).mean(1)
    return 255 * (x + 0.5 + constant[:, None, None])


@pytest.mark.parametrize("factor, groups", [(16, 1), (8, 2), (4, 3), (2, 4)])
def test_it_is_the_linear_part_of_the_groups_that_matter(shipped, data, factor, groups):
    file = Watched(data)
    image = coarse.decode(file, factor)
    info = read_header(data)
    assert file.furthest == info.header_bytes + sum(info.section_bytes[: groups + 1])
    assert image.size == coarse.reduced_size((512, 600), factor)
    wanted = F.avg_pool2d(linear(shipped, data, groups), factor)[0].clamp(0, 255).permute(1, 2, 0).numpy()
    got = np.asarray(image, float)
    assert np.abs(got - wanted[: got.shape[0], : got.shape[1]]).max() < 0.51


@pytest.mark.parametrize("factor, most", [(16, 1.5), (8, 2), (4, 3), (2, 4.6)])
def test_it_is_near_to_the_picture(shipped, photo, data, factor, most):
    """Nearer than the file is to what was encoded, so that nothing is lost that was there."""
    got = np.asarray(coarse.decode(io.BytesIO(data), factor), float)
    full = np.asarray(shipped.decode(data).reduce(factor), float)
    original = np.asarray(photo.reduce(factor), float)
    assert np.sqrt(np.mean((got - full) ** 2)) < most
    assert np.abs((got - full).mean((0, 1))).max() < 0.5
    assert np.sqrt(np.mean((got - original) ** 2)) < 1.6 * np.sqrt(np.mean((full - original) ** 2))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("model6-*.ldc")), ids=lambda path: path.stem)
@pytest.mark.parametrize("factor", [16, 2])
def test_all_kinds_of_pictures(shipped, path, factor):
    with open(path, "rb") as file:
        image = coarse.decode(file, factor)
    full = Image.open(path.with_suffix(".png"))
    wanted = full.reduce(factor)
    assert (image.mode, image.size) == (wanted.mode, wanted.size)
    if "A" in image.mode:
        assert (np.asarray(image)[..., -1] == np.asarray(wanted)[..., -1]).all()


def test_factors():
    assert [coarse.factor_for((4000, 3000), (side, side)) for side in (3000, 1501, 1500, 200, 187, 1)] == [
        1,
        1,
        2,
        8,
        16,
        16,
    ]
    assert coarse.factor_for((40, 30), (0, 0)) == 16
    with pytest.raises(CodecError, match="factor 3 is not one of 2, 4, 8, 16"):
        coarse.decode(io.BytesIO(), 3)


def test_cut_files(data):
    info = read_header(data)
    end = info.header_bytes + sum(info.section_bytes[:2])
    for cut in (data[:-1], data[: end + 5], data + b"x"):
        with pytest.raises(CorruptError):
            coarse.decode(io.BytesIO(cut), 16)
    for cut in (data[:-1], data[: end + 5]):
        assert coarse.decode(io.BytesIO(cut), 16, allow_truncated=True) == coarse.decode(io.BytesIO(data), 16)
    with pytest.raises(CorruptError):
        coarse.decode(io.BytesIO(data[: end - 5 - info.section_bytes[1]]), 16, allow_truncated=True)


def test_a_file_within_another(data):
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    assert coarse.decode(file, 16) == coarse.decode(io.BytesIO(data), 16)


def test_every_form_of_a_file(data, tmp_path):
    path, wanted = tmp_path / "a.ldc", coarse.decode(io.BytesIO(data), 16)
    path.write_bytes(data)
    for form in (path, str(path), data, bytearray(data), memoryview(data)):
        assert coarse.decode(form, np.int64(16)) == wanted, type(form)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as pipe:
        assert coarse.decode(pipe.stdout, 16) == wanted


@pytest.mark.parametrize(
    "wrong, options, said",
    [
        ("missing.ldc", {}, "cannot open 'missing.ldc'"),
        (5, {}, "a compressed file is a path, bytes or an open binary file, not int"),
        (io.StringIO("text"), {}, "open as text"),
        (b"", {}, "it is empty"),
        (b"", {"factor": 4.0}, "factor is not a whole number"),
        (b"", {"factor": "4"}, "factor is not a whole number"),
        (b"", {"allow_truncated": "yes"}, "allow_truncated is neither True nor False"),
    ],
)
def test_what_is_no_file_and_no_option(wrong, options, said):
    with pytest.raises(CodecError, match=said):
        coarse.decode(wrong, **{"factor": 4, **options})


def test_what_is_refused(shipped):
    header = Header(64, 48, shipped.model_id, shipped.model.table_hash, level_of(30))
    for sections in ([b""] * 4, [b""] * 6):
        with pytest.raises(CorruptError, match="number of sections"):
            coarse.decode(io.BytesIO(pack(header, sections)), 16)
    with pytest.raises(UnsupportedError, match="other tables"):
        coarse.decode(io.BytesIO(pack(Header(64, 48, shipped.model_id, 1, 64), [b""] * 5)), 16)
    with pytest.raises(UnknownModelError):
        coarse.decode(io.BytesIO(pack(Header(64, 48, 4, 1, 64), [b""] * 5)), 16)
    with pytest.raises(UnsupportedError, match="coded without loss"):
        coarse.decode(io.BytesIO(codec.encode(Image.new("RGB", (40, 40)), lossless=True)), 2)


def test_damage_is_refused_or_does_not_matter(shipped, small):
    """The first groups are checked; what lies behind them is not looked at."""
    sound = shipped.encode(small[:70, :50], quality=30)
    wanted, seen = coarse.decode(io.BytesIO(sound), 16), set()
    for variant in damage.variants([sound], 200):
        if variant.forged:
            continue
        try:
            got = coarse.decode(io.BytesIO(variant.data), 16)
        except FormatError as error:
            seen.add(type(error).__name__)
            assert str(error)
        else:
            assert got == wanted
            seen.add("same")
    assert {"CorruptError", "same"} <= seen


def test_forged_files_are_refused_or_decoded(shipped, small):
    """Sound checksums around other sizes and sections: an error of ours, or a picture of the size that is said."""
    sound, done = shipped.encode(small[:70, :50], quality=30), 0
    for variant in damage.variants([sound], 150):
        if not variant.forged:
            continue
        try:
            header = read_header(variant.data).header
            if header.width * header.height > 1 << 16:
                continue
            image = coarse.decode(io.BytesIO(variant.data), 4)
        except FormatError:
            continue
        assert image.size == coarse.reduced_size((header.width, header.height), 4)
        done += 1
    assert done > 3
