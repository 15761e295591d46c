"""Breadth-first search through every reachable state of a model, then: is a goal reachable from each of them?"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .values import ViolationError

S = TypeVar("S", bound=Hashable)
C = TypeVar("C")


@dataclass(frozen=True)
class Model(Generic[S, C]):
    """What there is to explore.

    Args:
        start: The first state.
        steps: (label, is it progress?, next state) of every step; raises `ViolationError`.
        tidy: The state that stands for all equal ones.
        plain: The form in which a trace tells a state.
        check: Raises `ViolationError` when a state is wrong in itself.
        goals: From every state one of each must stay reachable by progress alone.
    """

    start: Callable[[C], S]
    steps: Callable[[S, C], Iterator[tuple[str, bool, S]]]
    tidy: Callable[[S, C], S]
    plain: Callable[[S], S]
    check: Callable[[S, C], None]
    goals: Sequence[tuple[str, Callable[[S], bool]]]


@dataclass(frozen=True)
class Result:
    """What was found. `violation` None and `complete`: the whole graph was searched and is clean."""

    states: int
    edges: int
    seconds: float
    violation: str | None
    trace: tuple[str, ...]
    complete: bool


class Search(Generic[S, C]):
    """One search; the first trace it finds is a shortest one."""

    def __init__(self, model: Model[S, C], cfg: C, *, limit: int) -> None:
        self._model = model
        self._cfg = cfg
        self._limit = limit
        self._began = time.monotonic()
        first = model.tidy(model.start(cfg), cfg)
        self._index: dict[S, int] = {first: 0}
        self._states: list[S] = [first]
        self._parent = array("q", [-1])
        self._sources, self._targets = array("q"), array("q")

    def run(self) -> Result:
        """Search everything, up to the limit."""
        i = 0
        while i < len(self._states):
            bad = self._expand(i)
            if bad is not None:
                return bad
            i += 1
            if len(self._states) > self._limit:
                return self._result(None, complete=False)
        return self._stuck() or self._result(None)

    def _expand(self, i: int) -> Result | None:
        model, cfg = self._model, self._cfg
        try:
            for _, is_progress, raw in model.steps(self._states[i], cfg):
                after = model.tidy(raw, cfg)
                k = self._index.get(after)
                if k is None:
                    k = self._index[after] = len(self._states)
                    self._states.append(after)
                    self._parent.append(i)
                    try:
                        model.check(after, cfg)
                    except ViolationError as bad:
                        return self._result(str(bad), self._trace(k))
                if is_progress and k != i:
                    self._sources.append(i)
                    self._targets.append(k)
        except ViolationError as bad:
            return self._result(str(bad), self._trace(i, ends_badly=True))
        return None

    def _stuck(self) -> Result | None:
        """Walk back from the goal states over progress edges; whatever is not reached is stuck."""
        n = len(self._states)
        head, following = array("q", [-1]) * n, array("q", [-1]) * len(self._sources)
        for e, target in enumerate(self._targets):
            following[e] = head[target]
            head[target] = e
        for name, goal in self._model.goals:
            reached = bytearray(n)
            stack = [k for k in range(n) if goal(self._states[k])]
            for k in stack:
                reached[k] = 1
            while stack:
                e = head[stack.pop()]
                while e >= 0:
                    source = self._sources[e]
                    if not reached[source]:
                        reached[source] = 1
                        stack.append(source)
                    e = following[e]
            bad = reached.find(0)
            if bad >= 0:
                trace = (*self._trace(bad), f"=> {self._states[bad]}")
                return self._result(f"{name} ({n - sum(reached)} of {n} states)", trace)
        return None

    def _trace(self, i: int, *, ends_badly: bool = False) -> tuple[str, ...]:
        """The labels on the way to state `i`, told again without sorting the workers, so that W0 stays W0."""
        path = []
        while i > 0:
            path.append(i)
            i = self._parent[i]
        raw, told = self._states[0], []
        for k in reversed(path):
            for label, _, after in self._model.steps(raw, self._cfg):
                if self._model.tidy(after, self._cfg) == self._states[k]:
                    raw = self._model.plain(after)
                    told.append(label)
                    break
        if ends_badly:
            told.append(self._last_label(raw))
        return tuple(told)

    def _last_label(self, raw: S) -> str:
        try:
            for _ in self._model.steps(raw, self._cfg):
                pass
        except ViolationError as bad:
            return bad.label
        return "?"

    def _result(self, violation: str | None, trace: tuple[str, ...] = (), *, complete: bool = True) -> Result:
        seconds = time.monotonic() - self._began
        return Result(len(self._states), len(self._sources), seconds, violation, trace, complete)


def explore(model: Model[Any, Any], cfg: Any, *, limit: int = 4_000_000) -> Result:
    """Search a model under one configuration."""
    return Search(model, cfg, limit=limit).run()
