"""Every form in which the bytes of a file may come gives the same bytes, and the same picture."""

import io
import mmap
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import codec
from codec import light
from codec.bitstream.source import content
from codec.errors import CodecError, CorruptError, FormatError

GOLDEN = Path(__file__).parents[1] / "golden" / "model6-gray-odd.ldc"
DATA = GOLDEN.read_bytes()


def test_every_form_gives_the_same_bytes(tmp_path):
    (tmp_path / "a.ldc").write_bytes(DATA)
    wide = np.frombuffer(DATA[: len(DATA) // 4 * 4], np.uint32)
    assert content(wide) == DATA[: 4 * len(wide)]
    forms = [DATA, bytearray(DATA), memoryview(DATA), np.frombuffer(DATA, np.uint8), tmp_path / "a.ldc"]
    forms += [str(tmp_path / "a.ldc"), io.BytesIO(DATA)]
    for form in forms:
        assert content(form) == DATA, type(form)
    with open(tmp_path / "a.ldc", "rb") as file, open(tmp_path / "a.ldc", "rb", buffering=0) as raw:
        file.seek(7)  # from its start, wherever it stands
        assert content(file) == content(raw) == DATA
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert content(mapped) == DATA


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_pipe_is_read_to_its_end_though_it_gives_little_at_a_time(buffering):
    reading, writing = os.pipe()

    def feed() -> None:
        with open(writing, "wb", buffering=0) as file:
            for k in range(0, len(DATA), 31):
                file.write(DATA[k : k + 31])

    thread = threading.Thread(target=feed)
    thread.start()
    with open(reading, "rb", buffering=buffering) as pipe:
        assert content(pipe) == DATA
    thread.join()


def test_of_a_file_that_is_not_ours_little_is_read(tmp_path):
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size: int = -1) -> bytes:
            assert size >= 0
            self.asked += size
            return bytes(size)

    endless = Endless()
    with pytest.raises(FormatError, match="not an LDC file"):
        content(endless)
    assert endless.asked < 1000
    longer = io.BytesIO(DATA + bytes(10**6))
    assert len(content(longer)) == len(DATA) + 1  # enough to be refused
    with pytest.raises(CorruptError, match="left over"):
        codec.decode(longer)


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / "a.ldc").write_bytes(DATA)
    closed = open(tmp_path / "a.ldc", "rb")  # noqa: SIM115
    closed.close()
    for wrong, said in (
        (tmp_path / "missing.ldc", "cannot open .*missing.ldc': No such file"),
        (str(tmp_path), "cannot open .*: Is a directory"),
        ("a\0b", "this is no name of a file"),
        (io.StringIO("text"), "open as text"),
        (io.TextIOWrapper(io.BytesIO(DATA), "utf-8"), "open as text"),
        (closed, "cannot be read: .*closed"),
        (b"", "not an LDC file: it is empty"),
        (None, "not NoneType"),
        (17, "not int"),
    ):
        for use in (codec.decode, light.load().decode, codec.load(threads=1).decode_array):
            with pytest.raises(CodecError, match=said) as told:
                use(wrong)
            assert "\n" not in str(told.value)


def test_decode_takes_what_encode_takes(tmp_path):
    (tmp_path / "a.ldc").write_bytes(DATA)
    expected = np.asarray(codec.decode(DATA))
    for form in (tmp_path / "a.ldc", str(tmp_path / "a.ldc"), io.BytesIO(DATA), bytearray(DATA), memoryview(DATA)):
        assert np.array_equal(codec.decode(form), expected), type(form)
    one, torchless = codec.load(threads=1), light.load()
    assert np.array_equal(one.decode(tmp_path / "a.ldc"), expected)
    assert np.array_equal(one.decode_array(io.BytesIO(DATA)), one.decode_array(DATA))
    near = np.abs(np.asarray(torchless.decode(str(tmp_path / "a.ldc")), int) - expected)
    assert near.max() <= 1
    assert np.array_equal(torchless.codes(tmp_path / "a.ldc")[0], torchless.codes(DATA)[0])
    cut = len(DATA) - 9  # no more of a file than is asked for
    assert np.array_equal(codec.decode(tmp_path / "a.ldc", max_bytes=cut), codec.decode(DATA, max_bytes=cut))


def test_upscale_takes_what_encode_takes(photo, tmp_path):
    small = photo.crop((0, 0, 40, 33))
    small.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    expected = np.asarray(codec.upscale(np.asarray(small), 2))
    assert expected.shape == (66, 80, 3)
    for form in (tmp_path / "a.png", str(tmp_path / "a.png"), data, io.BytesIO(data), small):
        assert np.array_equal(codec.upscale(form, 2), expected), type(form)
