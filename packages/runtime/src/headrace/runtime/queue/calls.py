"""What every verb needs: the scripts on one connection pool, checked arguments, long sequences in pieces."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis

from headrace.runtime.process.breaker import Breaker
from headrace.runtime.queue import scripts
from headrace.runtime.queue.base import PIECE, Entry, Verdict
from headrace.runtime.queue.keys import Keys

T = TypeVar("T")

MAX_NUMBER = 2**53
"""Redis sorts by doubles; beyond this they are not exact."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")


class PoolCalls:
    """Base of the verbs: one Redis, one namespace, and perhaps a breaker around every script."""

    def __init__(self, redis: Redis, *, namespace: str, breaker: Breaker | None = None) -> None:
        self._redis = redis
        self._keys = Keys(namespace)
        self._breaker = breaker

    async def _run(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        if self._breaker is None:
            return await scripts.run(self._redis, name, keys, args)
        return await self._breaker.call(lambda: scripts.run(self._redis, name, keys, args))


def is_id(text: str) -> bool:
    """Whether `text` can be the id of a job: letters, digits and `._:-`, at most 100. The claim script agrees."""
    return _ID.fullmatch(text) is not None


def checked_ids(ids: Iterable[str], *, name: str = "ids") -> list[str]:
    """The ids as a list.

    Raises:
        ValueError: One of them cannot be the id of a job.
    """
    found = list(ids)
    for position, text in enumerate(found):
        if not is_id(text):
            raise ValueError(f"{name}[{position}] must be 1 to 100 letters, digits or ._:-")
    return found


def checked_token(token: str) -> str:
    """The token.

    Raises:
        ValueError: It is empty or would break a key.
    """
    if not is_id(token):
        raise ValueError("token must be 1 to 100 letters, digits or ._:-")
    return token


def checked_number(value: int, *, name: str, low: int = 0, high: int = MAX_NUMBER) -> int:
    """The number.

    Raises:
        ValueError: It is outside of its limits.
    """
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}")
    return value


def checked_limits(limit: int | Sequence[int], ids: Sequence[str]) -> list[int]:
    """One limit per id.

    Raises:
        ValueError: One is not usable, there are more or fewer than ids, or they rise: then no prefix could be granted.
    """
    if isinstance(limit, int):
        return [checked_number(limit, name="limit")] * len(ids)
    limits = [checked_number(number, name="limit") for number in limit]
    if len(limits) != len(ids) or any(after > before for before, after in itertools.pairwise(limits)):
        raise ValueError("limit must be one number, or one for each id that never rises")
    return limits


def runs_of(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Equal neighbours together: (number, how many). One empty run for nothing."""
    return [(number, len(list(group))) for number, group in itertools.groupby(numbers)] or [(0, 0)]


def checked_entries(entries: Sequence[Entry | Verdict], *, name: str) -> None:
    """Look at ids, scores and due times.

    Raises:
        ValueError: One of them is not usable.
    """
    checked_ids((entry.id for entry in entries), name=name)
    for position, entry in enumerate(entries):
        checked_number(entry.score, name=f"{name}[{position}].score")
        checked_number(entry.due_ms, name=f"{name}[{position}].due_ms")


def pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """`items` in runs that one script takes."""
    for first in range(0, len(items), PIECE):
        yield items[first : first + PIECE]


def whole(score: float | str) -> int:
    """A score as an integer. A forged one that is not finite becomes one beyond every real score."""
    number = float(score)
    return int(number) if math.isfinite(number) else int(math.copysign(MAX_NUMBER, number))
