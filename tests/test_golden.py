"""Files that must decode for ever: bytes in, codes and picture out.

    GENERATE_GOLDEN=1 python -m pytest tests/test_golden.py

writes the files of tests/golden anew with the default model. That breaks the promise for the old ones, so it is for
models that were never released; a new model id gets new files beside the old. With GENERATE_GOLDEN=pictures files and
codes stay, and only what they look like is written anew: for better weights behind the codes.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from codec.bitstream.container import read_header
from codec.errors import UnsupportedError
from tests.support.codes import decoded_codes, digest

FOLDER = Path(__file__).parent / "golden"
CODES = FOLDER / "codes.json"  # file name -> digests of the whole file's codes and of those of its first half


def drawn(height: int, width: int) -> np.ndarray:
    """Edges, ramps and a disc, uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    disc = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(height, width) / 3) ** 2
    return np.stack([x * 255 // max(1, width - 1), np.where(disc, 220, 40), y * 255 // max(1, height - 1)], 2).astype(
        np.uint8
    )


def sources(photo: Image.Image) -> dict[str, tuple[object, dict]]:
    """Name -> picture and options of encode."""
    colour, odd = ImageOps.fit(photo, (96, 80)), ImageOps.fit(photo, (53, 37))
    seen = odd.copy()
    seen.putalpha(Image.fromarray(drawn(37, 53)[..., 0]))
    return {
        "photo-q05": (colour, {"quality": 5}),
        "photo-q50": (colour, {"quality": 50}),
        "photo-q95": (colour, {"quality": 95}),
        "photo-effort3": (colour, {"quality": 40, "effort": 3, "seed": 77}),
        "gray-odd": (odd.convert("L"), {"quality": 60}),
        "alpha-odd": (seen, {"quality": 60}),
        "drawn": (drawn(64, 33), {"quality": 70}),
        "noise": (np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8), {"quality": 100}),
        "pixel": (drawn(1, 1), {"quality": 50}),
    }


NAMES = ("photo-q05", "photo-q50", "photo-q95", "photo-effort3", "gray-odd", "alpha-odd", "drawn", "noise", "pixel")


def half(data: bytes) -> int:
    """Bytes up to the end of the second section."""
    info = read_header(data)
    return info.header_bytes + info.alpha_bytes + sum(info.section_bytes[:2])


def digests(codec, data: bytes) -> list[str]:
    return [digest(*decoded_codes(codec, data)), digest(*decoded_codes(codec, data, max_bytes=half(data)))]


@pytest.fixture(scope="module", autouse=True)
def generated(shipped, photo):
    if os.environ.get("GENERATE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        codes = json.loads(CODES.read_text()) if CODES.is_file() else {}
        for name, (picture, options) in sources(photo).items():
            stem = FOLDER / f"model{shipped.model_id}-{name}"
            if os.environ["GENERATE_GOLDEN"] != "pictures":
                stem.with_suffix(".ldc").write_bytes(shipped.encode(picture, lossless=False, **options))
            data = stem.with_suffix(".ldc").read_bytes()
            shipped.decode(data).save(stem.with_suffix(".png"), optimize=True)
            if os.environ["GENERATE_GOLDEN"] != "pictures":
                codes[stem.name] = digests(shipped, data)
        CODES.write_text(json.dumps(codes, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("name", [f"model6-{name}" for name in NAMES])
def test_golden_file(shipped, name):
    data = (FOLDER / f"{name}.ldc").read_bytes()
    assert digests(shipped, data) == json.loads(CODES.read_text())[name]
    with Image.open(FOLDER / f"{name}.png") as wanted:
        got = shipped.decode(data)
        assert (got.mode, got.size) == (wanted.mode, wanted.size)
        difference = np.abs(np.asarray(got, int) - np.asarray(wanted, int))
    assert difference.max() <= 1 and difference.mean() < 0.02  # the last bit may differ between machines


def test_a_lossless_file_decodes_for_ever(shipped):
    """Made by `lossless.encode(read.load(...), keep_hidden=True)` of this picture."""
    data = (FOLDER / "lossless-alpha.ldc").read_bytes()
    assert (np.asarray(shipped.decode(data)) == np.dstack([drawn(37, 53), drawn(53, 37)[..., 1].T // 220 * 220])).all()


def test_files_of_a_dropped_model_are_refused(shipped):
    with pytest.raises(UnsupportedError, match="the file was made with model 5, this is model 6"):
        shipped.decode((FOLDER / "dropped-model5.ldc").read_bytes())


def test_nothing_golden_is_forgotten():
    assert (
        {path.stem for path in FOLDER.glob("model*.ldc")}
        == set(json.loads(CODES.read_text()))
        >= {f"model6-{name}" for name in NAMES}
    )
