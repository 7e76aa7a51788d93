"""A few hundred of the damaged and forged files that `python -m tests.support.damage` makes by the thousand."""

import matplotlib.cbook
import pytest
from PIL import Image

import codec
from codec.errors import CodecError, FormatError
from codec.image import lossless, read
from tests.support import damage
from tests.support.fake_codec import FakeCodec

pytestmark = pytest.mark.slow


def small_pictures() -> list[Image.Image]:
    photo = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    colour, gray = photo.resize((70, 50)), photo.resize((33, 64)).convert("L")
    gray.putalpha(gray.point(lambda value: value // 2))
    return [colour, gray]


def refuse_or_decode(originals, count, tmp_path, capfd):
    """Run `codec decode` on `count` damaged files and some forged ones, return the recipes of both."""
    recipes = {False: set(), True: set()}
    for variant in damage.variants(originals, count):
        outcome = damage.decode(tmp_path / "file.ldc", variant.data)
        assert outcome.is_right_for(variant), (variant, outcome)
        recipes[variant.forged].add(variant.recipe)
    capfd.readouterr()
    return recipes


def test_damaged_files_are_refused(tmp_path, capfd, monkeypatch):
    fake = FakeCodec()
    monkeypatch.setattr("codec.batch.backend.load_codec", lambda args, model: fake)
    originals = [fake.encode(picture, seed=seed) for seed, picture in enumerate(small_pictures())]
    originals += [lossless.encode(read.load(picture)) for picture in small_pictures()]
    recipes = refuse_or_decode(originals, 700, tmp_path, capfd)
    assert len(recipes[False]) >= 12 and "extreme_field_with_right_checksums" in recipes[False]
    assert {"other_header", "other_section_bytes", "swap_sections", "other_size"} <= recipes[True]


def test_variants_are_the_same_for_the_same_seed():
    originals = [FakeCodec().encode(picture) for picture in small_pictures()]
    first, again, other = (list(damage.variants(originals, 60, seed)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.fixture(scope="module")
def real():
    return codec.load(threads=1)


def test_real_codec_on_damaged_and_forged_files(real, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("codec.batch.backend.load_codec", lambda args, model: real)
    originals = [real.encode(picture, effort=1, quality=30) for picture in small_pictures()]
    recipes = refuse_or_decode(originals, 200, tmp_path, capfd)
    assert recipes[True] and recipes[False]


def test_real_codec_in_python_raises_format_errors(real):
    data = real.encode(small_pictures()[0], effort=1)
    for variant in damage.variants([data], 60):
        try:
            real.decode(variant.data)
        except CodecError:
            continue
        assert variant.forged
    for other in (b"", b"text"):
        with pytest.raises(FormatError):
            real.decode(other)
