"""The project's own codec, one name per decoder: all decoders read the same file."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.codecs.base import Allowed, CodecAbsent, CodecOptions, Image8, Search

DECODERS = ("vq", "ldm", "gan", "perceptual")


@lru_cache(maxsize=1)
def _load(device: str) -> Any:
    try:
        import codec
        from codec.errors import CodecError
    except ImportError as error:
        raise CodecAbsent(f"the package codec cannot be imported ({error})") from None
    try:
        return codec.load(device=device)
    except ImportError as error:
        raise CodecAbsent(f"the package codec cannot be imported ({error})") from None
    except (OSError, CodecError) as error:
        reason = str(error).replace(str(Path(codec.__file__).parent), "codec")  # results name no place of this machine
        raise CodecAbsent(f"the codec's weights cannot be loaded ({reason})") from None


def _decoders(loaded: Any) -> tuple[str, ...]:
    """Decoders that have weights; a codec that does not say so has all those that the package names."""
    if hasattr(loaded, "decoders"):
        return tuple(loaded.decoders())
    from codec import api

    return api.DECODERS


class Ours:
    """Setting = quality, 0 .. 100; `effort` is the encoder's search, 1 .. 9. Never lossless: a curve is of the lossy
    codec."""

    settings = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    search = Search(0, 100, 0.5)
    allowed = Allowed(0, 100)

    def __init__(self, decoder: str, effort: int, options: CodecOptions) -> None:
        self.name = f"ours-{decoder}" + (f"-e{effort}" if effort > 1 else "")
        self._decoder, self._effort = decoder, effort
        self._codec = _load(options.device)
        if decoder not in _decoders(self._codec):
            raise CodecAbsent(f"there are no weights for the {decoder} decoder")
        import codec

        known = (
            self._codec.decoder_id(decoder)
            if hasattr(self._codec, "decoder_id")
            else f"model {self._codec.model_id}, {decoder}"
        )
        search = self._codec.search_id(effort) if hasattr(self._codec, "search_id") else ""
        self.version = ", ".join(filter(None, (f"codec {codec.__version__}", known, f"effort {effort}", search)))

    def encode(self, image: Image8, setting: float) -> bytes:
        return self._codec.encode(image, quality=float(setting), effort=self._effort, lossless=False)

    def decode(self, data: bytes) -> Image8:
        return np.asarray(self._codec.decode(data, decoder=self._decoder).convert("RGB"))
