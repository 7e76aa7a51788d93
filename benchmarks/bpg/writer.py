"""RGB picture to the bytes of a BPG file."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.bpg import hevc
from benchmarks.bpg.chroma import decimate
from benchmarks.bpg.colour import rgb_to_planes
from benchmarks.bpg.container import BpgFile, ColourSpace, PixelFormat, write_container
from benchmarks.bpg.errors import BpgError
from benchmarks.bpg.x265 import encode_planes

_BLOCK = 8  # smallest coding block of x265


def encode(
    rgb: NDArray[np.uint8],
    q: int,
    pixel_format: PixelFormat = PixelFormat.YUV420_CENTRED,
    colour_space: ColourSpace = ColourSpace.YCBCR_BT601,
) -> bytes:
    """BPG file of a uint8 HWC picture; `q` 0 (best) .. 51, the `-q` of `bpgenc -e x265`."""
    height, width = rgb.shape[:2]
    if min(width, height) <= _BLOCK:
        raise BpgError(f"x265 cannot encode a picture of {width}x{height}: both sides must be over {_BLOCK} pixels")
    if colour_space is ColourSpace.RGB and pixel_format is not PixelFormat.YUV444:
        raise ValueError("RGB needs 4:4:4")
    luma, *chroma = rgb_to_planes(rgb, colour_space)
    planes = [luma]
    if pixel_format is not PixelFormat.GREY:
        planes += [decimate(plane, pixel_format) for plane in chroma]
    padded_width, padded_height = (-(-side // _BLOCK) * _BLOCK for side in (width, height))
    sizes = [(padded_width, padded_height)] + [pixel_format.chroma_size(padded_width, padded_height)] * 2
    padded = [
        np.pad(plane, ((0, h - plane.shape[0]), (0, w - plane.shape[1])), mode="edge")
        for plane, (w, h) in zip(planes, sizes, strict=False)
    ]
    nals = hevc.split_nals(encode_planes(padded, pixel_format.chroma_format_idc, q))
    sps = next(nal for nal in nals if hevc.nal_type(nal) == hevc.NAL_SPS)
    kept = [nal for nal in nals if hevc.nal_type(nal) in (hevc.NAL_PPS, *hevc.NAL_IDR)]
    reduced = hevc.reduce_sps(sps, pixel_format.chroma_format_idc, padded_width, padded_height)
    return write_container(
        BpgFile(pixel_format, colour_space, width, height, hevc.write_reduced_sps(reduced), b"\x00\x00\x01".join(kept))
    )


@lru_cache(maxsize=1)
def writer_version() -> str:
    """The encoder behind `encode`, for the version column."""
    import av

    return f"own writer, x265 in PyAV {av.__version__}, veryslow, tune ssim"
