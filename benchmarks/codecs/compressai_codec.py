"""Models of CompressAI's zoo, run to real bytes with their own entropy coder.

The checkpoints are read from torch's checkpoint cache (`--weights-cache` moves it) and never downloaded by a
benchmark run: a run that starts a download in the middle cannot be timed or resumed. The message of `CodecAbsent`
says how to get them.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.codecs.base import Allowed, CodecAbsent, CodecOptions, Image8, Search

ARCHITECTURES = (
    "bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018", "cheng2020-anchor", "cheng2020-attn",
)  # fmt: skip
_STRIDE = 64  # inputs are padded to a multiple of it


class CompressAi:
    """Setting = the zoo's quality; file = setting, width, height, latent size, and the strings with their lengths."""

    def __init__(self, architecture: str, options: CodecOptions) -> None:
        from codec._compat import import_torchvision

        self.name = f"compressai-{architecture}"
        try:
            import_torchvision()
            import compressai
            from compressai.zoo.image import model_urls
        except ImportError as error:
            raise CodecAbsent(f"compressai cannot be imported ({error})") from None
        import torch

        urls = model_urls[architecture]["mse"]
        folder = Path(torch.hub.get_dir(), "checkpoints")
        self._files = {quality: folder / Path(url).name for quality, url in urls.items()}
        self.settings = tuple(float(quality) for quality, file in self._files.items() if file.is_file())
        if not self.settings:
            raise CodecAbsent(
                f"no checkpoint of {architecture} (for example {next(iter(self._files.values())).name}) is in torch's cache; "
                f"compressai.zoo.{architecture.replace('-', '_')}(quality=1, pretrained=True) downloads one"
            )
        self.search = Search(self.settings[0], self.settings[-1], 1)
        self.allowed = Allowed(self.settings[0], self.settings[-1], values=self.settings)
        self.version = f"compressai {compressai.__version__}, zoo weights for MSE"
        self._architecture, self._device = architecture, options.device
        self._models: dict[int, Any] = {}

    def _model(self, quality: int) -> Any:
        if quality not in self._models:
            import torch
            from compressai.zoo.image import model_architectures
            from compressai.zoo.pretrained import load_pretrained

            if quality not in self._files or not self._files[quality].is_file():
                raise CodecAbsent(f"no checkpoint of {self._architecture} for quality {quality} is in torch's cache")
            state = load_pretrained(torch.load(self._files[quality], map_location="cpu", weights_only=True))
            model = model_architectures[self._architecture].from_state_dict(state)
            model.update()
            self._models[quality] = model.eval().to(self._device)
        return self._models[quality]

    def encode(self, image: Image8, setting: float) -> bytes:
        import torch

        quality, (height, width) = int(setting), image.shape[:2]
        padded = np.pad(image, ((0, -height % _STRIDE), (0, -width % _STRIDE), (0, 0)), mode="edge")
        x = torch.from_numpy(padded).permute(2, 0, 1)[None].float().div(255).to(self._device)
        with torch.inference_mode():
            coded = self._model(quality).compress(x)
        strings = [group[0] for group in coded["strings"]]
        header = struct.pack(">BHHBBB", quality, width, height, *coded["shape"], len(strings))
        return header + b"".join(struct.pack(">I", len(string)) + string for string in strings)

    def decode(self, data: bytes) -> Image8:
        import torch

        quality, width, height, *shape, count = struct.unpack_from(">BHHBBB", data)
        position, strings = struct.calcsize(">BHHBBB"), []
        for _ in range(count):
            (length,) = struct.unpack_from(">I", data, position)
            strings.append([data[position + 4 : position + 4 + length]])
            position += 4 + length
        with torch.inference_mode():
            x_hat = self._model(quality).decompress(strings, tuple(shape))["x_hat"][0]
        pixels = x_hat.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
        return pixels[:height, :width]
