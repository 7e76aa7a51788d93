"""The decoder of the browser page in Node: the same codes, and the same refusals, as in Python."""

import base64
import hashlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import codec
from codec import manifest, zoo
from codec.api import Codec
from codec.bitstream.container import parse, read_header
from codec.coding.stored import StoredModel, read_stored
from codec.errors import CodecError
from codec.export.write import write_folder
from codec.image import lossless, read
from codec.image.alpha import unpack_alpha
from codec.image.metadata import unpack
from tests.support import damage
from tests.support.codes import decoded_codes, digest
from tests.support.fake_codec import FakeCodec
from tests.support.small import narrow_model, small_coder

GOLDEN = Path(__file__).parents[1] / "golden"
NODE = shutil.which("node")
Ask = Callable[[Iterable[dict]], list[dict]]

pytestmark = pytest.mark.skipif(NODE is None, reason="no Node on the PATH")


def asking(stored: StoredModel, number: int, folder: Path) -> Ask:
    """Tasks of decode.mjs for a model -> its answers."""
    program = Path(__file__).with_name("decode.mjs")
    write_folder(folder, number, stored, {}, lambda line: None)
    command = [str(NODE), str(program), str(folder)]

    def run(tasks: Iterable[dict]) -> list[dict]:
        lines = "".join(json.dumps(task) + "\n" for task in tasks)
        done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture(scope="module")
def ask(shipped, tmp_path_factory) -> Ask:
    stored = read_stored(manifest.read().models[shipped.model_id])
    return asking(stored, shipped.model_id, tmp_path_factory.mktemp("export"))


def section_ends(data: bytes) -> list[int]:
    """Bytes up to the end of each section."""
    info = read_header(data)
    return list(itertools.accumulate(info.section_bytes, initial=info.header_bytes + info.alpha_bytes))[1:]


def test_codes_of_the_golden_files(ask):
    known = json.loads((GOLDEN / "codes.json").read_text())
    paths = sorted(GOLDEN.glob("model6-*.ldc"))
    assert len(paths) >= 9
    for scalar in (False, True):  # with the vectors of WebAssembly, and in plain JavaScript
        answers = ask({"path": str(path), "scalar": scalar} for path in paths)
        assert {path.stem: said["codes"] for path, said in zip(paths, answers, strict=True)} == {
            path.stem: known[path.stem][0] for path in paths
        }


def test_codes_of_files_that_were_cut_at_every_section(shipped, ask):
    path = GOLDEN / "model6-photo-q95.ldc"
    data = path.read_bytes()
    cuts = section_ends(data)
    answers = ask({"path": str(path), "cut": cut} for cut in cuts)
    wanted = [digest(*decoded_codes(shipped, data, max_bytes=cut)) for cut in cuts]
    assert [said["codes"] for said in answers] == wanted
    assert len(set(wanted)) == 5


def test_codes_of_a_picture_of_several_bands(shipped, photo, ask, tmp_path):
    """A network sees 1536 positions at a time; this picture has more, and symbols of all sizes."""
    wide = ImageOps.fit(photo, (1000, 500))
    noise = np.random.default_rng(3).integers(0, 256, (200, 64, 3), np.uint8)  # escapes
    paths = []
    for number, (picture, quality) in enumerate([(wide, 60), (noise, 100)]):
        paths.append(tmp_path / f"{number}.ldc")
        paths[-1].write_bytes(shipped.encode(picture, quality=quality))
    answers = ask({"path": str(path)} for path in paths)
    for path, said in zip(paths, answers, strict=True):
        assert said["codes"] == digest(*decoded_codes(shipped, path.read_bytes()))


