"""Commands of training and of the benchmark: what they were given and cannot use is told in one sentence, not in a
traceback."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from codec.errors import CodecError

P = ParamSpec("P")
R = TypeVar("R")


def told(main: Callable[P, R]) -> Callable[P, R]:
    """A command whose refusals, files that cannot be opened and Ctrl-C outside the loop end it with a sentence."""

    @functools.wraps(main)
    def command(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return main(*args, **kwargs)
        except CodecError as error:
            raise SystemExit(str(error)) from None
        except KeyboardInterrupt:
            raise SystemExit("interrupted; the same command begins again, or goes on from what was saved") from None
        except OSError as error:
            if error.filename is None or error.strerror is None:
                raise
            raise SystemExit(f"cannot open {error.filename}: {error.strerror}") from None

    return command
