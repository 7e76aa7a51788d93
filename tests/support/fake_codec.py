"""A codec without a network, for tests of what lies around it: files made by it are proper containers.

Section 0 holds the picture's mean colour, section 1 the picture at a quarter of its size, deflated.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from codec import manifest
from codec.bitstream.container import Header, level_of, pack, parse
from codec.errors import CorruptError, RateError, UnsupportedError
from codec.image import read
from codec.image.alpha import pack_alpha, unpack_alpha
from codec.image.lossless import unpack
from codec.image.metadata import section
from codec.image.write import assemble

TABLE_HASH = 0x0FA4E000


def given(options: dict[str, object]) -> dict[str, object]:
    """Those that were asked for."""
    return {name: value for name, value in options.items() if value is not None}


#: the default of the package: what is there is compared with it
SHIPPED = manifest.read().default


class FakeCodec:
    """The interface of codec.api.Codec. `calls` lists what it was asked, for tests to look at."""

    model_id = 250

    def __init__(self) -> None:
        self.calls: list[dict[str, object]] = []

    def encode(
        self,
        image: object,
        *,
        quality: float = 50.0,
        target_bpp: float | None = None,
        target_bytes: int | None = None,
        target_psnr: float | None = None,
        effort: int = 4,
        seed: int = 0,
        keep_hidden: bool = False,
        lossless: bool | None = None,
        metadata: str = "drop",
        progress: Callable[[float], None] | None = None,
    ) -> bytes:
        self.calls.append(
            {
                "quality": quality,
                "target_bpp": target_bpp,
                "target_bytes": target_bytes,
                "target_psnr": target_psnr,
                "effort": effort,
                "seed": seed,
                "keep_hidden": keep_hidden,
                "lossless": lossless,
                "metadata": metadata,
            }
        )
        picture = read.load(image)
        if progress is not None:
            progress(0.5)
        small = np.ascontiguousarray(picture.rgb[::4, ::4])
        mean = picture.rgb.mean(axis=(0, 1)).round().astype(np.uint8)
        header = Header(picture.width, picture.height, self.model_id, TABLE_HASH, level_of(quality), picture.gray, seed)
        alpha = b"" if picture.alpha is None else pack_alpha(picture.alpha)
        kept = section(picture.metadata, picture.width, picture.height).data if metadata == "keep" else b""
        data = pack(header, [mean.tobytes(), zlib.compress(small.tobytes())], alpha, kept)
        if target_bytes is not None and len(data) > target_bytes:
            raise RateError(f"the smallest file has {len(data)} bytes, {target_bytes} were asked for")
        return data

    def decode(
        self,
        data: bytes,
        *,
        decoder: str = "vq",
        max_bytes: int | None = None,
        allow_truncated: bool = False,
        progress: Callable[[float], None] | None = None,
        **semantic: object,
    ) -> Image.Image:
        if decoder not in ("vq", "ldm"):
            raise UnsupportedError(f"there are no weights of the {decoder} decoder")
        if decoder == "ldm":
            self.calls.append({"decoder": decoder, **given(semantic)})
        stream = parse(data, max_bytes=max_bytes, allow_truncated=allow_truncated)
        header = stream.header
        if header.lossless:
            rgb, alpha = unpack(stream)
            return assemble(rgb, header.gray, alpha)
        if (header.model_id, header.table_hash) != (self.model_id, TABLE_HASH):
            raise UnsupportedError(f"the model {header.model_id} of the file is not known")
        shape = (header.height, header.width, 3)
        alpha = unpack_alpha(stream.alpha, header.width, header.height) if stream.alpha else None
        if len(stream.sections) != 2 or len(stream.sections[0]) != 3:
            raise CorruptError("the sections are not those of this model")
        mean, packed = stream.sections
        if packed is None:
            rgb = np.broadcast_to(np.frombuffer(mean, np.uint8), shape)
        else:
            small_shape = (-(-shape[0] // 4), -(-shape[1] // 4), 3)
            size = int(np.prod(small_shape))
            try:
                pixels = zlib.decompressobj().decompress(packed, size)
            except zlib.error as error:
                raise CorruptError("section 1 is damaged") from error
            if len(pixels) != size:
                raise CorruptError("section 1 is damaged")
            small = np.frombuffer(pixels, np.uint8).reshape(small_shape)
            rgb = small.repeat(4, axis=0).repeat(4, axis=1)[: shape[0], : shape[1]]
        if progress is not None:
            progress(1.0)
        return assemble(rgb, header.gray, alpha)

    def upscale(
        self, image: object, scale: int, *, progress: Callable[[float], None] | None = None, **semantic: object
    ) -> Image.Image:
        self.calls.append({"scale": scale, **given(semantic)})
        picture = read.load(image)
        return Image.fromarray(picture.rgb).resize((picture.width * scale, picture.height * scale))

    def decode_array(self, data: bytes) -> np.ndarray:
        return np.asarray(self.decode(data).convert("RGB"))
