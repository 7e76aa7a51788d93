"""The command line: encode, decode, upscale, info, export, view, thumbnail, integrate, completion, man.

Exit codes: 0 all done, 1 a file failed, 2 wrong usage, 130 interrupted. Bad input gives one sentence on
standard error and never a traceback, unless --debug asks for it. Standard output carries nothing but the file
(with '-'), the JSON objects (with --json) or what `info` has to say.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence

#: What the program is called, however it was started: `ldc` and `python -m codec` are the same.
PROGRAM = "ldc"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (sys.argv without `argv`) and return its exit code."""
    try:
        return _run(argv)
    except KeyboardInterrupt:  # while what says it otherwise was imported
        if sys.stderr is not None:
            print(f"{PROGRAM}: error: interrupted", file=sys.stderr, flush=True)
        return 130
    finally:
        if argv is None:
            _end_at_once()


def _end_at_once() -> None:
    """All is said and written, and Ctrl-C has nothing to interrupt but what Python and torch do when they end, whose
    tracebacks would be shown."""
    import signal

    with contextlib.suppress(ValueError):  # not the main thread, where Ctrl-C is another's
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _run(argv: Sequence[str] | None) -> int:
    """All imports are made here, where Ctrl-C is caught."""
    _fill_closed()
    _print_anything()
    import logging
    import traceback

    from codec.batch.outcome import UsageError, explain
    from codec.cli.parser import make_parser
    from codec.cli.report import say

    logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it has to say comes as an exception
    debug = False
    try:
        args = make_parser().parse_args(argv)
        debug = args.debug
        code = int(args.run(args))
        if code:
            _drop_output()
        elif sys.stdout is not None:
            sys.stdout.flush()
        return code
    except UsageError as error:
        code, message = 2, str(error)
    except KeyboardInterrupt as error:
        code, message = 130, str(error) or "interrupted"
    except BrokenPipeError:
        code, message = 1, "standard output was closed"
    except Exception as error:
        code, message = 1, explain(error)
        if debug:
            traceback.print_exc()
    _drop_output()
    say(f"{PROGRAM}: error: {message}")
    return code


def _drop_output() -> None:
    """What cannot be written to standard output: Python would try again at exit, and complain."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
