"""Which program decodes, torch or onnxruntime, and the codecs that it loads."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from codec import _start, manifest
from codec.batch.outcome import StartError, explain
from codec.batch.settings import Settings
from codec.errors import CodecError, UnknownModelError

if TYPE_CHECKING:
    from codec.api import Codec
    from codec.light import LightCodec


def load_codec(settings: Settings, model: str | int) -> Codec | LightCodec:
    """Load a model, with torch, which takes seconds to import, or without: called when the first picture needs it."""
    weights = manifest.read(settings.weights)
    number = weights.number_of(model)
    backend = settings.backend or ("onnx" if not needs_torch(settings) and has_onnxruntime() else None)
    if backend == "onnx":
        from codec import light  # which imports onnxruntime

        if settings.backend or light.graph_of(weights, number):
            return light.load(model, settings.weights)
    if importlib.util.find_spec("torch") is None:
        raise CodecError("torch is not installed, and without it there is only decode of vq (extra 'light')")
    made: Codec = _start.api().load(
        model,
        device=settings.device,
        threads=settings.threads,
        weights=settings.weights,
        precision=settings.precision,
    )
    return made


def has_onnxruntime() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def needs_torch(settings: Settings) -> tuple[str, object] | None:
    """What was asked of a decoder that onnxruntime cannot do: the option, and its value."""
    asked = {
        "decoder": (getattr(settings.options, "decoder", ""), "vq"),
        "device": (settings.device, "cpu"),
        "precision": (settings.precision, "float32"),
        "threads": (settings.threads, None),
    }
    return next(((name, value) for name, (value, plain) in asked.items() if value != plain), None)


class Codecs:
    """The codecs of a run, which are loaded at their first use and kept."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: dict[str | int, Any] = {}

    def __call__(self, model: str | int) -> Any:
        """A codec.api.Codec, or a codec.light.LightCodec, which only decodes. Raises StartError where it cannot be
        loaded."""
        if model not in self._loaded:
            try:
                self._loaded[model] = load_codec(self._settings, model)
            except UnknownModelError:  # of one file
                raise
            except Exception as error:
                raise StartError(f"the codec cannot be loaded: {explain(error)}") from error
        return self._loaded[model]
