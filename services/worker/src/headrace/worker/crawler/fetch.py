"""One HTTP request: bounded in time and size, without following anything."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
from yarl import URL

from headrace.worker.crawler.addresses import BlockedAddressError, guarded_sockets

CONNECT_SECONDS = 10.0
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. `body` is empty unless it was wanted: a 2xx of a wanted type."""

    status: int
    content_type: str
    body: bytes
    location: str | None
    retry_after: str | None
    robots_header: str
    wanted: bool


class FetchError(Exception):
    """No usable answer. `code` is one word that is stored; `retryable` says whether trying again can help."""

    def __init__(self, code: str, *, retryable: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.retryable = retryable
        self.tries = 1


class HostSilentError(Exception):
    """A host does not answer; the message is one word of `FetchError`, or the status."""


def make_session(
    *, user_agent: str, allow_private: bool, resolver: aiohttp.abc.AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """A session that keeps no cookies, uses no proxy of the environment and connects to public addresses only.

    Args:
        user_agent: The header.
        allow_private: See `addresses.is_allowed`.
        resolver: Instead of the system's own.
    """
    connector = aiohttp.TCPConnector(
        limit=0,  # the crawler counts by host itself
        resolver=resolver,
        socket_factory=guarded_sockets(allow_private=allow_private),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        headers={
            "User-Agent": user_agent,
            "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1",
            "Accept-Encoding": "gzip, deflate",
        },
    )


async def fetch(
    session: aiohttp.ClientSession, url: str, *, timeout_seconds: float, max_bytes: int, any_type: bool = False
) -> Answer:
    """Send one GET.

    Args:
        session: From `make_session`.
        url: Canonical; sent as it is.
        timeout_seconds: For the whole of it, the body included.
        max_bytes: Of the body, after decompression.
        any_type: Read the body of a 2xx whatever its type, and cut it at `max_bytes` instead of refusing it.

    Raises:
        FetchError: `timeout, connection, dns, tls, blocked_address, blocked_port, bad_response, too_large`.
    """
    limit = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=min(CONNECT_SECONDS, timeout_seconds))
    try:
        async with session.get(URL(url, encoded=True), allow_redirects=False, timeout=limit) as response:
            body, wanted = await _read_body(response, max_bytes=max_bytes, any_type=any_type)
            return Answer(
                status=response.status,
                content_type=response.headers.get("Content-Type", ""),
                body=body,
                location=response.headers.get("Location"),
                retry_after=response.headers.get("Retry-After"),
                robots_header=",".join(response.headers.getall("X-Robots-Tag", [])),
                wanted=wanted,
            )
    except TimeoutError:
        raise FetchError("timeout", retryable=True) from None
    except (aiohttp.ClientError, ValueError) as error:
        raise _explain(error) from None


async def _read_body(response: aiohttp.ClientResponse, *, max_bytes: int, any_type: bool) -> tuple[bytes, bool]:
    """The body and whether it is of a wanted type; an unwanted one is not read, which closes the connection."""
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not 200 <= response.status < 300 or not (any_type or media_type in HTML_TYPES or not media_type):
        response.close()
        return b"", False
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        chunks.append(chunk)
        if size > max_bytes:
            response.close()
            if not any_type:
                raise FetchError("too_large")
            break
        # A body that is here already never waits: let the others have a turn.
        await asyncio.sleep(0)
    body = b"".join(chunks)
    return body[:max_bytes], bool(media_type) or any_type or body.lstrip()[:1] == b"<"


def _explain(error: Exception) -> FetchError:
    """The error as one stored word."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return FetchError("dns", retryable=True)
        case aiohttp.ClientSSLError():
            return FetchError("tls")
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, BlockedAddressError):
            return FetchError(error.os_error.code)
        case aiohttp.ClientOSError() | aiohttp.ServerDisconnectedError():
            return FetchError("connection", retryable=True)
        case aiohttp.ClientPayloadError():
            return FetchError("connection", retryable=True)
        case _:
            return FetchError("bad_response")
