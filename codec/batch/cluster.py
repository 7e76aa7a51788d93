"""Many items on a Ray cluster (the extra `ray`): actors that each keep their own callable. Ray places and replaces
them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic

from codec.batch.engine import Attempt, Died, Do, R, T
from codec.batch.outcome import StartError, UsageError

_TRIES = 4  # of an item whose actor or node dies
_AHEAD = 2  # items an actor has at a time: the one it does, and the next


@dataclass(frozen=True)
class Cluster(Generic[T, R]):
    """A cluster that runs, or one that is started on this machine.

    make: called once in each actor, gives what does an item; pickled. address: of the head node, "auto" for the one
    that RAY_ADDRESS or this machine names, None to start one here. actors: how many to ask for, None for one a CPU
    (a GPU with `gpus`) of what there is; those that Ray can place get work, so that an autoscaler has something to do.
    """

    make: Callable[[], Do[T, R]]
    address: str | None = None
    actors: int | None = None
    gpus: bool = False

    def run(self, items: Iterable[T]) -> Iterator[tuple[int, R | Died]]:
        """Number and result of each item, as they are done. Closing the iterator ends the actors.

        An item whose actor or node dies is done again by another actor, and gives a Died after the fourth time.
        """
        ray = _ray()
        started = not ray.is_initialized()
        if started:
            try:
                ray.init(
                    address=self.address or "local",
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except Exception as error:
                where = f"'{self.address}'" if self.address else "on this machine"
                raise UsageError(f"there is no Ray cluster {where}: {' '.join(str(error).split())}") from error
        crew = _Crew(ray, self)
        try:
            yield from crew.loop(enumerate(items))
        finally:
            crew.close()
            if started:
                ray.shutdown()


class _Crew(Generic[T, R]):
    """The actors of one run, and what they have in work."""

    def __init__(self, ray: Any, cluster: Cluster[T, R]) -> None:
        self._ray, self._cluster = ray, cluster
        kind = "GPU" if cluster.gpus else "CPU"
        self._actor = ray.remote(**{f"num_{kind.lower()}s": 1})(_Actor)
        there = int(ray.cluster_resources().get(kind, 0))
        if cluster.actors is None and not there:
            raise UsageError(f"the Ray cluster has no {kind}")
        self._wanted = cluster.actors or there
        self._coming: dict[Any, Any] = {}  # a promise that it is ready -> actor
        self._load: dict[Any, int] = {}  # actor that is ready -> items it has
        self._running: dict[Any, tuple[Any, int, Attempt[T]]] = {}  # a promise of a result -> actor, number, item
        self._again: list[tuple[int, Attempt[T]]] = []
        self._lost_in_a_row = 0

    def loop(self, items: Iterator[tuple[int, T]]) -> Iterator[tuple[int, R | Died]]:
        fresh = ((number, Attempt(item)) for number, item in items)
        for _ in range(self._wanted):
            self._hire()
        empty = False
        while True:
            while not empty and (actor := self._idle()) is not None:
                chosen = self._again.pop() if self._again else next(fresh, None)
                if chosen is None:
                    empty = True
                    break
                self._running[actor.do.remote(chosen[1])] = (actor, *chosen)
                self._load[actor] += 1
            if empty and not self._running:
                return
            ready, _ = self._ray.wait([*self._running, *self._coming], num_returns=1)
            for promise in ready:
                if promise in self._coming:
                    self._welcome(promise)
                    continue
                actor, number, attempt = self._running.pop(promise)
                try:
                    result = self._ray.get(promise)
                except self._ray.exceptions.RayActorError:
                    self._dismiss(actor)
                    if attempt.number + 1 < _TRIES:
                        self._again.append((number, replace(attempt, number=attempt.number + 1)))
                        empty = False
                    else:
                        yield number, Died()
                    continue
                except self._ray.exceptions.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, Exception) else error from None
                if actor in self._load:
                    self._load[actor] -= 1
                yield number, result

    def _idle(self) -> Any | None:
        """The actor with the least to do, if it may have more."""
        actor = min(self._load, key=self._load.__getitem__, default=None)
        return actor if actor is not None and self._load[actor] < _AHEAD else None

    def _hire(self) -> None:
        actor = self._actor.remote(self._cluster.make)
        self._coming[actor.ready.remote()] = actor

    def _welcome(self, promise: Any) -> None:
        actor = self._coming.pop(promise)
        try:
            self._ray.get(promise)
        except self._ray.exceptions.RayActorError as error:
            self._lost_in_a_row += 1
            if self._lost_in_a_row > self._wanted + _TRIES and not self._load:
                raise StartError(f"the actors cannot be started: {' '.join(str(error).split())}") from error
            self._hire()
            return
        self._lost_in_a_row = 0
        self._load[actor] = 0

    def _dismiss(self, actor: Any) -> None:
        """An actor is dead: its other items fail too, each with its own error, and another is asked for."""
        if self._load.pop(actor, None) is not None:
            self._hire()

    def close(self) -> None:
        for actor in [*self._load, *self._coming.values()]:
            self._ray.kill(actor)


class _Actor:
    """One process of the cluster."""

    def __init__(self, make: Callable[[], Do[Any, Any]]) -> None:
        self._do = make()

    def ready(self) -> None:
        """Answers when the actor is there."""

    def do(self, attempt: Attempt[Any]) -> Any:
        return self._do(attempt, None)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UsageError("--engine ray needs the extra 'ray' (pip install 'ldc-codec[ray]')") from None
    return ray
