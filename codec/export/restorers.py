"""The networks of a semantic decoder as graphs: the step that makes a latent of noise, and the painter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from codec.bitstream.container import MAX_LEVEL
from codec.coding.model import Base
from codec.errors import CodecError
from codec.export.check import session
from codec.export.graphs import embed, trace
from codec.export.write import Graph
from codec.models.restorer import Condition, Restorer
from codec.zoo import read_restorer, stored_restorer

_PICTURE = "float32 (1, 3, 16 h, 16 w), 0..1: the picture of the decoder vq before it is cut to its size"
_LEVEL = "int32 (1,): of the header, 0..max_level"


def _task(net: Restorer, level: torch.Tensor) -> torch.Tensor:
    return level.float() * ((net.anchors - 1) / MAX_LEVEL)


class _Generate(torch.nn.Module):
    """One step of the denoiser, as codec.restoration.restore.generate takes it."""

    def __init__(self, net: Restorer, codewords: torch.Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("codewords", codewords)

    def forward(self, z: torch.Tensor, x_c: torch.Tensor, tokens: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        context = self.net.hyper(self.codewords[tokens.long()].permute(0, 3, 1, 2))
        return self.net.generate(z, Condition(x_c, _task(self.net, level), context))


class _Paint(torch.nn.Module):
    """The painter, as codec.restoration.restore.paint takes it."""

    def __init__(self, net: Restorer) -> None:
        super().__init__()
        self.net = net

    def forward(self, s: torch.Tensor, x_c: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return self.net.paint(s, Condition(x_c, _task(self.net, level), None))


@torch.no_grad()
def restorer_graphs(name: str, file: Path, base: Base, say: Callable[[str], None]) -> dict[str, Graph]:
    """name: of the decoder; file: its weights -> its two graphs, checked against PyTorch. say: called with a line."""
    net, (arrays, rows) = read_restorer(file), stored_restorer(file)
    codewords = base.vqvae.tokens.centroids(base.vqvae.sd)
    modules = {"generate": _Generate(net, codewords), "paint": _Paint(net)}
    data = {}
    for part, module in modules.items():
        inputs = _example(part, len(net.scale), len(codewords), 8, 6)
        graph = trace(module, inputs, "s" if part == "generate" else "x_hat")
        data[part] = embed(graph, arrays, rows).SerializeToString()
    worst = max(_apart(data[part], part, modules[part], len(net.scale), len(codewords)) for part in modules)
    say(f"{name}: within {worst:.1e} of PyTorch")
    channels = len(net.scale)
    latent = f"float32 (1, {channels}, h, w)"
    return {
        f"{name}.generate": Graph(
            f"{name}.generate.onnx",
            data["generate"],
            {
                "z": f"{latent}: noise of unit variance, or zeros for the decoder perceptual",
                "x_c": _PICTURE,
                "tokens": "int32 (1, h / 2, w / 2): of the file",
                "level": _LEVEL,
            },
            {"s": f"{latent}: what the picture lost"},
        ),
        f"{name}.paint": Graph(
            f"{name}.paint.onnx",
            data["paint"],
            {"s": latent, "x_c": _PICTURE, "level": _LEVEL},
            {"x_hat": "float32 (1, 3, 16 h, 16 w): the picture with detail, not clipped"},
        ),
    }


def _example(part: str, channels: int, words: int, h: int, w: int) -> dict[str, torch.Tensor]:
    """Inputs of a graph for h x w positions, at random."""
    random = torch.Generator().manual_seed(h)
    latent, x_c = torch.randn(1, channels, h, w, generator=random), torch.rand(1, 3, 16 * h, 16 * w, generator=random)
    level = torch.tensor([1000 + h], dtype=torch.int32)
    if part == "paint":
        return {"s": latent, "x_c": x_c, "level": level}
    tokens = torch.randint(words, (1, h // 2, w // 2), generator=random, dtype=torch.int32)
    return {"z": latent, "x_c": x_c, "tokens": tokens, "level": level}


def _apart(data: bytes, part: str, module: torch.nn.Module, channels: int, words: int) -> float:
    """Largest difference between onnxruntime and PyTorch, over two sizes. Raises CodecError for more than half a grey
    level."""
    run, worst = session(data), 0.0
    for h, w in ((4, 10), (6, 6)):
        inputs = _example(part, channels, words, h, w)
        (got,) = run.run(None, {name: value.numpy() for name, value in inputs.items()})
        worst = max(worst, float(np.abs(got - module(*inputs.values()).numpy()).max()))
    if not worst < 0.5 / 255:
        raise CodecError(f"the exported graph is off by up to {worst:.2g}")
    return worst
