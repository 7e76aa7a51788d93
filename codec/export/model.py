"""Export of one model: what `python -m codec export` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from codec import manifest, zoo
from codec.coding.model import Base
from codec.coding.sealed import building
from codec.coding.stored import SYNTHESIS, StoredModel, read_stored
from codec.errors import CodecError
from codec.export.check import check_synthesis
from codec.export.graphs import embed, refer, synthesis, weight_names
from codec.export.restorers import restorer_graphs
from codec.export.write import Graph, check_target, write_files, write_folder
from codec.zoo import decoder_file


def _nothing(line: str) -> None:
    pass


@dataclass(frozen=True)
class _Traced:
    """graph: without weights. data: the same with them, as bytes."""

    number: int
    net: Base
    stored: StoredModel
    graph: onnx.ModelProto
    data: bytes


def export(
    out: Path,
    model: str | int = "default",
    weights: str | Path | None = None,
    force: bool = False,
    say: Callable[[str], None] = _nothing,
    decoders: Sequence[str] = (),
) -> None:
    """Writes a model to a folder as graphs, integers and a manifest, and checks them.

    out: the folder. model: "default" or an id. weights: a folder of weights to add. force: overwrite an export that
    is there.
    say: called with lines about what was done. decoders: semantic ones whose networks are wanted too.

    Raises CodecError where the folder cannot be written, and where a graph does not make the picture PyTorch makes.
    """
    check_target(out, force)
    there = manifest.read(weights)
    files = [decoder_file(there, name, there.number_of(model)) for name in decoders]
    traced = _trace(model, weights, say)
    picture = Graph(
        "synthesis.onnx",
        traced.data,
        {
            "v_hat": "int32 (1, channels, h, w): latents in 1/unit step, h and w even, of 16x16 pixels each",
            "level": "int32 (1,): of the header, 0..max_level",
        },
        {"rgb": "uint8 (16 h, 16 w, 3): the padded picture; cut it to width and height"},
    )
    graphs = {"synthesis": picture}
    with building():
        for name, file in zip(decoders, files, strict=True):
            graphs |= restorer_graphs(name, file, traced.net, say)
    write_folder(out, traced.number, traced.stored, graphs, say)


def export_graph(
    out: Path,
    model: str | int = "default",
    weights: str | Path | None = None,
    force: bool = False,
    say: Callable[[str], None] = _nothing,
) -> None:
    """Writes the graph of a model's synthesis without weights, for codec.light, which looks for it beside the weights
    file.

    Arguments and errors are those of ``export``.
    """
    path, _ = zoo.find(model, manifest.read(weights))
    target = out / path.with_suffix(".onnx").name
    if target.exists() and not force:
        raise CodecError(f"the file '{target}' exists (-f overwrites it)")
    traced = _trace(model, weights, say)
    write_files(out, {target.name: refer(traced.graph, path).SerializeToString()}, say)


def _trace(model: str | int, weights: str | Path | None, say: Callable[[str], None]) -> _Traced:
    """Traces the synthesis of a model and checks it."""
    there = manifest.read(weights)
    path, number = zoo.find(model, there)
    stored = read_stored(path, SYNTHESIS)
    with building():
        net = zoo.load(number, weights=there)
        graph = synthesis(net.vqvae)
        if set(weight_names(graph)) != set(stored.floats):
            raise CodecError(f"the graph does not take the weights {', '.join(SYNTHESIS)} of {path.name}")
        data = embed(graph, stored.floats).SerializeToString()
        worst, share = check_synthesis(data, net)
    say(f"synthesis: within {worst} grey levels of PyTorch, {100 * share:.4f} % of the values differ")
    return _Traced(number, net, stored, graph, data)
