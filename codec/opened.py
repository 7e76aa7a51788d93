"""A file that one model can decode: taken apart, checked against the model, its alpha unpacked. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.bitstream.container import Header, Stream
from codec.coding.padding import latent_size
from codec.errors import UnsupportedError
from codec.image.alpha import unpack_alpha


@dataclass(frozen=True)
class Opened:
    """sections: None stands for one that was cut off. alpha: uint8 (H, W), None for an opaque picture. h, w: of the
    latents."""

    header: Header
    sections: tuple[bytes | None, ...]
    alpha: np.ndarray | None
    h: int
    w: int

    def cut(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 (16 h, 16 w, 3), padded -> (H, W, 3)."""
        return rgb[: self.header.height, : self.header.width]


def opened(stream: Stream, model_id: int, table_hash: int) -> Opened:
    """Raises UnsupportedError for a file of another model, or a lossless one, which has none."""
    header = stream.header
    if header.lossless:
        raise UnsupportedError("the file is lossless: it has no codes of a model")
    if header.model_id != model_id:
        raise UnsupportedError(f"the file was made with model {header.model_id}, this is model {model_id}")
    if header.table_hash != table_hash:
        raise UnsupportedError(f"the file was made with other tables of model {header.model_id}")
    alpha = unpack_alpha(stream.alpha, header.width, header.height) if stream.alpha else None
    return Opened(header, stream.sections, alpha, *latent_size(header.height, header.width))
