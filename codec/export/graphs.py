"""Networks as ONNX graphs, traced by PyTorch; the weights are those of the model's file, by name.

A graph depends on the shape of a model only. Its initialisers have the names, types and shapes of the weights file, and are
widened to float32 in the graph; they are either in the graph (``embed``) or in the weights file beside it (``refer``).
"""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from codec.bitstream.container import MAX_LEVEL
from codec.bitstream.tables import UNIT
from codec.models.vqvae import VQVAE

OPSET = 18
_TYPES = {np.dtype(np.float16): TensorProto.FLOAT16, np.dtype(np.float32): TensorProto.FLOAT}


class Picture(torch.nn.Module):
    """What is left to do when the latents are decoded: v_hat (1, C, h, w) int32 in 1/UNIT step, h and w even; level (1,) int32
    0..MAX_LEVEL -> rgb (16 h, 16 w, 3) uint8."""

    def __init__(self, net: VQVAE) -> None:
        super().__init__()
        self.net = net

    def forward(self, v_hat: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        position = level.float() * ((self.net.config.anchors - 1) / MAX_LEVEL)
        x_hat = self.net.synthesise(self.net.from_steps(v_hat.float() / UNIT, position), position)[0]
        return x_hat.clamp(0, 1).mul(255).round().permute(1, 2, 0).to(torch.uint8)


def synthesis(net: VQVAE) -> onnx.ModelProto:
    """g_s and its filter, for latents of any even size, as the graph of ``Picture``; initialisers as in PyTorch."""
    latents = torch.zeros(1, net.config.channels, 8, 6, dtype=torch.int32)
    sides = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            Picture(net).eval(),
            (latents, torch.zeros(1, dtype=torch.int32)),
            input_names=["v_hat", "level"],
            output_names=["rgb"],
            dynamic_shapes={"v_hat": sides, "level": None},
            opset_version=OPSET,
            optimize=False,  # keeps every weight under its name; the runtime folds constants
            verbose=False,
        )
    return _tidied(program.model_proto, "net.")


def _tidied(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """Without notes of the exporter, and without a prefix in the names of the weights."""
    graph = model.graph
    del graph.value_info[:]
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
        node.input[:] = [name.removeprefix(prefix) for name in node.input]
    for weight in graph.initializer:
        weight.name = weight.name.removeprefix(prefix)
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
        for axis, name in zip(_sides(value), ("h", "w"), strict=False):
            axis.dim_param = name if value.name == "v_hat" else f"16*{name}"
    return model


def _sides(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    return [axis for axis in value.type.tensor_type.shape.dim if axis.dim_param]


def embed(model: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The graph with its weights in it, in the types that the weights file has."""
    return _bound(model, {name: numpy_helper.from_array(value, name) for name, value in weights.items()})


def refer(model: onnx.ModelProto, file: Path) -> onnx.ModelProto:
    """The graph with external weights: those of the safetensors file, which has to lie beside it."""
    with open(file, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        entries = json.loads(f.read(size))
    tensors = {}
    for name, entry in entries.items():
        if entry.get("dtype") not in ("F16", "F32"):
            continue
        start, stop = entry["data_offsets"]
        tensor = TensorProto(name=name, dims=entry["shape"], data_location=TensorProto.EXTERNAL)
        tensor.data_type = TensorProto.FLOAT16 if entry["dtype"] == "F16" else TensorProto.FLOAT
        for key, value in (("location", file.name), ("offset", 8 + size + start), ("length", stop - start)):
            tensor.external_data.add(key=key, value=str(value))
        tensors[name] = tensor
    return _bound(model, tensors)


def _bound(model: onnx.ModelProto, tensors: Mapping[str, TensorProto]) -> onnx.ModelProto:
    """A copy with other initialisers of the same names; those of half precision are widened by a node of the graph."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.initializer[:], out.graph.node[:]
    wide = {}
    for old in model.graph.initializer:
        tensor = tensors[old.name]
        if list(tensor.dims) != list(old.dims):
            raise ValueError(f"{old.name} has shape {list(tensor.dims)}, the network {list(old.dims)}")
        out.graph.initializer.append(tensor)
        if tensor.data_type == TensorProto.FLOAT16:
            wide[old.name] = f"{old.name}.wide"
            out.graph.node.append(helper.make_node("Cast", [old.name], [wide[old.name]], to=TensorProto.FLOAT))
    for node in model.graph.node:
        new = out.graph.node.add()
        new.CopyFrom(node)
        new.input[:] = [wide.get(name, name) for name in node.input]
    return out


def weight_names(model: onnx.ModelProto) -> list[str]:
    """Names of the weights that a graph takes."""
    return [tensor.name for tensor in model.graph.initializer]
