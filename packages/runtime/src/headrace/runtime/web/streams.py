"""Server-sent events: how a stream begins, and whether anybody is still there."""

from __future__ import annotations

from aiohttp import hdrs, web

from headrace.runtime.web.routes import EVENT_STREAM


async def begin_stream(request: web.Request) -> web.StreamResponse:
    """Answer with a stream that proxies pass on as it comes."""
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: EVENT_STREAM, "X-Accel-Buffering": "no"})
    await response.prepare(request)
    return response


def is_gone(request: web.Request) -> bool:
    """Whether the client has closed its connection: a handler that writes nothing is not told."""
    return request.transport is None or request.transport.is_closing()
