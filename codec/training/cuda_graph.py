"""Recording of a training step for a card, so that it does not wait for Python between its thousands of small
kernels."""

from collections.abc import Callable, Iterable

import torch

WARM_UP = 3  # calls before a recording, in which libraries choose their algorithms


class Recorded:
    """A function of tensors, recorded as a CUDA graph for the shapes it is called with (again when they change) and
    replayed; elsewhere it is called as it is.

    What it returns, and the gradients it leaves, are overwritten by the next call. It may draw random numbers, must
    not look at values, and sets gradients to None before it makes them.
    """

    def __init__(
        self,
        function: Callable[..., tuple[torch.Tensor, ...]],
        record: bool,
        moved: Callable[[], Iterable[torch.Tensor]] = tuple,
    ) -> None:
        """moved: what the function changes; calls before a recording leave it as it was, or 0 where they made it."""
        self.function, self.record, self.moved = function, record, moved
        self._graph: torch.cuda.CUDAGraph | None = None
        self._given: list[torch.Tensor] = []
        self._found: tuple[torch.Tensor, ...] = ()

    def __call__(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if not self.record:
            return self.function(*given)
        if self._graph is None or [t.shape for t in given] != [t.shape for t in self._given]:
            self._make(given)
        for held, t in zip(self._given, given, strict=True):
            held.copy_(t)
        self._graph.replay()
        return self._found

    def forget(self) -> None:
        """The next call records again."""
        self._graph = None

    def _make(self, given: tuple[torch.Tensor, ...]) -> None:
        self._graph, self._found, self._given = None, (), [t.clone() for t in given]
        held = [(t, t.detach().clone()) for t in self.moved()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.function(*self._given)
        torch.cuda.current_stream().wait_stream(side)
        put_back(held, self.moved())
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._found = self.function(*self._given)


@torch.no_grad()
def put_back(held: list[tuple[torch.Tensor, torch.Tensor]], now: Iterable[torch.Tensor]) -> None:
    """Sets tensors to the values that were held; those that are new to 0, as optimisers begin."""
    values = {id(t): value for t, value in held}
    for t in now:
        t.copy_(values[id(t)]) if id(t) in values else t.zero_()
