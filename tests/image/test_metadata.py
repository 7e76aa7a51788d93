"""EXIF and XMP: what is taken from pictures, made to fit the pixels, kept in a file and written again."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

import codec
from codec.bitstream.container import MAX_METADATA, pack, parse
from codec.errors import CorruptError, FormatError, LimitError
from codec.image import metadata, read, upright, write
from codec.image.metadata import MAX_INFLATED, Metadata
from tests.support.files import chunk, png

PIXELS = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>caf\xc3\xa9</dc:title></rdf:Description>'
    b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
MAKER_NOTE = b"note" + bytes(range(40))
EXIF, GPS = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo


def exif(orientation: int = 6) -> bytes:
    """As a camera of 40x30 pixels writes it."""
    tags = Image.Exif()
    tags[0x112], tags[0x10F] = orientation, "Maker"
    tags[EXIF] = {0xA002: 40, 0xA003: 30, 0xA001: 0xFFFF, 0x9003: "2020:01:02 03:04:05", 0x927C: MAKER_NOTE}
    tags[GPS] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return tags.tobytes().removeprefix(metadata.EXIF_START)


def with_thumbnail(order: str) -> tuple[bytes, bytes]:
    """EXIF with a second directory and a JPEG behind it -> both."""
    thumbnail = b"\xff\xd8\xff\xdb" + b"thumbnail" * 30 + b"\xff\xd9"
    mark = b"II*\0" if order == "<" else b"MM\0*"
    maker = b"A maker of cameras\0"
    first, second = 8, 8 + 2 + 24 + 4 + len(maker)
    at = second + 2 + 36 + 4

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        packed = struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
        return struct.pack(f"{order}HHI", tag, kind, count) + packed

    data = mark + struct.pack(f"{order}IH", first, 2)
    data += entry(0x10F, 2, len(maker), first + 2 + 24 + 4) + entry(0x112, 3, 1, 6) + struct.pack(f"{order}I", second)
    data += maker + struct.pack(f"{order}H", 3)
    data += entry(0x103, 3, 1, 6) + entry(0x201, 4, 1, at) + entry(0x202, 4, 1, len(thumbnail))
    return data + struct.pack(f"{order}I", 0) + thumbnail, thumbnail


def picture_file(kind: str, exif: bytes = b"", xmp: bytes = b"") -> bytes:
    out = io.BytesIO()
    told: dict[str, object] = {}
    if kind == "TIFF":
        tags = Image.Exif()
        tags.load(exif)
        tags[700] = xmp
        told = {"exif": tags}
    elif kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        told = {"exif": exif, "pnginfo": info}
    else:
        told = {"exif": metadata.EXIF_START + exif, "xmp": xmp}
    Image.fromarray(PIXELS).save(out, kind, **told)
    return out.getvalue()


def facts(data: bytes) -> tuple[dict, dict, dict]:
    """Main tags but for the places of the others, those of EXIF, and those of GPS."""
    tags = Image.Exif()
    tags.load(data)
    main = {tag: value for tag, value in tags.items() if tag not in (EXIF, GPS)}
    return main, dict(tags.get_ifd(EXIF)), dict(tags.get_ifd(GPS))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("lossless", [True, False])
def test_kept_through_a_file_and_written_again(kind, lossless, small_codec):
    """Of each format in, and to each out that holds it: told of the picture as it is now, 30 wide and 40 high."""
    source = picture_file(kind, exif(), XMP)
    data = small_codec.encode(source, quality=50, lossless=lossless, metadata="keep")
    assert parse(data).header.lossless is lossless
    image = small_codec.decode(data)
    assert image.size == (30, 40)
    wanted = (
        {0x10F: "Maker"} | ({} if kind == "TIFF" else {0x112: 1}),
        {0xA002: 30, 0xA003: 40, 0xA001: 1, 0x9003: "2020:01:02 03:04:05", 0x927C: MAKER_NOTE},
        {1: "N", 2: (1.0, 2.0, 3.0)},
    )
    assert facts(image.info["exif"]) == wanted
    assert image.info["xmp"] == XMP.replace(b'tiff:Orientation="6"', b'tiff:Orientation="1"')
    kept = metadata.unpack(parse(data).metadata)
    for out in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"):
        saved = write.to_bytes(image, out, kept)
        assert saved.notes == ()
        with Image.open(io.BytesIO(saved.data)) as again:
            main, inner, place = facts(again.getexif().tobytes())
            assert main[0x10F] == "Maker" and (inner, place) == wanted[1:]
            assert b"caf\xc3\xa9" in again.info["xmp"]
            assert ImageOps.exif_transpose(again).size == again.size == (30, 40)
    assert small_codec.encode(source, quality=50, lossless=lossless) == small_codec.encode(
        source, quality=50, lossless=lossless, metadata="drop"
    )


def test_without_the_option_or_anything_to_keep_the_bytes_are_the_same():
    plain, told = (codec.encode(f, lossless=True) for f in (picture_file("PNG"), picture_file("PNG", exif(1), XMP)))
    assert plain == told and not parse(told).metadata and plain[5] == 8
    assert codec.encode(PIXELS, lossless=True, metadata="keep") == plain


def test_a_target_counts_metadata(small_codec):
    source = picture_file("JPEG", exif(), XMP)
    kept = len(parse(small_codec.encode(source, metadata="keep", lossless=False)).metadata)
    for lossless in (False, None):
        data = small_codec.encode(source, target_bytes=kept + 1200, metadata="keep", lossless=lossless)
        assert len(data) <= kept + 1200 and len(parse(data).metadata) == kept


@pytest.mark.parametrize("order", "<>")
def test_thumbnails_go_and_all_else_stays_in_its_place(order):
    data, thumbnail = with_thumbnail(order)
    with Image.open(io.BytesIO(picture_file("JPEG", data, XMP))) as image:
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1)[0x202] == len(thumbnail)  # the test's file has one
    out = upright.exif(data, 30, 40)
    assert b"thumbnail" not in out and len(out) < len(data) - len(thumbnail)
    main, _, _ = facts(out)
    assert main == {0x10F: "A maker of cameras", 0x112: 1}
    tags = Image.Exif()
    tags.load(out)
    assert tags.get_ifd(ExifTags.IFD.IFD1) == {}
    changed = [i for i in range(8 + 2 + 24) if out[i] != data[i]]
    assert len(changed) == 1 and out.startswith(data[:8])  # the orientation alone


@pytest.mark.parametrize(
    "before, after",
    [
        (b"<tiff:Orientation>8</tiff:Orientation>", b"<tiff:Orientation>1</tiff:Orientation>"),
        (b"<a tiff:Orientation = '3' b='2'/>", b"<a tiff:Orientation = \"1\" b='2'/>"),
        (b"<tiff:Orientation />x", b"<tiff:Orientation />x"),
        (
            b'<a xmlns:t="http://ns.adobe.com/tiff/1.0/" t:Orientation="6"/>',
            b'<a xmlns:t="http://ns.adobe.com/tiff/1.0/" t:Orientation="1"/>',
        ),
        (
            b'<a exif:PixelXDimension="40" exif:ColorSpace="65535"/>',
            b'<a exif:PixelXDimension="30" exif:ColorSpace="1"/>',
        ),
        (b"a<xmp:Thumbnails><rdf:Alt>\n</rdf:Alt></xmp:Thumbnails>b", b"ab"),
        (b"<dc:title>Orientation=6</dc:title>\0\0", b"<dc:title>Orientation=6</dc:title>"),
        (b"\xff\xfe<\0", None),
    ],
)
def test_xmp_tells_of_the_picture_as_it_is(before, after):
    assert upright.xmp(before, 30, 40) == after


@given(st.binary(max_size=200), st.sampled_from([b"II*\0", b"MM\0*", b""]))
@settings(max_examples=300)
def test_any_exif_is_made_upright_or_is_broken(rest, mark):
    out = upright.exif(mark + rest, 30, 40)
    assert out is None or (out[:4] == mark and len(out) <= len(mark + rest))


@given(st.data())
@settings(max_examples=200)
def test_exif_with_one_byte_changed_never_turns_the_picture(data):
    changed = bytearray(with_thumbnail("<")[0])
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    out = upright.exif(bytes(changed), 30, 40)
    if out is not None:
        assert out[:4] == b"II*\0" and out[8 + 2 + 12 : 8 + 2 + 14] in (changed[22:24], b"\0\0")
        tags = Image.Exif()
        tags.load(out)
        assert tags.get(0x112, 1) == 1


def test_what_is_broken_is_left_out_with_a_note():
    for bad in (b"", b"MM\0*", b"II*\0\xff\xff\xff\xff", b"no EXIF", exif()[:20]):
        kept = metadata.section(Metadata(bad or b"?", b"<x/>"), 1, 1)
        assert metadata.unpack(kept.data) == Metadata(b"", b"<x/>")
        assert kept.notes == ("the EXIF data is broken and was dropped",)
    kept = metadata.section(Metadata(exif(), "<x/>".encode("utf-16")), 1, 1)
    assert (
        kept.notes == ("the XMP data is broken or not in UTF-8, and was dropped",) and metadata.unpack(kept.data).exif
    )
    extended = b'<a xmpNote:HasExtendedXMP="0123456789ABCDEF0123456789ABCDEF"/>'
    assert metadata.section(Metadata(b"", extended), 1, 1).notes == ("the extended part of the XMP data was dropped",)


def test_packets_made_to_take_time_do_not():
    """Names without end, and elements that never close: the test would not end."""
    names = b"".join(b' xmlns:p%d="http://ns.adobe.com/tiff/1.0/"' % k for k in range(20000))
    assert upright.xmp(b"<a" + names + b"/>", 3, 4) is None
    for part in (b"<xmp:Thumbnails ", b"<tiff:Orientation ", b" tiff:Orientation =", b" tiff:Orientation='"):
        hostile = part * (MAX_INFLATED // len(part))
        assert upright.xmp(hostile, 3, 4) is not None
    spaces = b"<tiff:Orientation" + b" " * 2**19 + b" tiff:Orientation" + b" " * 2**18
    assert upright.xmp(spaces, 3, 4) == spaces
    with pytest.raises(LimitError, match="drop the metadata"):
        metadata.section(Metadata(b"", b"a" * (MAX_INFLATED + 1)), 3, 4)


def test_where_png_files_have_it():
    """In a text of hexadecimal digits, as older programs write, and behind the pixels."""
    digits = exif().hex()
    text = f"\nexif\n{len(exif()):8}\n" + "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72)) + "\n"
    old = png(PIXELS, 8, 2, chunk(b"tEXt", b"Raw profile type exif\0" + text.encode()))
    assert read.load(old).metadata.exif == exif() and read.load(old).width == 30
    for packed, body in ((0, XMP), (1, zlib.compress(XMP))):
        late = png(PIXELS, 8, 2, b"", chunk(b"iTXt", b"XML:com.adobe.xmp\0" + bytes([packed]) + b"\0\0\0" + body))
        assert read.load(late).metadata.xmp == XMP
    assert read.load(png(PIXELS, 8, 2, b"", chunk(b"eXIf", exif()))).metadata.exif == exif()


def test_a_picture_of_pillow_brings_its_own():
    image = Image.fromarray(PIXELS)
    image.getexif()[0x10F] = "Maker"
    image.info["xmp"] = XMP.decode()
    kept = metadata.unpack(parse(codec.encode(image, lossless=True, metadata="keep")).metadata)
    assert facts(kept.exif)[0] == {0x10F: "Maker"} and b'Orientation="1"' in kept.xmp


def test_what_is_larger_than_a_section_is_refused():
    noise = np.random.default_rng(1).integers(32, 127, MAX_METADATA + 50000, np.uint8).tobytes()
    with pytest.raises(LimitError, match=r"XMP have \d+ bytes when compressed .* drop the metadata"):
        metadata.pack(Metadata(b"", noise))
    with pytest.raises(LimitError, match=str(MAX_INFLATED)):
        metadata.pack(Metadata(b"", b" " * MAX_INFLATED))
    fits = Metadata(b"", b" " * (MAX_INFLATED - 5))
    assert metadata.unpack(metadata.pack(fits)) == fits


def test_formats_that_hold_none_or_less_say_so():
    image, kept = Image.fromarray(PIXELS), Metadata(exif(1), XMP)
    for kind in ("BMP", "GIF", "JPEG2000", "QOI"):
        assert (
            f"{kind} does not hold this EXIF and XMP data here: it was left out"
            in write.to_bytes(image, kind, kept).notes
        )
    large = write.to_bytes(image, "JPEG", Metadata(exif(1), b" " * 65505))
    assert large.notes == ("JPEG does not hold this XMP data here: it was left out",)
    assert Image.open(io.BytesIO(large.data)).getexif()[0x10F] == "Maker"
    forged = Metadata(b"II*\0" + b"\xff" * 60)  # sound for a reader of the section, and no EXIF
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        saved = write.to_bytes(image, kind, forged)
        assert Image.open(io.BytesIO(saved.data)).size == image.size


PART = st.tuples(st.integers(0, 3), st.binary(max_size=30) | st.just(exif(1)) | st.just(XMP))


@given(st.lists(PART, max_size=3), st.binary(max_size=3), st.sampled_from(["", "more", "less"]))
@settings(max_examples=300)
def test_any_section_is_what_a_writer_makes_or_is_refused(parts, tail, change):
    """Compared with the rules of FORMAT.md, written once more."""
    plain = b"".join(bytes([kind]) + len(part).to_bytes(4, "little") + part for kind, part in parts) + tail
    data = zlib.compress(plain)
    data = {"": data, "more": data + b"x", "less": data[:-1]}[change]
    kinds = [kind for kind, _ in parts]
    sound = not tail and not change and kinds in ([1], [2], [1, 2])
    for kind, part in parts:
        text = part.decode("utf-8", "replace")
        sound &= part[:4] in (b"II*\0", b"MM\0*") if kind == 1 else bool(part) and not {"\0", "\ufffd"} & set(text)
    if not sound:
        with pytest.raises(CorruptError):
            metadata.unpack(data)
        return
    found = metadata.unpack(data)
    assert found == Metadata(dict(parts).get(1, b""), dict(parts).get(2, b""))
    assert metadata.unpack(metadata.pack(found)) == found


@given(st.binary(max_size=100))
@settings(max_examples=100)
def test_noise_is_refused(noise):
    with pytest.raises(CorruptError):
        metadata.unpack(b"\x78" + noise)


def test_a_bomb_is_refused_before_it_takes_memory():
    for size in (MAX_INFLATED + 1, 60 * 2**20):
        bomb = zlib.compress(b"\2" + (size - 5).to_bytes(4, "little") + b" " * (size - 5), 9)
        assert len(bomb) < MAX_METADATA
        with pytest.raises(CorruptError, match="cannot be decoded"):
            metadata.unpack(bomb)


def test_a_wrong_section_is_refused_with_its_picture(small_codec):
    """Right checksums around a section that no writer makes: of a lossless file and of another."""
    for lossless in (True, False):
        stream = parse(small_codec.encode(PIXELS, lossless=lossless))
        for wrong in (b"?", zlib.compress(b""), zlib.compress(b"\3\1\0\0\0a")):
            with pytest.raises(FormatError, match="metadata section"):
                small_codec.decode(pack(stream.header, stream.sections, stream.alpha, wrong))


def test_decoding_without_torch_gives_it_too(tmp_path: Path, shipped):
    from codec import light

    data = shipped.encode(picture_file("JPEG", exif(), XMP), metadata="keep", lossless=False)
    kept, image = metadata.unpack(parse(data).metadata), light.load().decode(data)
    assert image.info["exif"] == metadata.EXIF_START + kept.exif and image.info["xmp"] == kept.xmp
    assert image.getexif()[0x112] == 1
    assert "exif" not in light.load().decode(data, max_bytes=len(data) - 1).info
