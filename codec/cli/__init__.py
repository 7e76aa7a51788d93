"""The command line: encode, decode, upscale, info, export, view, thumbnail, integrate, completion, man.

Exit codes: 0 all done, 1 a file failed, 2 wrong usage, 130 interrupted. Bad input gives one sentence on
standard error and never a traceback, unless --debug asks for it. Standard output carries nothing but the file
(with '-'), the JSON objects (with --json) or what `info` has to say.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from codec.batch.outcome import UsageError, explain
from codec.cli.parser import make_parser
from codec.cli.report import PROGRAM, say


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (sys.argv without `argv`) and return its exit code."""
    _fill_closed()
    _print_anything()
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it has to say comes as an exception
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except UsageError as error:
        code, message = 2, str(error)
    except KeyboardInterrupt as error:
        code, message = 130, str(error) or "interrupted"
    except BrokenPipeError:
        # The reader of our output went away. Python would complain again when it flushes at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code, message = 1, "standard output was closed"
    except Exception as error:
        code, message = 1, explain(error)
        if args.debug:
            traceback.print_exc()
    say(f"{PROGRAM}: error: {message}")
    return code


def _print_anything() -> None:
    """Names that standard output has no signs for come escaped, as on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _fill_closed() -> None:
    """Open what the shell closed (2>&-), or the next file that is opened gets its number, and our messages."""
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)
