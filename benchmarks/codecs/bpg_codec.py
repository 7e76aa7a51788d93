"""BPG 4:2:0 and 4:4:4: bpgenc and bpgdec when they are on the PATH, the project's own writer otherwise."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.bpg.container import PixelFormat
from benchmarks.codecs.base import Allowed, CodecAbsent, CodecBroken, Image8, Search
from benchmarks.codecs.tools import run_tool
from benchmarks.harness.errors import BenchmarkError

_FORMATS = {"420": PixelFormat.YUV420_CENTRED, "444": PixelFormat.YUV444}


class Bpg:
    """Setting = the `-q` of bpgenc, 51 (smallest file) .. 0; x265, level 8."""

    settings = (51, 47, 44, 41, 38, 35, 32, 28, 24, 20)
    search = Search(51, 0, -1)
    allowed = Allowed(0, 51, whole=True)

    def __init__(self, chroma: str) -> None:
        self.name = f"bpg-{chroma}"
        self._chroma = chroma
        self._encoder, self._decoder = shutil.which("bpgenc"), shutil.which("bpgdec")
        if self._encoder:
            self._probe()
            reader = "bpgdec" if self._decoder else "own reader"
            self.version = f"bpgenc {_tool_version(self._encoder)}, x265, level 8, {reader}"
            return
        try:
            from benchmarks.bpg import writer_version

            self.version = writer_version()
        except ImportError:
            raise CodecAbsent("bpgenc is not on the PATH, and the package av is not installed") from None

    def encode(self, image: Image8, setting: float) -> bytes:
        if not self._encoder:
            from benchmarks.bpg import encode

            return encode(image, int(setting), _FORMATS[self._chroma])
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.png"), Path(folder, "out.bpg")
            Image.fromarray(image).save(source, compress_level=1)
            run_tool([self._encoder, "-q", f"{setting:g}", "-f", self._chroma, "-o", str(target), str(source)])
            if not target.is_file():
                raise BenchmarkError(f"{self._encoder} wrote no file")
            return target.read_bytes()

    def decode(self, data: bytes) -> Image8:
        if not self._decoder:
            from benchmarks.bpg import decode

            return decode(data)
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.bpg"), Path(folder, "out.ppm")
            source.write_bytes(data)
            run_tool([self._decoder, "-o", str(target), str(source)])
            with Image.open(target) as picture:
                return np.asarray(picture.convert("RGB"))

    def _probe(self) -> None:
        """A bpgenc that does not work is an error, never a silent change to the own writer."""
        ramp = np.arange(64, dtype=np.uint8)
        image = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(99)), axis=2)
        try:
            decoded = self.decode(self.encode(image, 30))
            if decoded.shape != image.shape or np.abs(decoded.astype(int) - image).mean() > 20:
                raise BenchmarkError("its picture comes back wrong")
        except (BenchmarkError, OSError) as error:
            raise CodecBroken(
                f"bpgenc is on the PATH but does not work ({error}); take it off the PATH to use the built-in writer"
            ) from None


def _tool_version(tool: str) -> str:
    done = subprocess.run([tool, "-h"], capture_output=True, timeout=60, check=False)
    found = re.search(r"version (\S+)", (done.stdout + done.stderr).decode(errors="replace"))
    return found.group(1) if found else "of unknown version"
