"""Bytes of a BPG file to an RGB picture."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.bpg import hevc
from benchmarks.bpg.chroma import interpolate
from benchmarks.bpg.colour import planes_to_rgb
from benchmarks.bpg.container import read_container
from benchmarks.bpg.errors import BpgError
from benchmarks.bpg.x265 import decode_planes


def decode(data: bytes) -> NDArray[np.uint8]:
    """uint8 HWC picture: 8-bit YCbCr (4:2:0, 4:2:2, 4:4:4), RGB or grey; a `BpgError` for anything else."""
    picture = read_container(data)
    sps = hevc.read_reduced_sps(picture.hevc_header)
    if sps.implicit_rdpcm:
        raise BpgError("BPG file with implicit RDPCM (lossless jctvc): not supported, FFmpeg decodes it wrongly")
    idc = picture.pixel_format.chroma_format_idc
    stream = hevc.START_CODE.join(
        (b"", hevc.build_vps(), hevc.build_sps(sps, idc, picture.width, picture.height), picture.hevc_data)
    )
    luma, *chroma = decode_planes(stream, idc)
    width, height = picture.width, picture.height
    if luma.shape[0] < height or luma.shape[1] < width:
        raise BpgError("damaged BPG file: the picture in it is smaller than its header says")
    planes = [luma[:height, :width]]
    chroma_width, chroma_height = picture.pixel_format.chroma_size(width, height)
    for plane in chroma:
        cut = plane[:chroma_height, :chroma_width]
        planes.append(interpolate(cut, picture.pixel_format, width, height))
    return planes_to_rgb(planes, picture.colour_space)
