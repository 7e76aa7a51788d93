"""The decoders of this package check themselves as docs/conformance.md says."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

import codec
from codec import light
from codec.bitstream.container import parse, read_header
from codec.bitstream.entropy import Decoder
from codec.errors import FormatError
from tests.support.codes import decoded_codes, digest
from tests.support.conformance import CASES, FOLDER, SOUND, damaged

LISTED = json.loads(CASES.read_text())
CHECKS = [
    (case["file"], part, entry)
    for case in LISTED["sound"]
    for part, entry in ((None, case), *((cut["bytes"], cut) for cut in case.get("cuts", [])))
]


class Torch:
    def __init__(self, shipped: codec.Codec) -> None:
        self._codec, self.decode = shipped, shipped.decode

    def codes(self, data: bytes, **part: int) -> tuple[np.ndarray, np.ndarray]:
        return decoded_codes(self._codec, data, **part)


@pytest.fixture(scope="module", params=["torch", "onnx"])
def decoder(request, shipped):
    return Torch(shipped) if request.param == "torch" else light.load(LISTED["model"])


@pytest.mark.parametrize("name, part, entry", CHECKS, ids=[f"{n}-{p or 'whole'}" for n, p, _ in CHECKS])
def test_codes_and_pictures(decoder, name, part, entry):
    data, options = (FOLDER / name).read_bytes(), {} if part is None else {"max_bytes": part}
    assert digest(*decoder.codes(data, **options)) == entry["codes"]
    picture = decoder.decode(data, **options)
    with Image.open(FOLDER / entry["picture"]) as expected:
        assert (picture.mode, picture.size) == (entry["mode"], expected.size)
        assert picture.mode == expected.mode
        assert np.abs(np.asarray(picture, int) - np.asarray(expected, int)).max() <= 1


@pytest.mark.parametrize("case", LISTED["refused"], ids=lambda case: case["file"])
def test_refused(decoder, case):
    with pytest.raises(FormatError) as refusal:
        decoder.decode((FOLDER / case["file"]).read_bytes())
    assert str(refusal.value)


def test_the_list_is_the_folder():
    named = {entry["picture"] for _, _, entry in CHECKS}
    for entry in (*LISTED["sound"], *LISTED["refused"]):
        assert hashlib.sha256((FOLDER / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        named.add(entry["file"])
    assert {path.name for path in FOLDER.iterdir()} == named
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1 << 20


def test_damaged_files_are_as_the_script_makes_them():
    made = {f"refused-{name}.ldc": data for name, data, _ in damaged((FOLDER / f"{SOUND}.ldc").read_bytes())}
    assert made == {entry["file"]: (FOLDER / entry["file"]).read_bytes() for entry in LISTED["refused"]}


def test_what_the_files_reach(shipped, monkeypatch):
    """Modes, tiles, quality between all anchors, symbols that escape, cuts behind every section."""
    sound = {case["file"]: (FOLDER / case["file"]).read_bytes() for case in LISTED["sound"]}
    assert {case["mode"] for case in LISTED["sound"]} == {"L", "LA", "RGB", "RGBA"}
    heads = [read_header(data).header for data in sound.values()]
    assert {min(7 * head.level // 6400, 6) for head in heads} == set(range(7))
    assert {0, 6400} <= {head.level for head in heads} and max(head.width for head in heads) > 1024
    escapes: list[int] = []
    golomb = Decoder.golomb
    monkeypatch.setenv("LDC_COMPILED", "never")
    monkeypatch.setattr(Decoder, "golomb", lambda self: escapes.append(golomb(self)) or escapes[-1])
    decoded_codes(shipped, sound[f"model{LISTED['model']}-noise-escapes.ldc"])
    assert max(escapes) > 0
    (cut,) = (case for case in LISTED["sound"] if "cuts" in case)
    parts = [parse(sound[cut["file"]], max_bytes=c["bytes"]).sections for c in cut["cuts"]]
    assert [sum(section is not None for section in sections) for sections in parts] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len({c["codes"] for c in cut["cuts"]}) == 4
