"""The codes of a file: what has to come out the same on every machine."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from codec.bitstream.container import parse
from codec.coding.padding import latent_size

if TYPE_CHECKING:
    from codec.api import Codec


def decoded_codes(codec: Codec, data: bytes, **options) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of a file -> tokens (h/2, w/2) and v_hat (C, h, w) as the codec reads them; options of ``parse``."""
    stream = parse(data, **options)
    h, w = latent_size(stream.header.height, stream.header.width)
    return codec._model.coder.decode(stream.sections, h, w, stream.header.level)


def digest(tokens: np.ndarray, v_hat: np.ndarray) -> str:
    """SHA-256 over shapes and values of both, as little-endian int32."""
    h = hashlib.sha256()
    for a in (tokens, v_hat):
        h.update(str(a.shape).encode())
        h.update(np.ascontiguousarray(a, "<i4").tobytes())
    return h.hexdigest()