def test_codes_of_a_model_in_narrow_arithmetic(photo, tmp_path):
    model, path = narrow_model(), tmp_path / "model.safetensors"
    coder, arrays = small_coder(model)
    zoo.write_model(path, model, "tcq128", {**arrays, **coder.latent.flat(), **coder.tokens.flat()})
    narrow = Codec(zoo.read_model(path, 1000), torch.device("cpu"), 1)
    ask, wanted, tasks = asking(read_stored(path), 1000, tmp_path / "export"), [], []
    assert json.loads((tmp_path / "export" / "manifest.json").read_text())["config"]["arithmetic"] == "narrow"
    for quality in (0, 60, 100):
        file = tmp_path / f"{quality}.ldc"
        file.write_bytes(narrow.encode(ImageOps.fit(photo, (180, 130)), quality=quality))
        tasks += [{"path": str(file), "scalar": scalar} for scalar in (False, True)]
        wanted += [digest(*decoded_codes(narrow, file.read_bytes()))] * 2
    assert [said["codes"] for said in ask(tasks)] == wanted and len(set(wanted)) == 3


def test_alpha_is_that_of_pillow(ask):
    path = GOLDEN / "model6-alpha-odd.ldc"
    stream = parse(path.read_bytes())
    pixels = unpack_alpha(stream.alpha, stream.header.width, stream.header.height)
    (said,) = ask([{"path": str(path)}])
    assert said["alpha"] == hashlib.sha256(pixels.tobytes()).hexdigest()


def test_damaged_containers_are_refused_with_the_same_sentences(ask):
    """Container only: what passes the checks here passes them there, with the same sections."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8))
    gray = photo.convert("L")
    gray.putalpha(gray.point(lambda value: value // 2))
    photo.info["xmp"] = gray.info["xmp"] = b"<x>\xc3\xa9</x>"
    photo.getexif()[0x10F] = "Maker"
    originals = [FakeCodec().encode(photo), FakeCodec().encode(gray, seed=3), codec.encode(gray, lossless=True)]
    originals += [FakeCodec().encode(photo, metadata="keep"), codec.encode(gray, lossless=True, metadata="keep")]
    picture = read.load(photo)
    originals.append(lossless.sealed(picture, lossless.pixels_in(picture, False), 1, reduced=640))
    files = [variant.data for variant in damage.variants(originals, 1200)]
    tasks = [
        {"parse": base64.b64encode(data).decode(), "truncated": truncated} for data in files for truncated in (0, 1)
    ]
    answers = iter(ask(tasks))
    refused = kept = 0
    for data in files:
        for truncated in (False, True):
            said = next(answers)
            try:
                stream = parse(data, allow_truncated=truncated)
                unpack(stream.metadata)
            except CodecError as error:
                sentence = str(error).partition("; --allow-truncated")[0]  # which the page has a button for
                assert said == {"kind": type(error).__name__, "message": sentence}
                refused += 1
            else:
                assert said["sections"] == [None if s is None else len(s) for s in stream.sections]
                assert (said["alpha"], said["metadata"]) == (len(stream.alpha), len(stream.metadata))
                kept += bool(stream.metadata)
    assert refused > 1500 and kept > 20


def test_forged_sections_give_the_codes_of_python_or_a_refusal(shipped, photo, ask, tmp_path):
    """Sound checksums around other bytes: nonsense, but the same nonsense on both sides."""
    originals = [shipped.encode(ImageOps.fit(photo, (70, 50)), quality=30)]
    forged = [v for v in damage.variants(originals, 150) if v.forged]
    paths = []
    for number, variant in enumerate(forged):
        paths.append(tmp_path / f"{number}.ldc")
        paths[-1].write_bytes(variant.data)
    for variant, said in zip(forged, ask({"path": str(path)} for path in paths), strict=True):
        try:
            wanted = digest(*codes_of(shipped, variant.data))
        except CodecError:
            assert "kind" in said, variant.recipe
        else:
            assert said.get("codes") == wanted or "alpha" in said.get("message", ""), (variant.recipe, said)
    assert len(forged) > 15


def codes_of(codec, data: bytes):
    """Codes after the checks of `Codec.decode`."""
    header, _ = parse(data).header, unpack(parse(data).metadata)
    if (header.model_id, header.table_hash) != (codec.model_id, codec.model.table_hash):
        raise CodecError("another model")
    return decoded_codes(codec, data)
