"""Files by which any decoder checks itself: python -m tests.support.conformance [--damaged | --new]

Writes tests/conformance/files and cases.json anew with the default model; docs/conformance.md says what is in them.
With --damaged only the files that must be refused are made, from the sound ones that are there; with --new also the
sound ones that are not there yet.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import matplotlib.cbook
import numpy as np
import skimage.data
from PIL import ExifTags, Image, ImageOps

from codec.bitstream.container import MAGIC, crc16, parse, read_header
from codec.image.alpha import pack_alpha

FOLDER = Path(__file__).parents[1] / "conformance" / "files"
CASES = FOLDER.parent / "cases.json"
CUT = "rgb-q79"  # the file that is cut behind each section
SOUND = "model6-rgba-odd"  # the one that is damaged
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
    ' rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="Fjörð"/></rdf:RDF></x:xmpmeta>'
).encode()
QUALITIES = (0, 7, 21, 36, 50, 64, 79, 93, 100)  # the ends, and one between each two anchors


def pictures() -> dict[str, tuple[Image.Image | np.ndarray, dict[str, object]]]:
    """Name -> picture and options of encode. Photographs are public domain, and come with matplotlib and
    scikit-image."""
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        hopper = ImageOps.fit(image.convert("RGB"), (256, 300))
    astronaut = Image.fromarray(skimage.data.astronaut()).resize((256, 256))
    face, patch = hopper.crop((90, 60, 186, 124)), astronaut.crop((90, 10, 154, 58))
    out = {f"rgb-q{q:02d}": (patch if q != 79 else face, {"quality": q}) for q in QUALITIES}
    odd, seen = hopper.crop((100, 50, 153, 87)), hopper.crop((70, 40, 115, 107))
    alpha = Image.fromarray(_drawn(67, 45)[..., 0])
    seen.putalpha(alpha)
    half = odd.crop((0, 0, 33, 21)).convert("L")
    half.putalpha(Image.fromarray(_drawn(21, 33)[..., 1]))
    return out | {
        "rgb-odd-q33.3": (odd, {"quality": 33.3, "seed": 4_000_000_000}),
        "rgb-effort4": (face.crop((0, 0, 64, 64)), {"quality": 45, "effort": 4}),
        "gray-odd": (odd.convert("L"), {"quality": 60}),
        "gray-alpha-odd": (half, {"quality": 40}),
        "rgba-odd": (seen, {"quality": 55}),
        "drawn": (_drawn(64, 33), {"quality": 85}),
        "noise-escapes": (_noise(), {"quality": 100}),
        "pixel": (_drawn(1, 1), {"quality": 50}),
        "flat": (np.full((40, 40, 3), (200, 120, 30), np.uint8), {"quality": 0}),
        "row": (_drawn(1, 200), {"quality": 70}),
        "tiles": (_drawn(40, 1100), {"quality": 15}),
        "metadata": (_told(patch.crop((0, 0, 33, 21)), True, True), {"quality": 40, "metadata": "keep"}),
        "metadata-alpha": (_told(half.copy(), False, True), {"quality": 30, "seed": 5, "metadata": "keep"}),
        "metadata-gray": (_told(half.convert("L"), True, False), {"quality": 30, "metadata": "keep"}),
    }


def _told(image: Image.Image, exif: bool, xmp: bool) -> Image.Image:
    """The same picture with metadata."""
    if exif:
        tags = Image.Exif()
        tags[0x10E], tags[0x112], tags[ExifTags.IFD.GPSInfo] = "A picture", 1, {1: "N", 2: (51.0, 28.0, 40.0)}
        image.info["exif"] = tags.tobytes()
    if xmp:
        image.info["xmp"] = XMP
    return image


def _drawn(height: int, width: int) -> np.ndarray:
    """A ramp, a disc and bars, uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    disc = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(height, width) / 3) ** 2
    return np.stack([x * 255 // max(1, width - 1), np.where(disc, 220, 40), 60 + 120 * (x // 8 % 2)], 2).astype(
        np.uint8
    )


def _noise() -> np.ndarray:
    """Black and white at random: latents so large that they escape."""
    return np.random.default_rng(1).choice([0, 255], (40, 40, 3)).astype(np.uint8)


def damaged(data: bytes) -> Iterator[tuple[str, bytes, str]]:
    """A sound file of the shipped model, with alpha -> name, bytes and why they must be refused."""
    info, stream = read_header(data), parse(data)
    head = data[: info.header_bytes]
    sections, header = list(stream.sections), info.header

    def built(**changes: object) -> bytes:
        """The same file with other fields and right checksums."""
        f = {"version": 1, "flags": 2, "model": header.model_id, "tables": header.table_hash, "width": header.width,
             "height": header.height, "level": header.level, "seed": b"", "alpha": stream.alpha, "sections": sections,
             "count": None, "metadata": b"", **changes}  # fmt: skip
        out = MAGIC + bytes([f["version"], f["flags"]]) + _varint(f["model"]) + struct.pack("<I", f["tables"])
        out += _varint(f["width"]) + _varint(f["height"]) + struct.pack("<H", f["level"]) + f["seed"]
        if f["flags"] & 2:
            out += _entry(f["alpha"])
        if f["flags"] & 16:
            out += _entry(f["metadata"])
        out += bytes([len(f["sections"]) if f["count"] is None else f["count"]])
        out += b"".join(_entry(section) for section in f["sections"])
        out += struct.pack("<H", crc16(out))
        body = f["alpha"] + b"".join(f["sections"]) + f["metadata"]
        return out + struct.pack("<I", zlib.crc32(body, zlib.crc32(out))) + body

    assert built() == data
    alpha = np.asarray(Image.fromarray(_drawn(header.height, header.width)[..., 0]))
    yield "empty", b"", "there is nothing in it"
    yield "other-magic", b"\x89PNG" + data[4:], "it begins with other bytes"
    yield "text-mode", data.replace(b"\x8aLDC", b"\x0aLDC", 1), "a transfer changed its first byte"
    yield "version-2", built(version=2), "the version is not 1"
    yield "unknown-flag", built(flags=2 | 64), "a flag is not known"
    yield "reduced-flag", built(flags=2 | 32), "its colours are reduced, which only a lossless picture can have"
    yield "lossless-flag", built(flags=2 | 8), "a model, a level and sections that no lossless picture has"
    yield "header-cut", head[:-9], "it ends inside the header"
    yield "header-bit", data[:7] + bytes([data[7] ^ 16]) + data[8:], "the CRC-16 of the header does not match"
    yield "varint-long", _long_varint(built, header.width), "a number is not in its shortest form"
    yield "no-sections", built(sections=[], alpha=stream.alpha), "it has no sections"
    yield "17-sections", built(sections=[b"a"] * 17), "it has more than 16 sections"
    yield "4-sections", built(sections=sections[:4]), "its model has 5 sections"
    yield "6-sections", built(sections=[*sections, b"a"]), "its model has 5 sections"
    yield "width-0", built(width=0), "the width is 0"
    yield "width-65536", built(width=65536, height=1), "the width is above 65535"
    yield "huge", built(width=60000, height=60000), "it has more than 67,108,864 pixels"
    yield "level-6401", built(level=6401), "the level is above 6400"
    yield "seed-0", built(flags=6, seed=b"\0"), "the seed that a flag announces is 0"
    yield "promises-2-gib", _promising(built, 2**31), "the promised payload is above 1,073,741,824 bytes"
    yield "unknown-model", built(model=4), "there is no such model"
    yield "other-tables", built(tables=header.table_hash ^ 1), "the table hash is not the model's"
    yield "cut", data[:-5], "it is shorter than its header says, and nobody said that this is allowed"
    yield "left-over", data + b"\0", "something follows the payload"
    yield "payload-bit", data[:-3] + bytes([data[-3] ^ 1]) + data[-2:], "the CRC-32 does not match"
    yield "section-bit", _last_bit(data), "the CRC-16 of a section does not match, the CRC-32 does"
    yield "alpha-size", built(alpha=pack_alpha(alpha[:-1])), "the alpha section has another size than the picture"
    yield "alpha-text", built(alpha=_with_text(stream.alpha)), "the alpha section has a chunk that is not allowed"
    yield "alpha-jpeg", built(alpha=b"\xff\xd8\xff\xe0" + stream.alpha[4:]), "the alpha section is no PNG"
    told = zlib.compress(b"\2" + struct.pack("<I", len(XMP)) + XMP)
    sound = built(flags=2 | 16, metadata=told)
    parse(sound)
    yield "metadata-cut", sound[:-1], "it ends inside its metadata, and nobody said that this is allowed"
    yield "metadata-bit", sound[:-1] + bytes([sound[-1] ^ 1]), "the CRC-32 does not match"
    yield "metadata-crc", _last_bit(sound), "the CRC-16 of the metadata does not match, the CRC-32 does"
    for name, metadata, why in (
        ("empty", b"", "the metadata that a flag announces is empty"),
        ("large", bytes(65537), "the metadata section has more than 65536 bytes"),
        ("noise", b"noise", "the metadata section is no zlib stream"),
        ("more", told + b"\0", "something follows the zlib stream in the metadata section"),
        ("short", told[:-1], "the zlib stream of the metadata section is cut off"),
        ("bomb", zlib.compress(b"\2" + struct.pack("<I", 2**20) + b" " * 2**20, 9), "metadata above 1 MiB"),
        ("nothing", zlib.compress(b""), "the metadata section has no part"),
        ("kind", zlib.compress(b"\3\4\0\0\0abcd"), "a part of the metadata has a kind that is not known"),
        ("twice", zlib.compress(2 * (b"\2\4\0\0\0abcd")), "the same kind of metadata comes twice"),
        ("size", zlib.compress(b"\2\5\0\0\0abcd"), "a part of the metadata is shorter than it says"),
        ("exif", zlib.compress(b"\1\4\0\0\0Exif"), "the EXIF does not begin with a byte order mark"),
        ("xmp", zlib.compress(b"\2\4\0\0\0\xff\xfea\0"), "the XMP is not UTF-8"),
    ):
        yield f"metadata-{name}", built(flags=2 | 16, metadata=metadata), why
    yield "escape", built(sections=[sections[0], *[b"\xff" * 400] * 4]), "its symbols are none that an encoder writes"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _entry(piece: bytes) -> bytes:
    return _varint(len(piece)) + (struct.pack("<H", crc16(piece)) if piece else b"")


def _sealed(start: bytes, body: bytes) -> bytes:
    start += struct.pack("<H", crc16(start))
    return start + struct.pack("<I", zlib.crc32(body, zlib.crc32(start))) + body


def _long_varint(built, width: int) -> bytes:
    data = built()
    info = read_header(data)
    start, at = data[: info.header_bytes - 6], 11  # magic, version, flags, model (1 byte), table hash
    assert start[at] == width < 128
    return _sealed(start[:at] + bytes([width | 128, 0]) + start[at + 1 :], data[info.header_bytes :])


def _promising(built, size: int) -> bytes:
    data = built(sections=[b"ab"])
    info = read_header(data)
    start = data[: info.header_bytes - 6]
    assert start[-3:] == _entry(b"ab")
    return _sealed(start[:-3] + _varint(size) + start[-2:], data[info.header_bytes :])


def _last_bit(data: bytes) -> bytes:
    """The last bit of the payload changed, under right checksums of the header and the file."""
    info = read_header(data)
    start, body = data[: info.header_bytes - 6], bytearray(data[info.header_bytes :])
    body[-1] ^= 1
    return _sealed(start, bytes(body))


def _with_text(png: bytes) -> bytes:
    chunk = b"tEXtComment\0hello"
    text = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:33] + text + png[33:]


