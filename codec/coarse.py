"""A file as a smaller picture, cheaply: its first groups, and of the synthesis the linear part, made at a half to a
sixteenth of the size. NumPy only.

The linear part is the lapped KLT (codec.models.transforms.Synthesis.linear), of which means over squares of pixels are
taken before anything of the full size is made. Of the nonlinear path and the filter, which repair details, only the
constants are kept. What that costs in accuracy and saves in time is in results/coarse.csv.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from codec import manifest
from codec.bitstream.container import MAX_LEVEL, HeaderInfo, Stream, parse, read_header
from codec.bitstream.source import seekable
from codec.bitstream.tables import UNIT, LatentTables
from codec.coding.latents import LatentCoder
from codec.coding.stored import StoredModel, read_stored
from codec.coding.trellis import TRELLISES
from codec.errors import CodecError, CorruptError, UnsupportedError
from codec.image.write import assemble
from codec.models.config import PATCH, VQVAEConfig
from codec.opened import opened
from codec.options import check_flag, check_whole

#: By how much a side can be divided, smallest pictures first.
FACTORS = (16, 8, 4, 2)
#: Groups of channels that hold less of a reduced picture than this share of its energy are left out.
LEFT_OUT = 1e-3
#: The weights that are needed: the linear part, and what the other layers add to every pixel.
_FLOATS = ("g_s.klt.", "g_s.lapped.", "g_s.head.bias", "g_s.filter.head.bias", "log2_igain", "sd")
_BAND = 16  # rows of positions that are made at a time; even, so that every band has an inner border


def factor_for(size: tuple[int, int], wanted: tuple[float, float]) -> int:
    """The largest of FACTORS with which no side becomes smaller than ``wanted``; 1 where there is none."""
    most = min(side / max(1, least) for side, least in zip(size, wanted, strict=True))
    return next((factor for factor in FACTORS if factor <= most), 1)


def reduced_size(size: tuple[int, int], factor: int) -> tuple[int, int]:
    """Width and height of the reduced picture."""
    return -(-size[0] // factor), -(-size[1] // factor)


def decode(
    source: Any,
    factor: int,
    *,
    allow_truncated: bool = False,
    weights: str | os.PathLike[str] | None = None,
) -> Image.Image:
    """File -> PIL image of mode L, LA, RGB or RGBA, of ``reduced_size``: about what the decoder vq makes, reduced.

    source: a path (str or os.PathLike), the bytes of a file, or an open binary file, from where it stands; of a file
    that can seek the first groups are read. factor: one of FACTORS.
    allow_truncated: accept a file that was cut short. weights: a folder beside those of the package and of
    LDC_WEIGHTS.

    What is read of the file is checked, and its length. Raises FormatError for bytes that are no sound file,
    UnsupportedError for a lossless file, which has no coarse part, CodecError for another factor.
    """
    factor = check_whole("factor", factor, 1)
    if factor not in FACTORS:
        raise CodecError(f"factor {factor} is not one of {', '.join(map(str, sorted(FACTORS)))}")
    check_flag("allow_truncated", allow_truncated)
    with seekable(source) as stream:
        start = stream.tell()
        info = read_header(stream)
        if info.header.lossless:
            raise UnsupportedError("the file is coded without loss: it has no coarser picture in its first part")
        there = manifest.read(weights)
        model = _model(there.models[there.number_of(info.header.model_id)], factor)
        stream.seek(start)
        first = _first(stream, info, model.groups, allow_truncated)
    file = opened(first, info.header.model_id, model.table_hash)
    if len(file.sections) != model.sections:
        raise CorruptError("the number of sections is not that of this model")
    level = info.header.level
    _, v_hat = model.coder.decode(file.sections[: model.groups + 1], file.h, file.w, level)
    width, height = reduced_size((info.header.width, info.header.height), factor)
    rgb = _pixels(model, v_hat, level)[:height, :width]
    alpha = None if file.alpha is None else np.asarray(Image.fromarray(file.alpha).reduce(factor))
    return assemble(rgb, info.header.gray, alpha)


def _first(source: BinaryIO, info: HeaderInfo, groups: int, allow_truncated: bool) -> Stream:
    """The part of a file that ends with so many groups, checked."""
    start = source.tell()
    length = source.seek(0, os.SEEK_END) - start
    source.seek(start)
    if length != info.file_bytes:  # refused, or taken as far as it goes
        return parse(source.read(info.file_bytes + 1), allow_truncated=allow_truncated)
    end = info.header_bytes + info.alpha_bytes + sum(info.section_bytes[: groups + 1])
    return parse(source.read(end), allow_truncated=True)


@dataclass(frozen=True)
class _Model:
    """What makes pictures at one size: a coder of the first groups, and the linear part for their channels.

    sections: of every file of the model. klt: (C, 3 * PATCH * PATCH), transposed. halves: (2 m, PATCH), from the PATCH
    samples around a border of the grid to their 2 m means. constant: (3,), added to every pixel.
    """

    table_hash: int
    sections: int
    groups: int
    factor: int
    coder: LatentCoder
    log2_igain: np.ndarray
    klt: np.ndarray
    halves: np.ndarray
    constant: np.ndarray


@functools.lru_cache(maxsize=8)
def _model(path: Path, factor: int) -> _Model:
    return _made(_stored(path), factor)


@functools.lru_cache(maxsize=2)
def _stored(path: Path) -> StoredModel:
    return read_stored(path, _FLOATS)


def _made(stored: StoredModel, factor: int) -> _Model:
    config = stored.config
    floats = {name: values.astype(np.float32) for name, values in stored.floats.items()}
    klt = floats["g_s.klt.weight"].reshape(3 * PATCH * PATCH, config.channels)
    groups = _needed(config, klt, floats["sd"].reshape(-1), factor)
    first = config.groups[:groups]
    coder = LatentCoder(
        replace(config, channels=first[-1].stop, groups=first),
        TRELLISES[stored.trellis],
        stored.integers,
        LatentTables.from_flat(stored.integers),
    )
    constant = 0.5 + floats["g_s.head.bias"].reshape(3, -1).mean(1)
    if config.filter_blocks:
        constant = constant + floats["g_s.filter.head.bias"].reshape(3, -1).mean(1)
    cell = min(factor, PATCH // 2)  # pixels that are put together beside a border
    means = np.kron(np.eye(PATCH // cell), np.full(cell, 1 / cell))
    return _Model(
        table_hash=stored.table_hash,
        sections=1 + len(config.groups),
        groups=groups,
        factor=factor,
        coder=coder,
        log2_igain=floats["log2_igain"][:, : first[-1].stop],
        klt=np.ascontiguousarray(klt[:, : first[-1].stop].T),
        halves=(means @ _lapped(floats["g_s.lapped.v"])).astype(np.float32),
        constant=constant,
    )


def _lapped(v: np.ndarray) -> np.ndarray:
    """As codec.layers.lapped.lapped_matrix."""
    eye = np.eye(len(v))
    x = np.block([[eye, eye[::-1]], [eye[::-1], -eye]])
    middle = np.block([[eye, np.zeros_like(eye)], [np.zeros_like(eye), v]])
    made: np.ndarray = 0.5 * x @ middle @ x
    return made


def _needed(config: VQVAEConfig, klt: np.ndarray, sd: np.ndarray, factor: int) -> int:
    """How many groups are worth it: those after them hold little of the reduced picture."""
    cells = PATCH // factor
    means = klt.reshape(3, cells, factor, cells, factor, -1).mean((2, 4)).reshape(-1, klt.shape[1])
    energy = np.square(means).sum(0) * np.square(sd)
    left = [energy[group.stop :].sum() for group in config.groups]  # nothing after the last one
    return next(n for n, rest in enumerate(left, 1) if rest <= LEFT_OUT * energy.sum())


def _pixels(model: _Model, v_hat: np.ndarray, level: int) -> np.ndarray:
    """v_hat (C, h, w) int32 in 1/UNIT step -> uint8 (16 h / factor, 16 w / factor, 3), some rows at a time."""
    h, w = v_hat.shape[1:]
    anchors = len(model.log2_igain)
    place = level / MAX_LEVEL * (anchors - 1)
    k = min(int(place), anchors - 2)
    igain = np.exp2(model.log2_igain[k] + (place - k) * (model.log2_igain[k + 1] - model.log2_igain[k]))
    igain = (igain / UNIT).astype(np.float32)
    side = PATCH // model.factor
    out = np.empty((h * side, w * side, 3), np.uint8)
    for start in range(0, h, _BAND):
        stop, low, high = min(start + _BAND, h), max(0, start - 1), min(h, start + _BAND + 1)
        y_hat = v_hat[:, low:high].astype(np.float32) * igain[:, None, None]
        blocks = (y_hat.reshape(len(igain), -1).T @ model.klt).reshape(high - low, w, 3, PATCH, PATCH)
        wide = _means(model, blocks.transpose(2, 0, 3, 1, 4).reshape(3, (high - low) * PATCH, w * PATCH))
        small = _means(model, wide.swapaxes(1, 2)).transpose(2, 1, 0)
        inner = small[(start - low) * side : (stop - low) * side] + model.constant
        out[start * side : stop * side] = np.clip(inner, 0, 1) * 255 + 0.5
    return out


def _means(model: _Model, x: np.ndarray) -> np.ndarray:
    """x (..., n * PATCH), n at least 2 -> (..., n * PATCH / factor): lapped along the last axis, then means."""
    half, shape = PATCH // 2, x.shape[:-1]
    cells = len(model.halves) // 2  # of half a block
    inner = x[..., half:-half].reshape(*shape, -1, PATCH) @ model.halves.T
    first, last = (x[..., edge].reshape(*shape, cells, -1).mean(-1) for edge in (slice(half), slice(-half, None)))
    out: np.ndarray = np.concatenate([first, inner.reshape(*shape, -1), last], -1)
    if model.factor == PATCH:
        out = out.reshape(*shape, -1, 2).mean(-1)
    return out
