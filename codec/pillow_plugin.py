"""Our files through Pillow: with this import, Image.open and Image.save know the suffix .ldc.

    import codec.pillow_plugin
    Image.open("photo.ldc").save("photo.png")
    image.save("photo.ldc", quality=40)

Opening reads the header only; the picture is decoded when its pixels are first needed. `thumbnail` and `draft` decode
what a smaller picture needs. What Pillow's users know holds here too: bytes that cannot be opened are an
UnidentifiedImageError, others an OSError, wrong options a ValueError, each with our sentence; ImageFile.
LOAD_TRUNCATED_IMAGES takes files that were cut short.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from dataclasses import fields, replace
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from PIL import Image, ImageFile, UnidentifiedImageError

import codec
from codec import coarse, manifest
from codec.bitstream import container
from codec.errors import CodecError
from codec.opened import lossless_picture
from codec.options import DecodeOptions, EncodeOptions

if TYPE_CHECKING:
    from codec.light import LightCodec

_PLAIN = DecodeOptions()
_decoding = _PLAIN
#: One call of torch at a time, which changes settings of the process and has threads of its own.
_lock = threading.Lock()


class LdcImageFile(ImageFile.ImageFile):
    """A file opened with Pillow, mode L, LA, RGB or RGBA.

    info: ldc_quality (0 .. 100), ldc_lossless (every pixel is as it was), ldc_reduced (coded without loss after its
    colours were reduced), ldc_model (its number), ldc_seed.
    """

    format = container.NAME
    format_description = "Neural image codec"
    _waiting = False  # for the pixels; a copy that pickle made has them
    _factor = 1  # of a draft
    _whole = False  # coded without loss, of which a part is of no use

    def _open(self) -> None:
        try:
            info = container.read_header(self._file())
        except CodecError as error:
            raise UnidentifiedImageError(str(error)) from error
        header = info.header
        self._size = header.width, header.height
        self._mode = ("L" if header.gray else "RGB") + ("A" if info.alpha else "")
        self.info["ldc_quality"] = container.quality_of(header.level)
        self.info["ldc_lossless"] = header.exact
        self.info["ldc_reduced"] = header.reduced
        self._whole = header.lossless
        self.info["ldc_model"] = header.model_id
        self.info["ldc_seed"] = header.seed
        self.tile = []
        self._waiting = True

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Decode a half to a sixteenth of the size, at least ``size``, from the first groups only: codec.coarse.

        mode is not changed. As for JPEG: mode and box of the picture in the smaller one, or None where nothing
        changes, as with lossless files, another decoder than vq (``register``) or a picture that is decoded already.
        """
        if not self._waiting or self._factor > 1 or size is None or self._whole or _decoding != _PLAIN:
            return None
        width, height = self._size
        factor = coarse.factor_for(self._size, size)
        if factor == 1:
            return None
        self._factor, self._size = factor, coarse.reduced_size(self._size, factor)
        return self._mode, (0, 0, width / factor, height / factor)

    def load(self, decoding: DecodeOptions | None = None) -> Any:
        """Decode, once. decoding: how; the default is that of ``register``. ValueError where it comes too late."""
        if not self._waiting:
            if decoding is not None:
                raise ValueError("the picture is decoded already: open it again to decode it in another way")
            return super().load()
        if decoding is not None and self._factor > 1:
            raise ValueError("a draft is decoded in one way only: open the picture again, without draft")
        file = self._file()
        try:
            image = self._decoded(file, decoding or _decoding)
        except CodecError as error:
            raise OSError(str(error)) from error
        self.im, self._mode, self._size = image.im, image.mode, image.size
        self.info.update(image.info)
        self._waiting = False
        if self._exclusive_fp:
            file.close()
        self.fp = None
        return super().load()

    def getexif(self) -> Image.Exif:
        """As Pillow's; it is read with the pixels."""
        self.load()
        return super().getexif()

    def _file(self) -> BinaryIO:
        """At its beginning."""
        if self.fp is None or self.fp.closed:
            raise ValueError("the file of this picture is closed")
        self.fp.seek(0)
        return cast(BinaryIO, self.fp)

    def _decoded(self, file: BinaryIO, decoding: DecodeOptions) -> Image.Image:
        if ImageFile.LOAD_TRUNCATED_IMAGES and not self._whole:
            decoding = replace(decoding, allow_truncated=True)
        if self._factor > 1:
            return coarse.decode(file, self._factor, allow_truncated=decoding.allow_truncated)
        return _decode(file.read(), self.info["ldc_model"], self._whole, decoding)

    def verify(self) -> None:
        """Compare all checksums, without decoding. Raises OSError; the picture has to be opened again after it."""
        file = self._file()
        try:
            container.parse(file.read())
        except CodecError as error:
            raise OSError(str(error)) from error
        finally:
            super().verify()


def register(decoding: DecodeOptions = _PLAIN) -> None:
    """Tell Pillow about our files; the import does it. decoding: how files are decoded from now on, for instance
    DecodeOptions(decoder="ldm")."""
    global _decoding
    _decoding = decoding
    Image.register_open(container.NAME, LdcImageFile, _accept)
    Image.register_save(container.NAME, _save)
    Image.register_save_all(container.NAME, _save_all)
    Image.register_extension(container.NAME, container.SUFFIX)
    Image.register_mime(container.NAME, container.MIME_TYPE)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def _decode(data: bytes, model: int, lossless: bool, decoding: DecodeOptions) -> Image.Image:
    """Without torch where that is possible. model, lossless: of the header."""
    if decoding.decoder == "vq":
        if lossless:
            return lossless_picture(container.parse(data, max_bytes=decoding.max_bytes)).image()
        if (light := _light(model)) is not None:
            return light.decode(data, max_bytes=decoding.max_bytes, allow_truncated=decoding.allow_truncated)
    with _lock:
        return codec.decode(data, **{f.name: getattr(decoding, f.name) for f in fields(decoding)})


@functools.cache
def _light(model: int) -> LightCodec | None:
    """The decoder without torch, where onnxruntime and a graph of the model are there."""
    there = manifest.read()
    number = there.number_of(model)
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    from codec import light

    return light.load(number) if light.graph_of(there, number) else None


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Options of Image.save: the fields of EncodeOptions. Others are for other formats, as in all of Pillow."""
    given = {f.name: image.encoderinfo[f.name] for f in fields(EncodeOptions) if f.name in image.encoderinfo}
    try:
        EncodeOptions(**given)
    except CodecError as error:
        raise ValueError(str(error)) from error
    try:
        with _lock:
            data = codec.encode(image, **given)
    except CodecError as error:
        raise OSError(str(error)) from error
    file.write(data)


def _save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    if image.encoderinfo.get("append_images"):
        raise OSError("an LDC file holds one picture, and no more can be appended")
    _save(image, file, filename)


register()
