"""Codec: pictures to bytes and back. It joins pictures, networks, entropy coding and the container."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from codec import pictures, refine, tiles, zoo
from codec.bitstream.container import MAX_LEVEL, Header, pack, parse
from codec.errors import CodecError, RateError, UnsupportedError
from codec.models.ratecontrol import error_weight
from codec.models.transforms import PATCH

UNIT = 2 * PATCH  # pictures are padded to multiples of this many pixels
DECODERS = ("vq",)


def _ignore(done: float) -> None:
    pass


@dataclass(frozen=True)
class _Prepared:
    """x (1, 3, H, W) float in 0..1, padded; height and width before padding."""

    x: torch.Tensor
    height: int
    width: int


class Codec:
    """One model on one device. Make it with ``load``."""

    def __init__(self, model: zoo.PerceptualModel, device: torch.device, threads: int | None) -> None:
        self._model, self._device, self._threads = model, device, threads
        self.model_id = model.model_id

    def encode(
        self,
        image: Any,
        *,
        quality: float = 50.0,
        target_bpp: float | None = None,
        target_bytes: int | None = None,
        effort: int = 1,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> bytes:
        """Picture -> bytes of an .ldc file.

        image: what codec.pictures.load takes (path, PIL image, uint8 array HWC or HW, float tensor CHW in 0..1). quality: 0..100, higher is
        better, in steps of 1/64. target_bytes: the file is the best found that is not larger; target_bpp: the same, in bits per pixel.
        effort: 1 (one pass) .. 9 (refines the latents against the decoder, minutes). seed: of the semantic decoder's noise. progress: called with
        0..1. Raises PictureError for a picture that cannot be read, RateError when no quality is small enough, CodecError for options out of range.
        """
        if not 0 <= quality <= 100:
            raise CodecError(f"quality {quality:g} is outside 0..100")
        if not 1 <= effort <= 9:
            raise CodecError(f"effort {effort} is outside 1..9")
        if not 0 <= seed < 2**32:
            raise CodecError(f"seed {seed} is outside 0..2**32-1")
        if target_bpp is not None and target_bytes is not None:
            raise CodecError("give a target in bytes or in bits per pixel, not both")
        for name, value in (("bpp", target_bpp), ("bytes", target_bytes)):
            if value is not None and not value > 0:
                raise CodecError(f"the target of {value:g} {name} is not positive")
        picture = pictures.load(image)
        alpha = b"" if picture.alpha is None else pictures.pack_alpha(picture.alpha)
        step = progress or _ignore
        with self._settings():
            prepared = self._prepare(picture.rgb)

            def at(level: int, effort: int, step: Callable[[float], None]) -> bytes:
                header = Header(prepared.width, prepared.height, self.model_id, self._model.table_hash, level, picture.gray, seed)
                return pack(header, self._sections(prepared.x, level, effort, step), alpha)

            if target_bpp is not None:
                target_bytes = int(target_bpp * prepared.width * prepared.height / 8)
            if target_bytes is None:
                return at(round(quality * MAX_LEVEL / 100), effort, step)
            return _largest_below(target_bytes, at, effort, step)

    def decode(self, data: bytes, **options: Any) -> Image.Image:
        """Bytes -> PIL image of mode L, LA, RGB or RGBA; the options are those of ``decode_parts``."""
        rgb, gray, alpha = self.decode_parts(data, **options)
        return pictures.assemble(rgb, gray, alpha)

    def decode_array(self, data: bytes, **options: Any) -> np.ndarray:
        """Bytes -> uint8 (H, W, 3), without alpha; the options are those of ``decode_parts``."""
        return self.decode_parts(data, **options)[0]

    def decode_parts(
        self,
        data: bytes,
        *,
        decoder: str = "vq",
        max_bytes: int | None = None,
        allow_truncated: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> tuple[np.ndarray, bool, np.ndarray | None]:
        """Bytes -> uint8 (H, W, 3), whether the picture is gray, alpha (H, W) or None.

        decoder: one of ``codec.api.DECODERS``. max_bytes: use no more than the first so many bytes; allow_truncated: accept a file that was cut;
        both give a coarser picture. Raises FormatError for bytes that are no sound file, UnsupportedError for another model.
        """
        if decoder not in DECODERS:
            raise CodecError(f"there is no decoder {decoder!r} (there is: {', '.join(DECODERS)})")
        stream = parse(data, max_bytes=max_bytes, allow_truncated=allow_truncated)
        header = stream.header
        if header.model_id != self.model_id:
            raise UnsupportedError(f"the file was made with model {header.model_id}, this is model {self.model_id}")
        if header.table_hash != self._model.table_hash:
            raise UnsupportedError(f"the file was made with other tables of model {header.model_id}")
        alpha = pictures.unpack_alpha(stream.alpha, header.width, header.height) if stream.alpha else None
        h, w = (-(-n // UNIT) * 2 for n in (header.height, header.width))
        with self._settings(), torch.inference_mode():
            _, v_hat = self._model.coder.decode(stream.sections, h, w, header.level)
            rgb = self._synthesise(v_hat, header.level, progress or _ignore)
        return rgb[: header.height, : header.width], header.gray, alpha

    # parts

    def _level(self, level: int) -> torch.Tensor:
        """Integer level of a file -> position among the anchors, (1,)."""
        return torch.tensor([level / MAX_LEVEL * (self._model.config.anchors - 1)], device=self._device)

    def _prepare(self, rgb: np.ndarray) -> _Prepared:
        h, w, _ = rgb.shape
        padded = np.pad(rgb, ((0, -h % UNIT), (0, -w % UNIT), (0, 0)), mode="edge")
        return _Prepared(torch.from_numpy(padded).to(self._device).permute(2, 0, 1)[None], h, w)

    @torch.no_grad()
    def _sections(self, x: torch.Tensor, level: int, effort: int, step: Callable[[float], None]) -> list[bytes]:
        model, position = self._model.vqvae, self._level(level)
        y, tokens = tiles.analyse(x, lambda tile: model.analyse(tile.float() / 255, position), lambda done: step(done / 2))
        v = y.mul_(torch.exp2(model.interpolate(model.log2_gain, position)))
        if effort > 1:
            v = refine.refine(self._model, x, v, tokens, level, position, effort, step)
        encoded = self._model.coder.encode(v[0].cpu().numpy(), tokens[0].cpu().numpy(), level, error_weight(model, position))
        step(1.0)
        return encoded.sections

    def _synthesise(self, v_hat: np.ndarray, level: int, step: Callable[[float], None]) -> np.ndarray:
        model, position = self._model.vqvae, self._level(level)
        igain = torch.exp2(model.interpolate(model.log2_igain, position))
        y_hat = torch.from_numpy(v_hat)[None].to(self._device).float() / 256 * igain
        return tiles.synthesise(y_hat, lambda tile: model.synthesise(tile, position), step).numpy()

    @contextlib.contextmanager
    def _settings(self) -> Iterator[None]:
        """Sets the number of threads for the time of a call."""
        before = torch.get_num_threads()
        try:
            if self._threads:
                torch.set_num_threads(self._threads)
            yield
        finally:
            torch.set_num_threads(before)


def _largest_below(target: int, at: Callable[[int, int, Callable[[float], None]], bytes], effort: int, step: Callable[[float], None]) -> bytes:
    """Bisection over levels for the largest file of at most ``target`` bytes; probes are made at effort 1, the last ones at ``effort``."""
    low = at(0, 1, _ignore)
    if len(low) > target:
        raise RateError(f"the smallest file of this picture has {len(low)} bytes, more than the {target} wanted")
    best, a, b, turn = low, 0, MAX_LEVEL + 1, 0
    while b - a > 1 and len(best) < target * 0.998:
        middle = (a + b) // 2
        data = at(middle, 1, _ignore)
        if len(data) <= target:
            a, best = middle, data
        else:
            b = middle
        turn += 1
        step(min(1.0, turn / 14))
    for level in () if effort == 1 else range(a, -1, -max(1, a // 64)):
        data = at(level, effort, step)
        if len(data) <= target:
            return data
    return best


def load(model: str | int = "default", device: str = "cpu", threads: int | None = None) -> Codec:
    """Codec with the weights of a model ("default", an id, or the path of a model file), on "cpu", "cuda" or "auto".

    threads: for the time of each call, None leaves torch's own number. Raises CodecError for a device that is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise CodecError("there is no CUDA device")
    if device not in ("cpu", "cuda"):
        raise CodecError(f"there is no device {device!r} (cpu, cuda or auto)")
    if threads is not None and threads < 1:
        raise CodecError(f"threads {threads} is less than 1")
    return Codec(zoo.load(model, device), torch.device(device), threads)
