"""`export`: a model for programs that are not written in Python."""

from __future__ import annotations

import argparse
from pathlib import Path

from codec import manifest
from codec.batch.outcome import UsageError
from codec.cli.report import say
from codec.errors import CodecError


def run_export(args: argparse.Namespace) -> int:
    """Import what makes graphs, which takes seconds, when the model was found."""
    try:
        weights = manifest.read(args.weights)
        there = weights.decoders.get(weights.number_of(args.model), {})
    except CodecError as error:
        raise UsageError(str(error)) from error
    if missing := [name for name in args.decoder if name not in there]:
        raise UsageError(f"there is no decoder '{missing[0]}' to export (there is: {', '.join(there) or 'none'})")
    if args.format == "graph" and args.decoder:
        raise UsageError("--decoder has no effect with --format graph")
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise CodecError(f"{error.name} is not installed (pip install 'ldc-codec[onnx]')") from error
    from codec.export.model import export, export_graph

    def tell(line: str) -> None:
        if not args.quiet:
            say(line)

    if args.format == "graph":
        export_graph(Path(args.output), args.model, args.weights, args.force, tell)
    else:
        export(Path(args.output), args.model, args.weights, args.force, tell, tuple(dict.fromkeys(args.decoder)))
    return 0
