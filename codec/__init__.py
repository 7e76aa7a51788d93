"""A neural image codec: `encode` a picture to bytes, `decode` the bytes to a picture.

    data = codec.encode("photo.png", quality=50)      # bytes of an .ldc file
    image = codec.decode(data)                        # a PIL image

`load` gives a Codec, for a model or device of one's choice, `model` a torch.nn.Module that can be trained. `Codec`,
`CodecModule` and `load` are fetched on first use, so that `import codec` (and reading a header, or `--help`) does not
pay for importing torch.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

from codec import _start
from codec.errors import CodecError

TYPE_CHECKING = False  # not that of typing, whose import takes longer than all else here: Ctrl-C in it has no sentence
if TYPE_CHECKING:
    from typing import Any

    from PIL import Image

    from codec.api import Codec, load
    from codec.module import CodecModule

__version__ = "0.1.0"
__all__ = ["Codec", "CodecError", "CodecModule", "__version__", "decode", "encode", "load", "model", "upscale"]


def encode(
    image: Any,
    *,
    quality: float = 50.0,
    target_bpp: float | None = None,
    target_bytes: int | None = None,
    target_psnr: float | None = None,
    effort: int = 1,
    seed: int = 0,
    keep_hidden: bool = False,
    lossless: bool | None = None,
    metadata: str = "drop",
    progress: Callable[[float], None] | None = None,
) -> bytes:
    """Picture -> bytes of an .ldc file, with the default model on the CPU.

    image: what codec.image.read.load takes (path, bytes, file, PIL image, uint8 array HWC or HW, float tensor CHW).
    quality: 0 (small) .. 100 (good), in steps of 1/64; not used with a target.
    target_bpp: the best quality that needs at most so many bits per pixel.
    target_bytes: the best quality in at most so many bytes.
    target_psnr: the smallest file whose 8-bit RGB pixels, decoded by `vq`, reach so many dB, 0 .. 100; lossless where
        no quality does. Pixels under alpha 0 do not count, unless they are kept.
    effort: 1 (one pass), 2 (a look at the decoded picture) .. 9 (minutes): searches for a better picture at the same
        quality. At 9 it is clearly better, and the file about a tenth larger at the same quality number.
    seed: of the noise of decoders that make detail; kept in the file.
    keep_hidden: code the pixels under alpha 0 as they are, in place of smooth ones, which cost less.
    lossless: True: every pixel as it is. None: so where that file is no larger than the other one, or fits the target;
        mostly drawings, seldom photographs. Where it is larger, a drawing may be kept in fewer colours, if that is no
        larger than the file of the networks (or fits the target) and clearly nearer to the picture; the file says so,
        it is not lossless then. False: neither.
    metadata: "drop", or "keep": EXIF and XMP in a section of their own. They say what the picture is now (upright, this
        size, sRGB) and have no thumbnail; what is broken is left out.
    progress: called with 0..1.

    Raises PictureError for a picture that cannot be read, RateError when no quality is small or good enough,
    LimitError for metadata of more than 64 KiB when compressed, CodecError for options out of range.
    """
    return _codec(_default_model()).encode(
        image,
        quality=quality,
        target_bpp=target_bpp,
        target_bytes=target_bytes,
        target_psnr=target_psnr,
        effort=effort,
        seed=seed,
        keep_hidden=keep_hidden,
        lossless=lossless,
        metadata=metadata,
        progress=progress,
    )


def decode(
    data: Any,
    *,
    decoder: str = "vq",
    realism: float | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    guidance: float | None = None,
    consistency: bool | None = None,
    seed: int | None = None,
    context: Any = None,
    label: str | None = None,
    max_bytes: int | None = None,
    allow_truncated: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Image.Image:
    """An .ldc file -> PIL image of mode L, LA, RGB or RGBA, with the model that the file names, on the CPU.
    EXIF and XMP that the file holds are in its `info`.

    data: a path (str or os.PathLike), the bytes of a file, or an open binary file, which is read from its start.
    decoder: vq is nearest to the original; the others (`Codec.decoders()`) make detail that was not sent.
    realism: 0 (no detail that was not sent) .. 1 (all of the decoder's, the default).
    steps: 1, the default, makes detail at once; 2 .. 1000 follow the diffusion process, and are slower.
    sampler: of more than one step: dpmpp_2m (the default), heun or ancestral.
    guidance: classifier-free guidance by the context, 0 .. 20; 1, the default, is none.
    consistency: make the sample agree with what is known of the picture (the default).
    seed: of the noise; the default is the one in the file, 0 for upscale.
    context: array or tensor of numbers (N, D) for cross-attention, N tokens in place of what is known of the picture;
        D is 64 in model 6.
    label: what the picture shows, one of `Codec.labels()`.
    max_bytes: use no more than the first so many bytes, for a coarser picture.
    allow_truncated: accept a file that was cut short, for a coarser picture.
    progress: called with 0..1.

    An option that has no effect with the decoder is refused. A lossless file gives its picture whatever the decoder,
    and only as a whole. Raises FormatError for bytes that are no sound file, UnsupportedError for another model or a
    decoder without weights, CodecError for options out of range.
    """
    from codec.bitstream import source
    from codec.options import DecodeOptions

    options = DecodeOptions(
        decoder=decoder,
        realism=realism,
        steps=steps,
        sampler=sampler,
        guidance=guidance,
        consistency=consistency,
        seed=seed,
        context=context,
        label=label,
        max_bytes=max_bytes,
        allow_truncated=allow_truncated,
    )
    stream = source.content(data, options.max_bytes)
    return _codec(_model_of(stream)).decode(stream, **vars(options), progress=progress)


def upscale(
    image: Any,
    scale: int = 2,
    *,
    realism: float | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    guidance: float | None = None,
    consistency: bool | None = None,
    seed: int | None = None,
    context: Any = None,
    label: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Image.Image:
    """Picture -> PIL image ``scale`` (2 or 4) times as wide and high, whose reduction is the picture again.

    image: what codec.image.read.load takes; alpha is enlarged bicubically.
    scale: times as wide and as high, 2 or 4.
    realism: 0 (the bicubic enlargement) .. 1 (all of the decoder's, the default).
    steps: 1, the default, makes detail at once; 2 .. 1000 follow the diffusion process, and are slower.
    sampler: of more than one step: dpmpp_2m (the default), heun or ancestral.
    guidance: classifier-free guidance by the context, 0 .. 20; 1, the default, is none.
    consistency: make the sample agree with what is known of the picture (the default).
    seed: of the noise; the default is the one in the file, 0 for upscale.
    context: array or tensor of numbers (N, D) for cross-attention, N tokens in place of what is known of the picture;
        D is 64 in model 6.
    label: what the picture shows, one of `Codec.labels()`.
    progress: called with 0..1.

    Raises CodecError for options out of range, LimitError for a result above 64 megapixels.
    """
    return _codec(_default_model()).upscale(
        image,
        scale,
        realism=realism,
        steps=steps,
        sampler=sampler,
        guidance=guidance,
        consistency=consistency,
        seed=seed,
        context=context,
        label=label,
        progress=progress,
    )


def model(
    name: str | int = "default", device: str = "cpu", weights: str | os.PathLike[str] | None = None
) -> CodecModule:
    """A model as a torch.nn.Module in eval mode: tensors (N, 3, H, W) in 0..1 -> x_hat and bits, with gradients.

    Its weights are a copy of one's own, and require gradients. name: "default", an id, or the path of a model file.
    device: "cpu", "cuda" or "auto". weights: a folder of weights beside those of the package and of LDC_WEIGHTS.
    Raises CodecError for a model or device that is not there.
    """
    made: CodecModule = _start.module().load(name, device, weights)
    return made


@functools.cache
def _codec(model: int) -> Codec:
    return _start.api().load(model)


def _default_model() -> int:
    from codec import manifest

    return manifest.read().default


def _model_of(data: bytes) -> int:
    from codec.bitstream import container

    header = container.read_header(data).header
    return _default_model() if header.lossless else header.model_id


def __getattr__(name: str) -> object:
    if name in ("Codec", "load"):
        return getattr(_start.api(), name)
    if name == "CodecModule":
        return getattr(_start.module(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