def write_damaged() -> list[dict[str, str]]:
    """Writes the files that must be refused -> their entries."""
    entries = []
    for name, data, why in damaged((FOLDER / f"{SOUND}.ldc").read_bytes()):
        (FOLDER / f"refused-{name}.ldc").write_bytes(data)
        entries.append({"file": f"refused-{name}.ldc", "sha256": hashlib.sha256(data).hexdigest(), "why": why})
    return entries


def cuts(data: bytes) -> list[int]:
    """Bytes up to the end of each section, and up to the middle of the one behind it."""
    info = read_header(data)
    ends = info.header_bytes + info.alpha_bytes + np.cumsum(info.section_bytes)
    return sorted({int(n) for a, b in zip(ends, ends[1:], strict=False) for n in (a, (a + b) // 2)})


def main() -> None:
    from codec import load
    from tests.support.codes import decoded_codes, digest

    parser = argparse.ArgumentParser(prog="tests.support.conformance", description=__doc__.split("\n\n")[0])
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--damaged", action="store_true", help="only those that must be refused")
    some.add_argument("--new", action="store_true", help="the sound ones that are not there yet, and those")
    args = parser.parse_args()
    listed = json.loads(CASES.read_text()) if args.damaged or args.new else {}
    if not args.damaged:
        codec, there = load(threads=1), {entry["file"] for entry in listed.get("sound", [])}
        FOLDER.mkdir(exist_ok=True)
        for name, (picture, options) in pictures().items():
            stem = f"model{codec.model_id}-{name}"
            if f"{stem}.ldc" in there:
                continue
            data = codec.encode(picture, lossless=False, **options)
            (FOLDER / f"{stem}.ldc").write_bytes(data)

            def entry(png: str, **part: object) -> dict[str, object]:
                image = codec.decode(data, **part)  # noqa: B023
                image.save(FOLDER / png, optimize=True)
                codes = digest(*decoded_codes(codec, data, **part))  # noqa: B023
                return {"codes": codes, "picture": png, "mode": image.mode}

            made = {"file": f"{stem}.ldc", "sha256": hashlib.sha256(data).hexdigest(), **entry(f"{stem}.png")}
            if name == CUT:
                made["cuts"] = [{"bytes": n, **entry(f"{stem}-{n}.png", max_bytes=n)} for n in cuts(data)]
            listed.setdefault("sound", []).append(made)
        listed["model"] = codec.model_id
    listed["refused"] = write_damaged()
    CASES.write_text(json.dumps(listed, indent=1) + "\n")


if __name__ == "__main__":
    main()
