"""Codecs that Pillow brings: JPEG, JPEG 2000, WebP, AVIF."""

import io
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from benchmarks.codecs.base import Allowed, CodecAbsent, Image8, Search


class PillowCodec(ABC):
    """Shared part: a Pillow format, the name of its library, and options that depend on the setting."""

    name: str
    format: str
    feature: str
    note: str
    settings: tuple[float, ...]
    search: Search
    allowed: Allowed

    def __init__(self) -> None:
        if not features.check(self.feature):
            raise CodecAbsent(f"this Pillow was built without {self.format}")
        library = features.version(self.feature) or "of unknown version"
        if self.feature == "jpg" and features.check("libjpeg_turbo"):
            library = f"turbo {features.version('libjpeg_turbo')}"
        self.version = f"Pillow {PIL.__version__}, {self.feature} {library}, {self.note}"

    @abstractmethod
    def options(self, setting: float) -> dict[str, Any]:
        """Keyword arguments of Pillow's `save`."""

    def encode(self, image: Image8, setting: float) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, self.format, **self.options(setting))
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image8:
        with Image.open(io.BytesIO(data), formats=[self.format]) as picture:
            return np.asarray(picture.convert("RGB"))


class Jpeg(PillowCodec):
    """Baseline JPEG 4:2:0 with optimised Huffman tables; setting = libjpeg quality."""

    name, format, feature, note = "jpeg", "JPEG", "jpg", "4:2:0, optimize"
    settings = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90)
    search = Search(1, 95, 1)
    allowed = Allowed(1, 100, whole=True)

    def options(self, setting: float) -> dict[str, Any]:
        return {"quality": int(setting), "optimize": True, "subsampling": "4:2:0"}


class JpegProgressive(Jpeg):
    """Progressive JPEG 4:2:0."""

    name, note = "jpeg-progressive", "4:2:0, progressive"
    settings = (5, 10, 20, 30, 50, 70, 80, 90)

    def options(self, setting: float) -> dict[str, Any]:
        return {**super().options(setting), "progressive": True}


class Jpeg444(Jpeg):
    """Baseline JPEG without chroma subsampling."""

    name, note = "jpeg-444", "4:4:4, optimize"
    settings = (5, 10, 20, 30, 50, 70, 80, 90)

    def options(self, setting: float) -> dict[str, Any]:
        return {**super().options(setting), "subsampling": "4:4:4"}


class Jpeg2000(PillowCodec):
    """JPEG 2000, irreversible 9/7 wavelet; setting = compression ratio (24 bits per pixel / setting)."""

    name, format, feature, note = "jpeg2000", "JPEG2000", "jpg_2000", "9/7, colour transform, one rate"
    settings = (384, 256, 192, 128, 96, 64, 48, 32, 24, 16)
    search = Search(500, 4, -0.5)
    allowed = Allowed(1, 10_000)

    def options(self, setting: float) -> dict[str, Any]:
        return {"quality_mode": "rates", "quality_layers": [float(setting)], "irreversible": True, "mct": 1}


class WebP(PillowCodec):
    """Lossy WebP at its slowest method; always 4:2:0, limited range."""

    name, format, feature, note = "webp", "WEBP", "webp", "lossy, method 6"
    settings = (0, 5, 10, 20, 30, 50, 70, 80, 90)
    search = Search(0, 100, 1)
    allowed = Allowed(0, 100, whole=True)

    def options(self, setting: float) -> dict[str, Any]:
        return {"quality": int(setting), "method": 6}


class Avif(PillowCodec):
    """AVIF (libaom) tuned for PSNR at 4:4:4: Pillow's own default tunes for appearance and loses on RMSE."""

    name, format, feature, note = "avif", "AVIF", "avif", "aom, speed 6, tune psnr, 4:4:4"
    settings = (5, 10, 20, 30, 40, 50, 60, 70, 80)
    search = Search(0, 95, 1)
    allowed = Allowed(0, 100, whole=True)

    def options(self, setting: float) -> dict[str, Any]:
        return {
            "quality": int(setting), "speed": 6, "subsampling": "4:4:4", "codec": "aom",
            "max_threads": 1, "advanced": {"tune": "psnr"},
        }  # fmt: skip
