"""The server's side of a connection: what is no HTTP is refused in our form, without a word of what was sent."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler

_DETAIL: Final = "the request is not HTTP that this service understands, or its line or a header is too long"

log = structlog.get_logger(__name__)


class Runner(web.AppRunner):
    """`web.AppRunner`, whose answers to requests that cannot be parsed are problem documents."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,  # there is no public way to another protocol class
            **made._kwargs,
        )


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Protocol(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be parsed; `message` would repeat a part of it."""
        del message
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc)
        log.info("http.not_understood", status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun")
        body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": _DETAIL}
        answer = web.Response(body=json.dumps(body).encode(), status=status, content_type="application/problem+json")
        answer.headers[hdrs.SERVER] = "headrace"
        answer.force_close()
        return answer
