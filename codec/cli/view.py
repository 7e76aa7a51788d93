"""`view`: pictures in the browser, decoded there."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from codec.batch.outcome import UsageError, explain
from codec.bitstream import container
from codec.cli.report import say
from codec.errors import CodecError


def run_view(args: argparse.Namespace) -> int:
    """Import the page and its server late: other commands start without them."""
    import webbrowser

    from codec.view import assets
    from codec.view.server import Server

    if args.force and not args.export:
        raise UsageError("-f has no effect without --export")
    if args.build:
        if args.inputs:
            raise UsageError("--build takes no files")
        assets.build(export_model, say)
        return 0
    assets.require()
    pictures = _pictures(args.inputs)
    query = urlencode([("src", quote(path)) for path in pictures])
    if args.export:
        assets.export_page(Path(args.export), pictures, args.force)
        say(f"{args.export}: a page for any web server; open {assets.INDEX}{'?' + query if query else ''} there")
        return 0
    with Server({**assets.files(), **pictures}) as server:
        address = f"{server.address}{assets.INDEX}{'?' + query if query else ''}"
        print(address, flush=True)
        if not args.no_open:
            webbrowser.open(address)
        server.serve_forever()
    return 0


def _pictures(inputs: Sequence[str]) -> dict[str, Path]:
    """Addresses below the page -> files. Raises CodecError for a file that is none of ours."""
    found = {}
    for number, name in enumerate(inputs, 1):
        path = Path(name)
        try:
            with open(path, "rb") as file:
                container.read_header(file)
        except (CodecError, OSError) as error:
            raise CodecError(f"{name}: {explain(error)}") from error
        shown = os.fsencode(path.name).decode("utf-8", "replace")  # an address is text
        found[f"files/{number}/{shown}"] = path
    return found


def export_model(folder: Path) -> None:
    """Writes the default model as the page takes it."""
    from codec.cli.parser import make_parser

    args = make_parser().parse_args(["export", "--format", "onnx", "--output", str(folder), "--quiet"])
    args.run(args)
