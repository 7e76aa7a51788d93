"""Export of one model: what `python -m codec export` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from codec import manifest, zoo
from codec.coding.sealed import sealed
from codec.coding.stored import read_stored
from codec.export.check import check_synthesis
from codec.export.graphs import embed, synthesis, weight_names
from codec.export.write import SYNTHESIS, Graph, check_target, write_folder


def export(
    out: Path,
    model: str | int = "default",
    weights: str | Path | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Writes a model to a folder as graphs, integers and a manifest, and checks them.

    out: the folder. model: "default" or an id. weights: a folder of weights to add. force: overwrite an export that is there.
    say: called with lines about what was done.

    Raises CodecError where the folder cannot be written, and where a graph does not make the picture PyTorch makes.
    """
    check_target(out, force)
    there = manifest.read(weights)
    path, number = zoo.find(model, there)
    stored = read_stored(path)
    with sealed():
        net = zoo.load(number, weights=there)
        graph = synthesis(net.vqvae)
        data = embed(graph, {name: stored.floats[name] for name in weight_names(graph)}).SerializeToString()
        worst, share = check_synthesis(data, net)
    say(f"synthesis: within {worst} grey level of PyTorch, {100 * share:.4f} % of the values differ")
    picture = Graph(
        SYNTHESIS,
        data,
        {
            "v_hat": "int32 (1, channels, h, w): latents in 1/unit step, h and w even, of 16x16 pixels each",
            "level": "int32 (1,): of the header, 0..max_level",
        },
        {"rgb": "uint8 (16 h, 16 w, 3): the padded picture; cut it to width and height"},
    )
    write_folder(out, number, stored, {"synthesis": picture}, say)
