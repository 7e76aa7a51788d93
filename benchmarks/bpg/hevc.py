"""HEVC parameter sets: the reduced SPS of a BPG file, and the full VPS and SPS that a decoder wants.

Syntax: ITU-T H.265 7.3.2; what BPG leaves out and implies: BPG specification 0.9.5, section 3.3.
"""

from dataclasses import dataclass

from benchmarks.bpg.bits import BitReader, BitWriter, add_emulation_prevention, remove_emulation_prevention
from benchmarks.bpg.errors import BpgError

START_CODE = b"\x00\x00\x00\x01"
NAL_VPS, NAL_SPS, NAL_PPS, NAL_AUD, NAL_SEI_PREFIX, NAL_SEI_SUFFIX = 32, 33, 34, 35, 39, 40
NAL_IDR = (19, 20)


@dataclass(frozen=True)
class Pcm:
    """PCM fields of the SPS, as coded."""

    luma_depth_minus1: int
    chroma_depth_minus1: int
    log2_min_size_minus3: int
    log2_diff_size: int
    loop_filter_off: int


@dataclass(frozen=True)
class ReducedSps:
    """The fields of an SPS that BPG keeps, as coded, in BPG's order."""

    log2_min_cb_minus3: int
    log2_diff_cb: int
    log2_min_tb_minus2: int
    log2_diff_tb: int
    intra_depth: int
    sao: int
    pcm: Pcm | None
    strong_smoothing: int
    range_flags: int | None  # nine flags, first in the highest bit; None: no extension

    @property
    def min_cb(self) -> int:
        """Smallest coding block side in samples: coded sizes are multiples of it."""
        return 8 << self.log2_min_cb_minus3

    @property
    def implicit_rdpcm(self) -> bool:
        """Third range flag. FFmpeg decodes such files of `bpgenc -e jctvc -lossless` wrongly, silently."""
        return bool(self.range_flags is not None and (self.range_flags >> 6) & 1)


def _read_pcm(bits: BitReader) -> Pcm | None:
    return Pcm(bits.u(4), bits.u(4), bits.ue(), bits.ue(), bits.u(1)) if bits.u(1) else None


def _write_pcm(bits: BitWriter, pcm: Pcm | None) -> None:
    bits.u(int(pcm is not None), 1)
    if pcm is not None:
        bits.u(pcm.luma_depth_minus1, 4)
        bits.u(pcm.chroma_depth_minus1, 4)
        bits.ue(pcm.log2_min_size_minus3, pcm.log2_diff_size)
        bits.u(pcm.loop_filter_off, 1)


def _read_extension(bits: BitReader) -> int | None:
    if not bits.u(1):
        return None
    has_range, others = bits.u(1), bits.u(7)
    if others:
        raise BpgError("BPG file with an unknown HEVC extension: not supported")
    return bits.u(9) if has_range else None


def _write_extension(bits: BitWriter, range_flags: int | None) -> None:
    bits.u(int(range_flags is not None), 1)
    if range_flags is not None:
        bits.u(0b1000_0000, 8)
        bits.u(range_flags, 9)


def _skip_vui(bits: BitReader) -> None:
    """Step over the VUI (Annex E.2.1): hints for display and timing that BPG leaves out."""
    if bits.u(1) and bits.u(8) == 255:  # aspect ratio
        bits.u(32)
    if bits.u(1):  # overscan
        bits.u(1)
    if bits.u(1):  # video signal type
        bits.u(4)
        if bits.u(1):
            bits.u(24)
    if bits.u(1):  # chroma sample location
        bits.ue(), bits.ue()
    bits.u(3)
    if bits.u(1):  # default display window
        bits.ue(), bits.ue(), bits.ue(), bits.ue()
    if bits.u(1):  # timing
        bits.u(64)
        if bits.u(1):
            bits.ue()
        if bits.u(1):
            raise BpgError("the HEVC encoder wrote HRD parameters, which BPG cannot hold")
    if bits.u(1):  # bitstream restriction
        bits.u(3)
        bits.ue(), bits.ue(), bits.ue(), bits.ue(), bits.ue()


def read_reduced_sps(header: bytes) -> ReducedSps:
    """Parse the HEVC header of a BPG file and bound its block sizes."""
    bits = BitReader(header)
    sps = ReducedSps(
        bits.ue(), bits.ue(), bits.ue(), bits.ue(), bits.ue(),
        bits.u(1), _read_pcm(bits), bits.u(1), _read_extension(bits),
    )  # fmt: skip
    largest = sps.log2_min_cb_minus3 + 3 + sps.log2_diff_cb
    if largest > 6 or sps.log2_min_tb_minus2 + 2 + sps.log2_diff_tb > 5 or sps.intra_depth > 4:
        raise BpgError("damaged BPG file: impossible HEVC block sizes")
    return sps


def write_reduced_sps(sps: ReducedSps) -> bytes:
    """The HEVC header of a BPG file: zero bits to the byte boundary, no stop bit, no escapes."""
    bits = BitWriter()
    bits.ue(sps.log2_min_cb_minus3, sps.log2_diff_cb, sps.log2_min_tb_minus2, sps.log2_diff_tb, sps.intra_depth)
    bits.u(sps.sao, 1)
    _write_pcm(bits, sps.pcm)
    bits.u(sps.strong_smoothing, 1)
    _write_extension(bits, sps.range_flags)
    return bits.bytes_padded()


