"""The BPG container: fixed header, extensions, HEVC header, HEVC data.

Facts of the layout: BPG specification 0.9.5, section 3. Every number a file can set is bounded here.
"""

from dataclasses import dataclass
from enum import IntEnum

from benchmarks.bpg.bits import read_ue7, write_ue7
from benchmarks.bpg.errors import BpgError

MAGIC = b"BPG\xfb"
MAX_SIDE = 1 << 15
MAX_PIXELS = 1 << 27


class PixelFormat(IntEnum):
    """Chroma format and siting; "centred" is JPEG's siting, "cosited" MPEG-2's."""

    GREY = 0
    YUV420_CENTRED = 1
    YUV422_CENTRED = 2
    YUV444 = 3
    YUV420_COSITED = 4
    YUV422_COSITED = 5

    @property
    def chroma_format_idc(self) -> int:
        """HEVC's number for it: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4."""
        return {0: 0, 1: 1, 2: 2, 3: 3, 4: 1, 5: 2}[self.value]

    def chroma_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the chroma planes of a picture of this size, in samples."""
        halves_x, halves_y = self.chroma_format_idc in (1, 2), self.chroma_format_idc == 1
        return (width + 1) // 2 if halves_x else width, (height + 1) // 2 if halves_y else height


class ColourSpace(IntEnum):
    """Meaning of the three planes."""

    YCBCR_BT601 = 0
    RGB = 1
    YCGCO = 2
    YCBCR_BT709 = 3
    YCBCR_BT2020 = 4


@dataclass(frozen=True)
class BpgFile:
    """A parsed file: picture facts, the reduced SPS bytes, the NAL units without first start code."""

    pixel_format: PixelFormat
    colour_space: ColourSpace
    width: int
    height: int
    hevc_header: bytes
    hevc_data: bytes


def write_container(picture: BpgFile) -> bytes:
    """The whole file; the picture data length is left open (0), as bpgenc does."""
    return b"".join(
        (
            MAGIC,
            bytes([picture.pixel_format << 5, picture.colour_space << 4]),
            write_ue7(picture.width),
            write_ue7(picture.height),
            write_ue7(0),
            write_ue7(len(picture.hevc_header)),
            picture.hevc_header,
            picture.hevc_data,
        )
    )


def read_container(data: bytes) -> BpgFile:
    """Parse and bound the header; refuses what the reader does not support, by name."""
    if data[:4] != MAGIC:
        raise BpgError("not a BPG file: the first bytes are not those of BPG")
    if len(data) < 6:
        raise BpgError("damaged BPG file: the header ends too early")
    format_code, alpha1, depth = data[4] >> 5, (data[4] >> 4) & 1, (data[4] & 15) + 8
    space_code, flags = data[5] >> 4, data[5] & 15
    has_extension, alpha2, limited, animation = flags >> 3, (flags >> 2) & 1, (flags >> 1) & 1, flags & 1
    for present, what in (
        (alpha1 or alpha2, "an alpha or CMYK plane"),
        (animation, "an animation"),
        (limited, "limited-range colour"),
        (depth != 8, f"{depth} bits per sample"),
        (format_code > 5, f"the unknown pixel format {format_code}"),
        (space_code not in (0, 1, 3, 4), f"colour space {space_code} (YCgCo or unknown)"),
    ):
        if present:
            raise BpgError(f"BPG file with {what}: not supported")
    width, position = read_ue7(data, 6)
    height, position = read_ue7(data, position)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise BpgError(f"BPG file with a size of {width}x{height}: out of bounds")
    picture_length, position = read_ue7(data, position)
    if has_extension:
        extension_length, position = read_ue7(data, position)
        position += extension_length
    end = position + picture_length if picture_length else len(data)
    if position >= len(data) or end > len(data):
        raise BpgError("damaged BPG file: it is shorter than its header says")
    header_length, position = read_ue7(data, position)
    if position + header_length >= end:
        raise BpgError("damaged BPG file: it is shorter than its header says")
    pixel_format, colour_space = PixelFormat(format_code), ColourSpace(space_code)
    if colour_space is ColourSpace.RGB and pixel_format is not PixelFormat.YUV444:
        raise BpgError("damaged BPG file: RGB with subsampled planes")
    return BpgFile(
        pixel_format,
        colour_space,
        width,
        height,
        data[position : position + header_length],
        data[position + header_length : end],
    )
