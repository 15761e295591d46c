"""Send one request, again where that can help, and give its JSON or raise its error."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

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


class NotReachableError(HeadraceError):
    """No answer came from the server: refused, cut or too slow. Whether the last request was obeyed is not known."""


class Transport:
    """The HTTP side of the client. Every request it is given must be safe to repeat.

    Args:
        base_url: Where the scheduler answers, with its base path if it has one.
        token: Sent as a bearer token; redirects are not followed, so it reaches nobody else.
        tries: How often a request is sent at most.
        longest_wait_seconds: A `Retry-After` beyond this is not waited for: its error is raised at once.
        timeout_seconds: For one try, from connecting to the last byte.

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
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ConfigError("base_url must be an http:// or https:// address without query and fragment")
        self._base = base_url.rstrip("/")
        self._server = parts.netloc.rpartition("@")[2]  # without a login, for messages
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._tries = max(1, tries)
        self._longest_wait = longest_wait_seconds
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=5)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

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
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        sent = {**(headers or {}), **({} if content is None else {"Content-Type": "application/json"})}
        for number in range(1, self._tries + 1):
            error: ApiError | NotReachableError
            try:
                return await self._send(method, path, query=query or {}, content=content, headers=sent)
            except _WORTH_ANOTHER_TRY as refused:
                error, asked = refused, refused.retry_after_seconds
            except NotReachableError as unreachable:
                error, asked = unreachable, None
            if number == self._tries or (asked or 0) > self._longest_wait:
                raise error
            await asyncio.sleep(_pause(number, asked))
        raise AssertionError("unreachable")

    async def _send(
        self, method: str, path: str, *, query: Mapping[str, str], content: bytes | None, headers: Mapping[str, str]
    ) -> Any:
        if self._session is None:
            raise RuntimeError("use the client as `async with Client(...) as client`")
        try:
            async with self._session.request(
                method, self._base + path, params=query, data=content, headers=headers, allow_redirects=False
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise NotReachableError(f"no answer from {self._server}: {reason}") from error
        if response.status >= 300:
            raise error_of(response.status, response.headers, answer)
        try:
            return json.loads(answer)
        except ValueError:
            raise ApiError(f"the server answered {response.status} with something that is not JSON") from None


def _pause(number: int, asked: float | None) -> float:
    # A little more than asked for, and never the same for two clients: else all come back in the same moment.
    if asked is not None:
        return asked + random.uniform(0, 0.1)
    return random.uniform(0.5, 1.0) * min(2.0, 0.1 * float(2**number))
