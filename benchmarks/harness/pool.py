"""Worker processes that end at once when the work is given up (Ctrl-C, an error)."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Any


@contextmanager
def quick_pool(
    processes: int, start: str, initializer: Callable[..., Any], arguments: tuple[Any, ...]
) -> Iterator[ProcessPoolExecutor]:
    """A pool; when the block raises, its processes are killed, whatever they do, and nothing is waited for.

    start: "spawn", "fork" or "forkserver"; initializer(*arguments) runs first in each process.
    """
    others = set(active_children())
    pool = ProcessPoolExecutor(processes, get_context(start), initializer, arguments)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(active_children()) - others:
            process.terminate()
        raise
    pool.shutdown()
