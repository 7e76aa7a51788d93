"""A base model without torch: bytes to pictures, of the decoder `vq` only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from codec import manifest
from codec.bitstream import source
from codec.bitstream.container import parse
from codec.bitstream.tables import LatentTables
from codec.coding import tiles
from codec.coding.latents import LatentCoder
from codec.coding.stored import SYNTHESIS, StoredModel, read_stored
from codec.coding.trellis import TRELLISES
from codec.errors import UnsupportedError
from codec.light.session import synthesis
from codec.manifest import Weights
from codec.opened import Decoded, lossless_picture, opened
from codec.options import DecodeOptions


class LightCodec:
    """One model on the CPU. Make it with ``load``."""

    def __init__(self, model_id: int, stored: StoredModel, graph: Path) -> None:
        self.model_id, self._table_hash = model_id, stored.table_hash
        latent = LatentTables.from_flat(stored.integers)
        self._coder = LatentCoder(stored.config, TRELLISES[stored.trellis], stored.integers, latent)
        self._synthesis = synthesis(graph, stored.floats)

    def decode(
        self,
        data: Any,
        *,
        max_bytes: int | None = None,
        allow_truncated: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> Image.Image:
        """An .ldc file -> PIL image of mode L, LA, RGB or RGBA, as `codec.api.Codec.decode` of the decoder vq makes it.

        data: a path (str or os.PathLike), the bytes of a file, or an open binary file, which is read from its start.
        max_bytes: use no more than the first so many bytes, for a coarser picture.
        allow_truncated: accept a file that was cut short, for a coarser picture.
        progress: called with 0..1.

        Raises FormatError for bytes that are no sound file, UnsupportedError for another model.
        """
        asked = DecodeOptions(max_bytes=max_bytes, allow_truncated=allow_truncated)
        return self.decode_parts(data, asked, progress).image()

    def decode_parts(self, data: Any, asked: DecodeOptions, progress: Callable[[float], None] | None = None) -> Decoded:
        """An .ldc file -> pixels and metadata. See ``decode``."""
        content = source.content(data, asked.max_bytes)
        stream = parse(content, max_bytes=asked.max_bytes, allow_truncated=asked.allow_truncated)
        if stream.header.lossless:
            return lossless_picture(stream)
        file = opened(stream, self.model_id, self._table_hash)
        level = file.header.level
        _, v_hat = self._coder.decode(file.sections, file.h, file.w, level)
        rgb = tiles.synthesise(
            v_hat[None],
            lambda tile, inner: self._synthesis(tile, level)[inner],
            progress or (lambda done: None),
            (file.header.height, file.header.width),
        )
        return Decoded(rgb, file.header.gray, file.alpha, file.metadata)

    def codes(
        self, data: Any, *, max_bytes: int | None = None, allow_truncated: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """An .ldc file -> tokens (h/2, w/2) and v_hat (C, h, w) int32 in 1/256 step: what has to be the same
        everywhere."""
        stream = parse(source.content(data, max_bytes), max_bytes=max_bytes, allow_truncated=allow_truncated)
        file = opened(stream, self.model_id, self._table_hash)
        return self._coder.decode(file.sections, file.h, file.w, file.header.level)


def graph_of(weights: Weights, model: int) -> Path | None:
    """The graph beside the weights of a model, None where there is none."""
    path = weights.models[model].with_suffix(".onnx")
    return path if path.is_file() else None


def load(model: str | int = "default", weights: str | os.PathLike[str] | None = None) -> LightCodec:
    """A model by "default" or id. weights: a folder of weights beside those of the package and of LDC_WEIGHTS.

    Raises UnsupportedError for a model that is not there or has no graph, CodecError for files that cannot be read.
    """
    there = manifest.read(weights)
    number = there.number_of(model)
    graph = graph_of(there, number)
    if graph is None:
        raise UnsupportedError(f"model {number} has no graph for onnxruntime (python -m codec export --format graph)")
    return LightCodec(number, read_stored(there.models[number], SYNTHESIS), graph)
