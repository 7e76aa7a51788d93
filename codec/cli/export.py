"""`export`: a model for programs that are not written in Python."""

from __future__ import annotations

import argparse
from pathlib import Path

from codec import manifest
from codec.cli.jobs import UsageError
from codec.cli.report import say
from codec.errors import CodecError


def run_export(args: argparse.Namespace) -> int:
    """Import what makes graphs, which takes seconds, when the model was found."""
    try:
        manifest.read(args.weights).number_of(args.model)
    except CodecError as error:
        raise UsageError(str(error)) from error
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise CodecError(f"{error.name} is not installed (pip install 'ldc-codec[onnx]')") from error
    from codec.export.model import export, export_graph

    write = export if args.format == "onnx" else export_graph
    write(Path(args.output), args.model, args.weights, args.force, lambda line: None if args.quiet else say(line))
    return 0
