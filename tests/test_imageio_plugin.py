"""imageio on our files, by its own plugin for Pillow."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

import codec
import codec.imageio_plugin  # noqa: F401

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def real(shipped, monkeypatch):
    monkeypatch.setattr(codec, "_codec", lambda model: shipped)


@pytest.mark.parametrize("name, shape", [("gray-odd", (37, 53)), ("drawn", None), ("alpha-odd", None)])
def test_read(shipped, name, shape):
    path = GOLDEN / f"model6-{name}.ldc"
    wanted = np.asarray(shipped.decode(path.read_bytes()), int)
    for source in (path, str(path), path.read_bytes()):
        got = iio.imread(source) if not isinstance(source, bytes) else iio.imread(source, extension=".ldc")
        assert got.dtype == np.uint8 and np.abs(got - wanted).max() <= 1
    assert shape is None or got.shape == shape
    properties = iio.improps(path)
    assert properties.shape == got.shape and properties.dtype == np.uint8
    assert iio.immeta(path)["ldc_model"] == 6


@pytest.mark.parametrize("channels", [None, 3, 4])
def test_write(channels, tmp_path):
    shape = (20, 30) if channels is None else (20, 30, channels)
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    iio.imwrite(tmp_path / "a.ldc", array, lossless=True, keep_hidden=True)
    assert np.array_equal(iio.imread(tmp_path / "a.ldc"), array)
    data = iio.imwrite("<bytes>", array, extension=".ldc", quality=20)
    assert data.startswith(b"\x8aLDC") and iio.imread(data, extension=".ldc").shape == shape
    assert iio.immeta(data, extension=".ldc")["ldc_quality"] == 20


def test_what_is_refused(tmp_path):
    path = tmp_path / "a.ldc"
    path.write_bytes((GOLDEN / "model6-drawn.ldc").read_bytes()[:-1])
    with pytest.raises(OSError, match="cut short"):
        iio.imread(path)
    with pytest.raises(ValueError, match="quality 300 is outside"):
        iio.imwrite(tmp_path / "b.ldc", np.zeros((4, 4), np.uint8), quality=300)
    with pytest.raises(OSError, match="holds one picture"):
        iio.imwrite(tmp_path / "c.ldc", np.zeros((2, 9, 9, 3), np.uint8))
