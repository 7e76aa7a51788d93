"""A neural image codec: `encode` a picture to bytes, `decode` the bytes to a picture.

    data = codec.encode("photo.png", quality=50)      # bytes of an .ldc file
    image = codec.decode(data)                        # a PIL image

`load` gives a Codec, for a model or device of one's choice. `Codec` and `load` are fetched on first use, so
that `import codec` (and reading a header, or `--help`) does not pay for importing torch.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from codec.api import Codec, load

__version__ = "0.1.0"
__all__ = ["Codec", "__version__", "decode", "encode", "load"]


def encode(image: Any, **options: Any) -> bytes:
    """Encode with the default model on the CPU; see `codec.image.read.load` for what an image may be.

    The options are those of `Codec.encode`: quality, target_bpp, target_bytes, effort, seed, progress.
    Refusals are `codec.errors.CodecError`.
    """
    return _codec(_default_model()).encode(image, **options)


def decode(data: bytes, **options: Any) -> Image.Image:
    """Decode on the CPU, with the model that the file names, to a PIL image of mode L, LA, RGB or RGBA.

    The options are those of `Codec.decode`: decoder, max_bytes, allow_truncated, progress.
    Refusals are `codec.errors.CodecError`; `FormatError` for bytes that are not a valid file.
    """
    return _codec(_model_of(data)).decode(data, **options)


@functools.cache
def _codec(model: int) -> Codec:
    from codec import api

    return api.load(model)


def _default_model() -> int:
    from codec import manifest

    return manifest.read().default


def _model_of(data: bytes) -> int:
    from codec.bitstream import container

    return container.read_header(data).header.model_id


def __getattr__(name: str) -> object:
    if name in ("Codec", "load"):
        from codec import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