def reduce_sps(nal: bytes, chroma_format_idc: int, width: int, height: int) -> ReducedSps:
    """Read an encoder's SPS and check that everything BPG implies holds in it."""
    bits = BitReader(remove_emulation_prevention(nal[2:]))

    def expect(what: str, value: int, wanted: int) -> None:
        if value != wanted:
            raise BpgError(f"the HEVC encoder wrote {what} = {value}, BPG needs {wanted}")

    expect("video parameter set id", bits.u(4), 0)
    expect("sub-layers - 1", bits.u(3), 0)
    bits.u(1 + 96)  # temporal nesting, profile_tier_level
    expect("SPS id", bits.ue(), 0)
    expect("chroma format", bits.ue(), chroma_format_idc)
    if chroma_format_idc == 3:
        expect("separate colour planes", bits.u(1), 0)
    expect("width", bits.ue(), width)
    expect("height", bits.ue(), height)
    expect("conformance window", bits.u(1), 0)
    expect("luma depth - 8", bits.ue(), 0)
    expect("chroma depth - 8", bits.ue(), 0)
    expect("log2 of POC limit - 4", bits.ue(), 4)
    bits.u(1)
    bits.ue(), bits.ue(), bits.ue()  # picture buffering of the only sub-layer
    blocks = [bits.ue() for _ in range(4)]
    inter_depth, intra_depth = bits.ue(), bits.ue()
    expect("inter transform depth", inter_depth, intra_depth)
    expect("scaling lists", bits.u(1), 0)
    expect("asymmetric partitions", bits.u(1), 1)
    sao, pcm = bits.u(1), _read_pcm(bits)
    expect("short-term reference sets", bits.ue(), 0)
    expect("long-term references", bits.u(1), 0)
    expect("temporal motion vectors", bits.u(1), 1)
    strong_smoothing = bits.u(1)
    if bits.u(1):
        _skip_vui(bits)
    return ReducedSps(*blocks, intra_depth, sao, pcm, strong_smoothing, _read_extension(bits))


def _write_profile_tier_level(bits: BitWriter) -> None:
    bits.u(4, 8)  # profile space 0, main tier, range extensions profile
    bits.u(1 << 27, 32)  # compatible with profile 4 only
    bits.u(0b1001, 4)  # progressive, not interlaced, packing allowed, frames only
    bits.u(0, 44)
    bits.u(255, 8)  # level: no limit


def build_vps() -> bytes:
    """A video parameter set for one intra picture, with its NAL header."""
    bits = BitWriter()
    bits.u(0, 4)
    bits.u(3, 2)
    bits.u(0, 9)
    bits.u(1, 1)
    bits.u(0xFFFF, 16)
    _write_profile_tier_level(bits)
    bits.u(1, 1)
    bits.ue(1, 0, 0)
    bits.u(0, 6)
    bits.ue(0)
    bits.u(0, 2)
    return bytes([NAL_VPS << 1, 1]) + add_emulation_prevention(bits.bytes_rbsp())


def build_sps(sps: ReducedSps, chroma_format_idc: int, width: int, height: int) -> bytes:
    """The full SPS for 8-bit planes of the true size `width` x `height`, with its NAL header."""
    coded_width, coded_height = (-(-side // sps.min_cb) * sps.min_cb for side in (width, height))
    bits = BitWriter()
    bits.u(0, 7)
    bits.u(1, 1)
    _write_profile_tier_level(bits)
    bits.ue(0, chroma_format_idc)
    if chroma_format_idc == 3:
        bits.u(0, 1)
    bits.ue(coded_width, coded_height)
    bits.u(0, 1)
    bits.ue(0, 0, 4)
    bits.u(1, 1)
    bits.ue(1, 0, 0)
    bits.ue(sps.log2_min_cb_minus3, sps.log2_diff_cb, sps.log2_min_tb_minus2, sps.log2_diff_tb)
    bits.ue(sps.intra_depth, sps.intra_depth)
    bits.u(0b01, 2)  # no scaling lists, asymmetric partitions
    bits.u(sps.sao, 1)
    _write_pcm(bits, sps.pcm)
    bits.ue(0)
    bits.u(0b01, 2)  # no long-term references, temporal motion vectors
    bits.u(sps.strong_smoothing, 1)
    bits.u(0, 1)
    _write_extension(bits, sps.range_flags)
    return bytes([NAL_SPS << 1, 1]) + add_emulation_prevention(bits.bytes_rbsp())


def split_nals(stream: bytes) -> list[bytes]:
    """NAL units of an Annex B byte stream, start codes and trailing zero bytes removed."""
    return [part.rstrip(b"\x00") for part in stream.split(b"\x00\x00\x01") if part.strip(b"\x00")]


def nal_type(nal: bytes) -> int:
    """nal_unit_type of a NAL unit."""
    return (nal[0] >> 1) & 63
