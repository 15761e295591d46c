"""Send one request, again where that can help, and give its JSON or raise its error."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel

from headrace.client.problems import error_of
from headrace.contracts.errors import (
    ApiError,
    ConfigError,
    HeadraceError,
    IdempotencyInFlightError,
    QueueFullError,
    RateLimitedError,
    StoreUnavailableError,
)

_WORTH_ANOTHER_TRY = (StoreUnavailableError, QueueFullError, RateLimitedError, IdempotencyInFlightError)
_OF_A_GATEWAY = frozenset({502, 503, 504})
_SILENCE_SECONDS = 45.0
"""An event stream says something every 15 s; one that is silent for so long is lost."""


class NotReachableError(HeadraceError):
    """No answer came from the server: refused, cut or too slow. Whether the last request was obeyed is not known."""

    code: ClassVar[str] = "not-reachable"


class Transport:
    """The HTTP side of the client. Every request it is given must be safe to repeat.

    Connections are kept and used again; event streams have theirs apart, so that many of them hold up no request.

    Args:
        base_url: Where the scheduler answers, with its base path if it has one.
        token: Sent as a bearer token; redirects are not followed, so it reaches nobody else.
        tries: How often a request is sent at most.
        longest_wait_seconds: A `Retry-After` beyond this is not waited for: its error is raised at once.
        timeout_seconds: For one try, from connecting to the last byte.
        connections: Open at once for requests; further ones wait for one to be free.

    Raises:
        ConfigError: `base_url` is not an http or https address.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        tries: int = 5,
        longest_wait_seconds: float = 30.0,
        timeout_seconds: float = 30.0,
        connections: int = 100,
    ) -> None:
        try:
            parts = urlsplit(base_url)
            valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid or parts.query or parts.fragment:
            raise ConfigError("base_url must be an http:// or https:// address without query and fragment")
        self._base = base_url.rstrip("/")
        self.server = parts.netloc.rpartition("@")[2]
        """Host and port, without a login: for messages."""
        self.tries = max(1, tries)
        self._headers = {"User-Agent": "headrace-client"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._longest_wait = longest_wait_seconds
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=5)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = self._open(self._timeout, self._connections)
        self._streams = self._open(aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_SILENCE_SECONDS), 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in (self._session, self._streams):
            if session is not None:
                await session.close()
        self._session = self._streams = None

    def _open(self, timeout: aiohttp.ClientTimeout, connections: int) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=connections, limit_per_host=0)
        return aiohttp.ClientSession(headers=self._headers, timeout=timeout, connector=connector)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a request and give the JSON of its answer.

        Raises:
            ApiError: The server refused; after the last try also for 429 and 503.
            NotReachableError: No try was answered.
        """
        content = None if body is None else json.dumps(body, allow_nan=False, default=_plain).encode()
        sent = {**(headers or {}), **({} if content is None else {"Content-Type": "application/json"})}
        for number in range(1, self.tries + 1):
            try:
                return await self._send(method, path, query=query or {}, content=content, headers=sent)
            except (ApiError, NotReachableError) as error:
                if number == self.tries or not self.can_help(error):
                    raise
                await asyncio.sleep(pause(number, error))
        raise AssertionError("unreachable")

    def can_help(self, error: ApiError | NotReachableError) -> bool:
        """Whether the same request may fare better in a while that is worth waiting for."""
        if isinstance(error, NotReachableError):
            return True
        if (error.retry_after_seconds or 0) > self._longest_wait:
            return False
        return isinstance(error, _WORTH_ANOTHER_TRY) or error.status in _OF_A_GATEWAY

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Open an event stream, once.

        Raises:
            ApiError: The server refused.
            NotReachableError: There was no answer, or it was cut, also later while it is read.
        """
        with self._unreachable():
            async with self._of(self._streams).get(
                self._base + path,
                params=query,
                headers={"Accept": "text/event-stream", **headers},
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    raise error_of(response.status, response.headers, await response.read())
                yield response.content

    async def _send(
        self, method: str, path: str, *, query: Mapping[str, str], content: bytes | None, headers: Mapping[str, str]
    ) -> Any:
        with self._unreachable():
            async with self._of(self._session).request(
                method, self._base + path, params=query, data=content, headers=headers, allow_redirects=False
            ) as response:
                answer = await response.read()
        if response.status >= 300:
            raise error_of(response.status, response.headers, answer)
        try:
            return json.loads(answer)
        except ValueError:
            raise ApiError(f"the server answered {response.status} with something that is not JSON") from None

    @contextmanager
    def _unreachable(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotReachableError(f"no answer from {self.server}: {_reason(error)}") from error

    @staticmethod
    def _of(session: aiohttp.ClientSession | None) -> aiohttp.ClientSession:
        if session is None:
            raise RuntimeError("use the client as `async with Client(...) as client`")
        return session


def pause(number: int, error: ApiError | NotReachableError) -> float:
    """How long to wait before the next try, in seconds, after the `number`th failed with `error`."""
    # A little more than asked for, and never the same for two clients: else all come back in the same moment.
    asked = error.retry_after_seconds if isinstance(error, ApiError) else None
    if asked is not None:
        return asked + random.uniform(0, 0.1)
    return random.uniform(0.5, 1.0) * min(2.0, 0.1 * float(2 ** min(number, 10)))


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        number, text = error.os_error.errno, error.os_error.strerror
        return os.strerror(number) if number is not None and number > 0 else text or str(error)
    if isinstance(error, TimeoutError):
        return "it took too long"
    return str(error) or type(error).__name__


def _plain(value: Any) -> Any:
    # Payloads may be, or hold, the pydantic models that executors declare.
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")
