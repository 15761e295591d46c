"""How fast a token may submit: judged after its idempotency keys were looked up, before the bound (A9)."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps

import structlog
from aiohttp import web

from headrace.contracts.errors import RateLimitedError, StoreUnavailableError
from headrace.runtime.queue.limiter import RateLimiter, RateState
from headrace.runtime.web.auth import Rate, Token
from headrace.runtime.web.routes import Handler
from headrace.scheduler.drafts import Draft
from headrace.scheduler.intake import Intake, Outcome
from headrace.scheduler.links import RedisLink
from headrace.scheduler.tasks import Tasks

log = structlog.get_logger(__name__)


@dataclass
class RateNote:
    """What a request learns about its token's rate, for the headers of its answer."""

    rate: Rate | None = None
    state: RateState | None = None

    def headers(self) -> dict[str, str]:
        """`RateLimit-Policy` and `RateLimit`; none where no limit was asked."""
        if self.rate is None or self.state is None:
            return {}
        window = max(1, math.ceil(self.rate.burst / self.rate.per_second))
        return {
            "RateLimit-Policy": f'"default";q={self.rate.burst};w={window}',
            "RateLimit": f'"default";r={self.state.left};t={math.ceil(self.state.full_in_seconds)}',
        }


NOTE: ContextVar[RateNote | None] = ContextVar("NOTE", default=None)
"""The note of the request under way; tasks that it starts see the same one."""
REQUEST_NOTE = web.RequestKey("REQUEST_NOTE", RateNote)


def telling_rate(handler: Handler) -> Handler:
    """The handler of a route that submits: its answers, refusals too, carry the headers of the rate limit."""

    @wraps(handler)
    async def handle(request: web.Request) -> web.StreamResponse:
        request[REQUEST_NOTE] = note = RateNote()
        before = NOTE.set(note)
        try:
            return await handler(request)
        finally:
            NOTE.reset(before)  # a connection's next request runs in the same context

    return handle


async def set_rate_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: write what the note says."""
    if REQUEST_NOTE in request:
        response.headers.update(request[REQUEST_NOTE].headers())


@dataclass(frozen=True)
class _Bucket:
    name: str
    rate: Rate


class RatedIntake(Intake):
    """An intake that asks the rate limit of the token first.

    While Redis is away nobody is limited: the bound still holds, and a limiter that refuses would be a second outage.

    Args:
        commit: As of `Intake`.
        tasks: As of `Intake`.
        limiter: The buckets.
        redis: How to reach them.
        tokens: Whose rates are kept; those of one tenant share its bucket.
    """

    def __init__(
        self,
        commit: Callable[[str, Sequence[Draft]], Awaitable[Sequence[Outcome]]],
        tasks: Tasks,
        *,
        limiter: RateLimiter,
        redis: RedisLink,
        tokens: Iterable[Token],
    ) -> None:
        super().__init__(commit, tasks)
        self._limiter = limiter
        self._redis = redis
        self._buckets = {token.name: _Bucket(_name_of(token), token.rate) for token in tokens if token.rate}
        self._is_open = False

    async def submit_together(self, drafts: Sequence[Draft]) -> Sequence[Outcome]:
        """Store as many of the drafts, which are of one token, as its rate allows, the first of them."""
        bucket = self._buckets.get(drafts[0].submitted_by)
        if bucket is None:
            return await super().submit_together(drafts)
        state = await self._take(bucket, len(drafts))
        granted = len(drafts) if state is None else state.granted
        stored = await super().submit_together(drafts[:granted]) if granted else []
        return [*stored, *(_limited(bucket, state) for _ in drafts[granted:])]

    async def _take(self, bucket: _Bucket, count: int) -> RateState | None:
        rate = bucket.rate
        try:
            state = await self._redis.call(
                lambda: self._limiter.take(bucket.name, rate=rate.per_second, burst=rate.burst, count=count)
            )
        except StoreUnavailableError as error:
            if not self._is_open:
                log.warning("rate_limit.open", detail=error.detail)
            self._is_open = True
            return None
        if self._is_open:
            log.info("rate_limit.closed")
        self._is_open = False
        note = NOTE.get()
        if note is not None:
            note.rate, note.state = rate, state
        return state


def _name_of(token: Token) -> str:
    return f"token:{token.name}" if token.tenant is None else f"tenant:{token.tenant}"


def _limited(bucket: _Bucket, state: RateState | None) -> RateLimitedError:
    wait = state.wait_seconds if state else 1.0
    return RateLimitedError(
        f"this token may submit {bucket.rate.per_second:g} jobs a second, {bucket.rate.burst} at once",
        retry_after_seconds=max(1.0, wait),
    )
