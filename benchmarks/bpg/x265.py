"""One HEVC intra picture through PyAV: x265 writes it, FFmpeg's hevc decoder reads it.

Planes go in and come out as arrays: FFmpeg's own RGB conversion would take a stream without VUI for
limited range and cost 2 to 8 levels of RMSE.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from benchmarks.bpg.errors import BpgError

_PIXEL_FORMATS = {0: "gray", 1: "yuv420p", 2: "yuv422p", 3: "yuv444p"}  # by chroma_format_idc
_DECODED_FORMATS = {0: ("gray",), 1: ("yuv420p", "yuvj420p"), 2: ("yuv422p", "yuvj422p"), 3: ("yuv444p", "yuvj444p")}

# What bpgenc's x265 front end sets (level 8 = veryslow, tune ssim); wpp=0 makes the bytes independent of the core
# count.
_X265 = "keyint=1:info=0:repeat-headers=1:log-level=none:psy-rd=0:psy-rdoq=0:aq-mode=0:wpp=0:frame-threads=1:pools=none"


def encode_planes(planes: list[NDArray[np.uint8]], chroma_format_idc: int, q: int) -> bytes:
    """Annex B stream (VPS, SPS, PPS, IDR slice). `q` is x265's constant QP, 0..51; slices get q - 3."""
    import av

    height, width = planes[0].shape
    context = av.CodecContext.create("libx265", "w")
    context.width, context.height = width, height
    context.pix_fmt = _PIXEL_FORMATS[chroma_format_idc]
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.thread_count = 1
    context.options = {"preset": "veryslow", "tune": "ssim", "x265-params": f"qp={q}:{_X265}"}
    frame = av.VideoFrame(width, height, context.pix_fmt)
    for source, target in zip(planes, frame.planes, strict=True):
        buffer = np.zeros((target.height, target.line_size), np.uint8)
        buffer[: source.shape[0], : source.shape[1]] = source
        target.update(buffer)
    frame.pts = 0
    try:
        packets = list(context.encode(frame)) + list(context.encode(None))
    except av.FFmpegError as error:
        raise BpgError(f"x265 could not encode a picture of {width}x{height}: {error}") from None
    return b"".join(bytes(packet) for packet in packets)


def decode_planes(stream: bytes, chroma_format_idc: int) -> list[NDArray[np.uint8]]:
    """Planes of the one picture of an Annex B stream, at coded size."""
    import av

    context = av.CodecContext.create("hevc", "r")
    context.thread_count = 1
    context.options = {"err_detect": "explode"}
    try:
        frames = list(context.decode(av.Packet(stream))) + list(context.decode(None))
    except av.FFmpegError as error:
        raise BpgError(f"damaged BPG file: the HEVC decoder refuses it ({error})") from None
    if len(frames) != 1 or frames[0].format.name not in _DECODED_FORMATS[chroma_format_idc]:
        raise BpgError("damaged BPG file: it does not hold one picture of the format its header says")
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy()
        for plane in frames[0].planes
    ]
