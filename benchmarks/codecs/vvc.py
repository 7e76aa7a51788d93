"""VVC intra through VVenC and VVdeC (`vvencapp`, `vvdecapp`) when both are on the PATH.

VVenC codes 4:2:0 only. Colour and chroma filters are those of BPG 4:2:0, so the two compare like for like.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.bpg.chroma import decimate, interpolate
from benchmarks.bpg.colour import planes_to_rgb, rgb_to_planes
from benchmarks.bpg.container import ColourSpace, PixelFormat
from benchmarks.codecs.base import Allowed, CodecAbsent, Image8, Search
from benchmarks.codecs.tools import run_tool
from benchmarks.harness.errors import BenchmarkError

_SPACE, _FORMAT = ColourSpace.YCBCR_BT601, PixelFormat.YUV420_CENTRED


class Vvc:
    """Setting = QP; file = width and height (2 bytes each) and the VVC stream, which holds padded planes."""

    name = "vvc"
    settings = (52, 47, 42, 37, 32, 27, 22, 17)
    search = Search(63, 0, -1)
    allowed = Allowed(0, 63, whole=True)

    def __init__(self) -> None:
        self._encoder, self._decoder = shutil.which("vvencapp"), shutil.which("vvdecapp")
        if not (self._encoder and self._decoder):
            raise CodecAbsent("vvencapp and vvdecapp are not on the PATH")
        self.version = " ".join(run_tool([self._encoder, "--version"]).split())[:80] + ", slower, qpa 0, 4:2:0"

    def encode(self, image: Image8, setting: float) -> bytes:
        height, width = image.shape[:2]
        luma, *chroma = rgb_to_planes(image, _SPACE)
        planes = [luma, *(decimate(plane, _FORMAT) for plane in chroma)]
        padded_width, padded_height = -(-width // 8) * 8, -(-height // 8) * 8
        sizes = [(padded_height, padded_width)] + [(padded_height // 2, padded_width // 2)] * 2
        raw = b"".join(
            np.pad(plane, ((0, h - plane.shape[0]), (0, w - plane.shape[1])), mode="edge").tobytes()
            for plane, (h, w) in zip(planes, sizes, strict=True)
        )
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.yuv"), Path(folder, "out.266")
            source.write_bytes(raw)
            run_tool([
                self._encoder, "-i", str(source), "-s", f"{padded_width}x{padded_height}", "-c", "yuv420",
                "-r", "25", "-f", "1", "--preset", "slower", "--qp", f"{setting:g}", "--qpa", "0",
                "--internal-bitdepth", "10", "-t", "1", "-v", "1", "-o", str(target),
            ])  # fmt: skip
            return width.to_bytes(2, "big") + height.to_bytes(2, "big") + target.read_bytes()

    def decode(self, data: bytes) -> Image8:
        width, height = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.266"), Path(folder, "out.yuv")
            source.write_bytes(data[4:])
            run_tool([self._decoder, "-b", str(source), "-o", str(target), "-t", "1", "-v", "1"])
            raw = target.read_bytes()
        padded_width, padded_height = -(-width // 8) * 8, -(-height // 8) * 8
        samples = padded_width * padded_height * 3 // 2
        if len(raw) == 2 * samples:  # 10 bits in 16
            flat = np.minimum((np.frombuffer(raw, "<u2") + 2) >> 2, 255).astype(np.uint8)
        elif len(raw) == samples:
            flat = np.frombuffer(raw, np.uint8)
        else:
            raise BenchmarkError(f"{self._decoder} gave {len(raw)} bytes for a picture of {width}x{height}")
        luma, cb, cr = np.split(flat, [padded_width * padded_height, padded_width * padded_height * 5 // 4])
        planes = [luma.reshape(padded_height, padded_width)[:height, :width]]
        for plane in (cb, cr):
            cut = plane.reshape(padded_height // 2, -1)[: (height + 1) // 2, : (width + 1) // 2]
            planes.append(interpolate(cut, _FORMAT, width, height))
        return planes_to_rgb(planes, _SPACE)
