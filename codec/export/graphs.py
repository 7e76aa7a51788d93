"""Networks as ONNX graphs, traced by PyTorch; the weights are those of the model's file, by name.

A graph depends on the shape of a model only. Its initialisers have the names, types and shapes of the weights file,
and are widened to float32 in the graph; they are either in the graph (``embed``) or in the weights file beside it
(``refer``).
"""

from __future__ import annotations

import json
import re
import struct
import warnings
from collections.abc import Mapping, Sequence
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


class FromLatents(torch.nn.Module):
    """What is left to do when the latents are decoded: v_hat (1, C, h, w) int32 in 1/UNIT step, h and w even; level
    (1,) int32 0..MAX_LEVEL -> rgb (16 h, 16 w, 3) uint8."""

    def __init__(self, net: VQVAE) -> None:
        super().__init__()
        self.net = net

    def forward(self, v_hat: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        position = level.float() * ((self.net.config.anchors - 1) / MAX_LEVEL)
        x_hat = self.net.synthesise(self.net.from_steps(v_hat.float() / UNIT, position), position)[0]
        return x_hat.clamp(0, 1).mul(255).round().permute(1, 2, 0).to(torch.uint8)


def synthesis(net: VQVAE) -> onnx.ModelProto:
    """g_s and its filter, for latents of any even size, as the graph of ``FromLatents``; initialisers as in PyTorch."""
    latents = torch.zeros(1, net.config.channels, 8, 6, dtype=torch.int32)
    return trace(FromLatents(net), {"v_hat": latents, "level": torch.zeros(1, dtype=torch.int32)}, "rgb")


def trace(module: torch.nn.Module, inputs: dict[str, torch.Tensor], output: str) -> onnx.ModelProto:
    """The graph of a module with a network ``net``, whose weights keep their names. inputs: examples, by name and in
    order; the last two axes of arrays with more than two are free."""
    free = torch.export.Dim.DYNAMIC
    sides = {name: {axis: free for axis in range(x.ndim - 2, x.ndim) if x.ndim > 2} for name, x in inputs.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=sides,
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
    names = dict(zip([axis.dim_param for axis in _axes(graph.input[0]) if axis.dim_param], "hw", strict=False))
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
        for axis in _axes(value):
            if axis.dim_param:
                axis.dim_param = re.sub(r"[a-z]\w*", lambda found: names.get(found[0], found[0]), axis.dim_param)
    return model


def _axes(value: onnx.ValueInfoProto) -> Sequence[onnx.TensorShapeProto.Dimension]:
    return value.type.tensor_type.shape.dim


def embed(
    model: onnx.ModelProto, weights: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray] | None = None
) -> onnx.ModelProto:
    """The graph with its weights in it, in the types that the weights file has. rows: for weights in 8 bits, what
    their rows are multiplied with."""
    return _bound(model, {name: numpy_helper.from_array(value, name) for name, value in weights.items()}, rows or {})


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
    return _bound(model, tensors, {})


def _bound(
    model: onnx.ModelProto, tensors: Mapping[str, TensorProto], rows: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """A copy with other initialisers of the same names; nodes of the graph make float32 of them."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.initializer[:], out.graph.node[:]
    wide = {}
    for old in model.graph.initializer:
        tensor = tensors.get(old.name, old)  # what is no weight stays
        if list(tensor.dims) != list(old.dims):
            raise ValueError(f"{old.name} has shape {list(tensor.dims)}, the network {list(old.dims)}")
        out.graph.initializer.append(tensor)
        if tensor.data_type in (TensorProto.FLOAT16, TensorProto.INT8) and old.data_type == TensorProto.FLOAT:
            wide[old.name] = f"{old.name}.wide"
            out.graph.node.append(helper.make_node("Cast", [old.name], [wide[old.name]], to=TensorProto.FLOAT))
        if old.name in rows:
            scale = rows[old.name].reshape(-1, *[1] * (len(tensor.dims) - 1))
            out.graph.initializer.append(numpy_helper.from_array(scale, f"{old.name}.rows"))
            factors, wide[old.name] = [wide[old.name], f"{old.name}.rows"], f"{old.name}.scaled"
            out.graph.node.append(helper.make_node("Mul", factors, [wide[old.name]]))
    for node in model.graph.node:
        new = out.graph.node.add()
        new.CopyFrom(node)
        new.input[:] = [wide.get(name, name) for name in node.input]
    return out


def weight_names(model: onnx.ModelProto) -> list[str]:
    """Names of the weights that a graph takes."""
    return [tensor.name for tensor in model.graph.initializer]
