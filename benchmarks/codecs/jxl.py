"""JPEG XL through imagecodecs (libjxl)."""

from benchmarks.codecs.base import Allowed, CodecAbsent, Image8, Search


class JpegXl:
    """Setting = Butteraugli distance (1 = visually lossless); its own target is perceptual, not RMSE."""

    name = "jxl"
    settings = (20, 12, 8, 5, 3, 2, 1, 0.5)
    search = Search(25, 0.1, -0.1)
    allowed = Allowed(0, 25)

    def __init__(self) -> None:
        try:
            import imagecodecs
        except ImportError:
            raise CodecAbsent("the package imagecodecs is not installed") from None
        if not imagecodecs.JPEGXL.available:
            raise CodecAbsent("this imagecodecs was built without JPEG XL")
        self._library = imagecodecs
        self.version = f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}, effort 7"

    def encode(self, image: Image8, setting: float) -> bytes:
        return bytes(self._library.jpegxl_encode(image, distance=float(setting), effort=7, numthreads=1))

    def decode(self, data: bytes) -> Image8:
        return self._library.jpegxl_decode(data, numthreads=1)
