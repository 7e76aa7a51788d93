"""The codec as a torch.nn.Module: batches of pictures to pictures and bits with gradients, and to files and back."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn as nn
from safetensors import SafetensorError

from codec import manifest, zoo
from codec.api import Codec, device_of
from codec.bitstream.container import level_of
from codec.coding.latents import LatentCoder
from codec.coding.model import Base
from codec.coding.stored import hash_arrays
from codec.coding.surrogate import through
from codec.errors import CodecError
from codec.models import integer_export
from codec.options import EncodeOptions
from codec.whole import written

_SLACK = 0.5 / 255  # by which rounding may push a value over the edge


class Coded(NamedTuple):
    """x_hat: (N, 3, H, W) float32, the pictures of the decoder vq; about 0..1, not clipped and not rounded.
    bits: (N,) float32, size of the file of each picture at effort 1, header included."""

    x_hat: torch.Tensor
    bits: torch.Tensor


class CodecModule(nn.Module):
    """One model with its weights, to train, or to use as a differentiable part of something else. Make it with
    ``codec.model``.

    ``vqvae`` holds the networks. In eval mode ``forward`` says what a file says, with the integer prior of the last
    ``update``; in train mode the prior computes in floating point and follows its weights at once, the choices of the
    quantiser differ, and cost as much. Gradients are the same kind in both: see ``codec.coding.surrogate``. Nothing is
    random.
    """

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.vqvae = base.vqvae
        self._base, self._shown = base, _hash(base.vqvae)

    @property
    def model_id(self) -> int:
        """What files say of their model: the id of a model that was loaded, 0 as soon as ``update`` changed it."""
        return self._base.model_id

    def forward(self, x: torch.Tensor, quality: float | Sequence[float] | torch.Tensor = 50.0) -> Coded:
        """x (N, 3, H, W), floating point in 0..1, of any height and width -> Coded.

        quality: 0 (small) .. 100 (good), in steps of 1/64; one number, or one for each picture, (N,). Raises
        CodecError for another shape, type, device or range, and in eval mode for weights that changed since
        ``update``.
        """
        x, levels = self._checked(x), self._levels(quality, len(x))
        if not self.training:
            self._check_current()
        return Coded(*through(self._base, x, levels, exact=not self.training))

    def compress(
        self,
        x: torch.Tensor,
        quality: float | Sequence[float] | torch.Tensor = 50.0,
        *,
        effort: int = 1,
        lossless: bool | None = None,
    ) -> list[bytes]:
        """x (N, 3, H, W), floating point in 0..1, rounded to 8 bits -> an .ldc file for each picture, the same as of
        ``codec.encode``.

        quality: as in ``forward``. effort: 1 .. 9. lossless: None takes the lossless file where it is no larger, else
        one in fewer colours where that is better, False neither, True always the lossless one. Raises CodecError as
        ``forward`` does.
        """
        x, qualities = self._checked(x), self._qualities(quality, len(x))
        self._check_current()
        with self._codec() as codec:
            return [
                codec.encode(picture, quality=q, effort=effort, lossless=lossless)
                for picture, q in zip(x.detach(), qualities, strict=True)
            ]

    def decompress(self, files: Sequence[Any]) -> torch.Tensor:
        """Files, in any form that ``codec.decode`` takes, of pictures of one size -> (N, 3, H, W) float32 in 0..1,
        multiples of 1/255: the pictures of ``codec.decode`` as RGB, without alpha.

        Raises FormatError for what is no sound file, UnsupportedError for a file of another model, CodecError for
        different sizes and for weights that changed since ``update``.
        """
        if not isinstance(files, Sequence) or isinstance(files, (str, bytes, bytearray, memoryview)) or not files:
            raise CodecError("decompress takes a list of files")
        self._check_current()
        with self._codec() as codec:
            pictures = [np.array(codec.decode(data).convert("RGB")) for data in files]
        if len(sizes := sorted({f"{p.shape[1]}x{p.shape[0]}" for p in pictures})) > 1:
            raise CodecError(f"the pictures have different sizes ({', '.join(sizes)}): decompress them one by one")
        x_hat = torch.from_numpy(np.stack(pictures)).to(self.vqvae.sd.device)
        return x_hat.permute(0, 3, 1, 2).float() / 255

    def update(self) -> bool:
        """Makes the integers that decide what bits mean from the weights as they are -> whether anything changed.

        To be called after training, before eval mode and files. The files are those of model 0 then, which only this
        module, or one that reads what ``save`` wrote, decodes. Raises CodecError for weights that no integers hold.
        """
        if (now := _hash(self.vqvae)) == self._shown:
            return False
        net, old = self.vqvae, self._base
        try:
            arrays = integer_export.export(net.prior, net.tokens, net.sd, net.log2_gain)
        except ValueError as error:
            raise CodecError(f"no file can be made with these weights: {error}") from error
        arrays |= old.coder.latent.flat() | old.coder.tokens.flat()
        coder = LatentCoder(old.config, old.coder.trellis, arrays, old.coder.latent)
        self._base, self._shown = Base(0, hash_arrays(arrays), old.config, net, coder), now
        return True

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a model file, which ``codec.load`` and ``codec.model`` read; networks in half precision.

        Raises CodecError for weights that changed since ``update``, and where the file cannot be written.
        """
        self._check_current()
        net, coder, target = self.vqvae, self._base.coder, Path(path)
        arrays = integer_export.export(net.prior, net.tokens, net.sd, net.log2_gain)
        try:
            with written(target) as made:
                zoo.write_model(made, net, coder.trellis.name, arrays | coder.latent.flat() | coder.tokens.flat())
        except (OSError, SafetensorError) as error:
            raise CodecError(f"cannot write '{target}': {getattr(error, 'strerror', None) or error}") from error

    def _checked(self, x: torch.Tensor) -> torch.Tensor:
        device = self.vqvae.sd.device
        if not isinstance(x, torch.Tensor):
            raise CodecError(f"x is a tensor (N, 3, H, W), not {type(x).__name__}")
        if x.ndim != 4 or x.shape[1] != 3 or 0 in x.shape:
            raise CodecError(f"x has shape (N, 3, H, W), not {tuple(x.shape)}")
        if not x.is_floating_point():
            raise CodecError(f"x holds floating-point values in 0..1, not {x.dtype}")
        if x.device != device:
            raise CodecError(f"x is on {x.device}, and the model on {device}")
        low, high = x.detach().aminmax()
        if not (low >= -_SLACK and high <= 1 + _SLACK):
            raise CodecError("x has values outside 0..1")
        return x.float()

    def _qualities(self, quality: float | Sequence[float] | torch.Tensor, count: int) -> list[float]:
        values = quality.tolist() if isinstance(quality, (torch.Tensor, np.ndarray)) else quality
        asked = list(values) if isinstance(values, (list, tuple)) else [values] * count
        if len(asked) != count:
            raise CodecError(f"there are {len(asked)} qualities for {count} pictures")
        return [float(EncodeOptions(quality=q).quality) for q in asked]

    def _levels(self, quality: float | Sequence[float] | torch.Tensor, count: int) -> list[int]:
        return [level_of(q) for q in self._qualities(quality, count)]

    def _check_current(self) -> None:
        if _hash(self.vqvae) != self._shown:
            raise CodecError("the weights have changed: call update() before eval mode and files")

    @contextlib.contextmanager
    def _codec(self) -> Iterator[Codec]:
        """For files; no gradient is kept for the weights meanwhile."""
        wanted = [p for p in self.vqvae.parameters() if p.requires_grad]
        for p in wanted:
            p.requires_grad_(False)
        try:
            yield Codec(self._base, self.vqvae.sd.device, None)
        finally:
            for p in wanted:
                p.requires_grad_(True)


def _hash(net: nn.Module) -> str:
    """Of all that a network holds."""
    found = hashlib.sha256()
    for value in net.state_dict().values():
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def load(
    name: str | int = "default", device: str = "cpu", weights: str | os.PathLike[str] | None = None
) -> CodecModule:
    """See ``codec.model``."""
    base = zoo.load(name, device_of(device), manifest.read(weights))
    base.vqvae.requires_grad_(True)
    return CodecModule(base).eval()
