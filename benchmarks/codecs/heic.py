"""HEIC through pillow-heif (libheif with x265 and libde265)."""

import io

import numpy as np
from PIL import Image

from benchmarks.codecs.base import Allowed, CodecAbsent, Image8, Search


class Heic:
    """Setting = libheif quality; 4:2:0, the encoder's own tuning."""

    name = "heic"
    settings = (5, 10, 20, 30, 40, 50, 60, 70)
    search = Search(0, 95, 1)
    allowed = Allowed(0, 100, whole=True)

    def __init__(self) -> None:
        try:
            import pillow_heif
        except ImportError:
            raise CodecAbsent("the package pillow-heif is not installed") from None
        if not pillow_heif.libheif_info()["HEIF"]:
            raise CodecAbsent("this pillow-heif was built without an HEVC encoder")
        self._library = pillow_heif
        info = pillow_heif.libheif_info()
        self.version = f"pillow-heif {pillow_heif.__version__}, libheif {info['libheif']}, {info['HEIF']}, 4:2:0"

    def encode(self, image: Image8, setting: float) -> bytes:
        buffer = io.BytesIO()
        self._library.from_pillow(Image.fromarray(image)).save(buffer, quality=int(setting), chroma=420)
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image8:
        return np.asarray(self._library.open_heif(data).to_pillow().convert("RGB"))
