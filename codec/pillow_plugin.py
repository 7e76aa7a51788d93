"""Our files through Pillow: after `register()`, Image.open and Image.save know the suffix .ldc.

    from codec import pillow_plugin
    pillow_plugin.register()
    Image.open("photo.ldc").save("photo.png")
    image.save("photo.ldc", quality=40)

Opening reads the header only; the picture is decoded when its pixels are first needed.
"""

from __future__ import annotations

from dataclasses import fields
from typing import IO

from PIL import Image, ImageFile

import codec
from codec.bitstream import container
from codec.options import EncodeOptions

FORMAT = "LDC"
_SAVE_OPTIONS = tuple(field.name for field in fields(EncodeOptions))


class LdcImageFile(ImageFile.ImageFile):
    """A file opened with Pillow, mode L, LA, RGB or RGBA. Refusals are `codec.errors.CodecError`."""

    format = FORMAT
    format_description = "Neural image codec"

    def _open(self) -> None:
        info = container.read_header(self.fp)
        header = info.header
        self._size = header.width, header.height
        self._mode = ("L" if header.gray else "RGB") + ("A" if info.alpha else "")
        self.info["ldc_quality"] = container.quality_of(header.level)
        self.info["ldc_lossless"] = header.lossless
        self.tile = []
        self._waiting = True

    def load(self) -> Image.core.PixelAccess | None:
        if self._waiting:
            self.fp.seek(0)
            image = codec.decode(self.fp.read())
            self.im, self._mode, self._size = image.im, image.mode, image.size
            self.info.update(image.info)
            self._waiting = False
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return super().load()

    def getexif(self) -> Image.Exif:
        """As Pillow's; it is read with the pixels."""
        self.load()
        return super().getexif()


def register() -> None:
    """Tell Pillow about our files. May be called more than once."""
    Image.register_open(FORMAT, LdcImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, ".ldc")
    Image.register_mime(FORMAT, "image/x-ldc")


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    options = {name: image.encoderinfo[name] for name in _SAVE_OPTIONS if name in image.encoderinfo}
    file.write(codec.encode(image, **options))
