"""What is still to be fetched, level by level."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from headrace.runtime.store.crawl_results import url_hash
from headrace.worker.crawler.urls import host_of


@dataclass(frozen=True, slots=True)
class Target:
    """A URL to fetch. `depth` counts links from a start URL, `hops` counts redirects in a row."""

    url: str
    key: bytes
    depth: int
    hops: int = 0


class Frontier:
    """The URLs that were found and not fetched, and the hashes of all that were ever found.

    One level is finished before the next begins, so a URL's depth is its least depth and does not depend on which
    answer came first: an interrupted crawl ends with the same depths as one that ran through. The price is that a slow
    page holds up the next level for as long as it may take.

    Memory: one set entry of 12 bytes per URL ever found, the text only of those that wait.
    """

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._waiting: dict[bytes, int] = {}
        self._levels: dict[int, dict[str, deque[Target]]] = {}
        self._turns: deque[str] = deque()
        self._level: int | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def knows(self, key: bytes) -> bool:
        """Whether this URL was ever found."""
        return key in self._known

    def is_waiting(self, key: bytes) -> bool:
        """Whether this URL is still to be fetched."""
        return key in self._waiting

    def mark_done(self, key: bytes) -> None:
        """This URL is stored already (a resumed crawl)."""
        self._known.add(key)
        self._waiting.pop(key, None)

    def add(self, url: str, depth: int, hops: int = 0) -> bool:
        """Put a URL in its level; one that waits deeper is lifted. Returns whether it was never found before."""
        key = url_hash(url)
        is_new = key not in self._known
        if not is_new and self._waiting.get(key, -1) <= depth:
            return False
        self._known.add(key)
        self._waiting[key] = depth
        host = host_of(url)
        hosts = self._levels.setdefault(depth, {})
        if host not in hosts:
            hosts[host] = deque()
            if depth == self._level:
                self._turns.append(host)
        hosts[host].append(Target(url, key, depth, hops))
        return is_new

    def take(self, has_room: Callable[[str], bool], *, is_idle: bool) -> Target | None:
        """The next URL of the lowest level whose host has room, hosts in turn.

        Args:
            has_room: Whether a host may be asked now.
            is_idle: Whether nothing is being fetched; only then may the next level begin.
        """
        while True:
            for _ in range(len(self._turns)):
                if not self._turns:
                    break
                host = self._turns[0]
                self._turns.rotate(-1)
                if not has_room(host):
                    continue
                target = self._pop(host)
                if target is not None:
                    return target
            if self._turns or not is_idle or not self._open_level():
                return None

    def _pop(self, host: str) -> Target | None:
        assert self._level is not None
        queue = self._levels[self._level][host]
        while queue:
            target = queue.popleft()
            # A stale entry was lifted to a lower level, or is stored already.
            if self._waiting.get(target.key) == target.depth:
                del self._waiting[target.key]
                return target
        del self._levels[self._level][host]
        self._turns.pop()  # it was moved to the end for its turn
        return None

    def _open_level(self) -> bool:
        self._levels = {depth: hosts for depth, hosts in self._levels.items() if hosts}
        if not self._levels:
            self._level = None
            return False
        self._level = min(self._levels)
        self._turns = deque(self._levels[self._level])
        return True
