"""`completion`: a script that completes the command line in a shell, made from the parser by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from codec.cli import PROGRAM
from codec.errors import CodecError

#: Metavars of what is a file, or a folder.
FILES, FOLDERS = ("FILE", "INPUT", "OUT"), ("DIR",)


def run_completion(args: argparse.Namespace) -> int:
    """Print the script. shtab is imported here only."""
    from codec.cli.parser import make_parser

    try:
        import shtab
    except ImportError:
        raise CodecError("completion needs shtab (pip install 'ldc-codec[completion]')") from None
    parser = make_parser()
    for action in actions(parser):
        if action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar in FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    print(shtab.complete(parser, args.shell, root_prefix=PROGRAM))
    return 0


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of its commands."""
    for action in parser._actions:  # argparse has no other way to them
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from actions(command)
