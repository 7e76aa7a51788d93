"""A file that one model can decode: taken apart, checked against the model, its alpha unpacked. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from codec.bitstream.container import Header, Stream
from codec.coding.padding import latent_size
from codec.errors import UnsupportedError
from codec.image import lossless, metadata
from codec.image.alpha import unpack_alpha
from codec.image.metadata import Metadata
from codec.image.write import assemble


@dataclass(frozen=True)
class Opened:
    """sections: None stands for one that was cut off. alpha: uint8 (H, W), None for an opaque picture. h, w: of the
    latents."""

    header: Header
    sections: tuple[bytes | None, ...]
    alpha: np.ndarray | None
    metadata: Metadata
    h: int
    w: int

    def cut(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 (16 h, 16 w, 3), padded -> (H, W, 3)."""
        return rgb[: self.header.height, : self.header.width]


def opened(stream: Stream, model_id: int, table_hash: int) -> Opened:
    """Raises UnsupportedError for a file of another model, or a lossless one, which has none."""
    header = stream.header
    if header.lossless:
        raise UnsupportedError("the file is coded without loss: it has no codes of a model")
    if header.model_id != model_id:
        raise UnsupportedError(f"the file was made with model {header.model_id}, this is model {model_id}")
    if header.table_hash != table_hash:
        raise UnsupportedError(f"the file was made with other tables of model {header.model_id}")
    alpha = unpack_alpha(stream.alpha, header.width, header.height) if stream.alpha else None
    kept = metadata.unpack(stream.metadata)
    return Opened(header, stream.sections, alpha, kept, *latent_size(header.height, header.width))


@dataclass(frozen=True)
class Decoded:
    """What a file holds, decoded. rgb: uint8 (H, W, 3). gray: the picture is. alpha: uint8 (H, W), None for an opaque
    picture."""

    rgb: np.ndarray
    gray: bool
    alpha: np.ndarray | None
    metadata: Metadata

    def image(self) -> Image.Image:
        """PIL image of mode L, LA, RGB or RGBA, with EXIF and XMP in its `info`."""
        return self.metadata.apply(assemble(self.rgb, self.gray, self.alpha))


def lossless_picture(stream: Stream) -> Decoded:
    """A lossless file needs no model. Raises CorruptError."""
    rgb, alpha = lossless.unpack(stream)
    return Decoded(rgb, stream.header.gray, alpha, metadata.unpack(stream.metadata))
