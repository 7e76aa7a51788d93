"""Many items on one machine: worker processes that each keep their own callable, and share a budget of megapixels."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from typing import Any, Generic

from codec.batch.engine import Attempt, Died, Do, R, T
from codec.batch.outcome import Needs, StartError

_HOPELESS = 3  # workers that died in a row, with nothing done before


class Stopped(BaseException):
    """In a worker: the run is over. Not an Exception, for nothing but the removal of half a file is to follow."""


@dataclass(frozen=True)
class Pool(Generic[T, R]):
    """What the workers are, and how many.

    make: called once in each worker, gives what does an item; both are pickled. processes: workers, one thread of
    torch each. megapixels: that may be in work at one time; a larger item is done alone.
    preload: modules that are imported once, before the workers are forked, so that they share the memory.
    """

    make: Callable[[], Do[T, R | Needs]]
    processes: int
    megapixels: float = float("inf")
    preload: tuple[str, ...] = ()

    def run(self, items: Iterable[T]) -> Iterator[tuple[int, R | Died]]:
        """Number and result of each item, as they are done. Closing the iterator stops the items in work.

        What is in work when a worker is killed is done again, one item at a time: the item that kills its worker again
        gives a Died, and the others lose nothing but time. Raises StartError where all workers die.
        """
        context = _context(self.preload)
        state = _State(self, context)
        try:
            yield from state.loop(enumerate(items))
        finally:
            state.close()


class _State(Generic[T, R]):
    """The pool of one run: what waits, what is in work, what is under suspicion."""

    def __init__(self, pool: Pool[T, R], context: BaseContext) -> None:
        self._pool, self._context = pool, context
        self._stop: Event = context.Event()
        self._executor: ProcessPoolExecutor | None = None
        self._running: dict[Future[Any], tuple[int, Attempt[T]]] = {}
        self._large: deque[tuple[int, Attempt[T]]] = deque()  # that need more than their share of the budget
        self._suspects: deque[tuple[int, Attempt[T]]] = deque()
        self._back: deque[tuple[int, Attempt[T]]] = deque()  # that a broken pool did not take
        self._share = pool.megapixels / pool.processes
        self._died = 0
        self._alive = False

    def loop(self, items: Iterator[tuple[int, T]]) -> Iterator[tuple[int, R | Died]]:
        fresh = ((number, Attempt(item, granted=self._share)) for number, item in items)
        while True:
            while (chosen := self._next(fresh)) is not None and self._submit(*chosen):
                pass
            if not self._running:
                if chosen is None:
                    return
                continue
            lost = []
            for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                number, attempt = self._running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    lost.append((number, attempt))
                    continue
                self._alive = True
                if isinstance(result, Needs):
                    self._large.append((number, replace(attempt, granted=result.megapixels)))
                else:
                    yield number, result
            if lost:
                lost += self._running.values()  # whether their futures know it yet or not
                self._running.clear()
                yield from self._lost(sorted(lost, key=lambda one: one[0]))

    def _next(self, fresh: Iterator[tuple[int, Attempt[T]]]) -> tuple[int, Attempt[T]] | None:
        """What to start now, or None to wait. A suspect is alone, and one that is too large for the rest waits for
        it."""
        running = [attempt for _, attempt in self._running.values()]
        if len(running) >= self._pool.processes or any(attempt.number for attempt in running):
            return None
        if self._suspects:
            return None if running else self._suspects.popleft()
        left = self._pool.megapixels - sum(attempt.granted for attempt in running)
        if self._large:
            return self._large.popleft() if not running or self._large[0][1].granted <= left else None
        if running and self._share > left * 1.000001:  # sums of shares are not exact
            return None
        return self._back.popleft() if self._back else next(fresh, None)

    def _lost(self, lost: list[tuple[int, Attempt[T]]]) -> Iterator[tuple[int, R | Died]]:
        """A worker died, and with it its pool and all that was in work."""
        self._close_executor()
        if len(lost) == 1 and lost[0][1].number:
            self._died += 1
            if self._died >= _HOPELESS and not self._alive:
                raise StartError("the worker processes die at once, most likely for want of memory; try fewer --jobs")
            yield lost[0][0], Died()
        else:
            self._suspects += [(number, replace(attempt, number=attempt.number + 1)) for number, attempt in lost]

    def _submit(self, number: int, attempt: Attempt[T]) -> bool:
        """False where the pool turns out to be broken."""
        if self._executor is None:
            start = (self._pool.make, self._stop)
            self._executor = ProcessPoolExecutor(self._pool.processes, self._context, _start, start)
        try:
            with one_thread_each(), interrupt_later():
                self._running[self._executor.submit(_do, attempt)] = (number, attempt)
        except BrokenProcessPool:  # a worker died while it had nothing to do
            self._back.append((number, attempt))
            if not self._running:
                self._close_executor()
            return False
        return True

    def close(self) -> None:
        self._stop.set()
        self._close_executor()

    def _close_executor(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None


def _context(preload: tuple[str, ...]) -> BaseContext:
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


_worker: Do[Any, Any]
_stopped: Event
_busy = threading.Lock()


def _start(make: Callable[[], Do[Any, Any]], stopped: Event) -> None:
    """Start of a worker process: Ctrl-C is the main process's business, and its death is the worker's end."""
    global _worker, _stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminated)
    _stopped = stopped
    try:
        threading.Thread(target=_follow_parent, daemon=True).start()
        _worker = make()
    except (MemoryError, RuntimeError):  # there is no memory for a thread: the main process says what it means
        os._exit(1)


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        _stopped.set()
        _busy.acquire(timeout=10)  # a file that is being written is finished, or its beginning removed
        os._exit(1)


def _terminated(*_: Any) -> None:
    """Another worker died, and the pool ends this one."""
    if _busy.locked():
        raise Stopped
    os._exit(1)


def _do(attempt: Attempt[Any]) -> Any:
    try:
        with _busy:
            return _worker(attempt, _check_stopped)
    except Stopped:
        if not _stopped.is_set():
            os._exit(1)
        raise


def _check_stopped(done: float) -> None:
    if _stopped.is_set():
        raise Stopped


@contextmanager
def interrupt_later() -> Iterator[None]:
    """Ctrl-C takes effect after the block; processes started within never get it, not even before `_start` runs."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Environment for the workers: numeric libraries start no threads of their own."""
    old: Mapping[str, str | None] = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS",)}
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
