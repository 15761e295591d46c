"""Signing in with a token: a sealed cookie carries it, so the service keeps no list of sessions."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from headrace.monitor.site.sealed import Sealer
from headrace.runtime.web.responses import BASE_PATH

SESSION_COOKIE: Final = "headrace_session"
SESSION_SECONDS: Final = 12 * 3600


class Sessions:
    """Reads and writes the session cookie."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def token_text(self, request: web.Request) -> str | None:
        """The token that the visitor signed in with; None without a session, or with one that is over."""
        sealed = request.cookies.get(SESSION_COOKIE)
        return self._sealer.open(sealed) if sealed else None

    def begin(self, request: web.Request, response: web.Response, token_text: str) -> None:
        """Sign the visitor in."""
        put_cookie(
            request,
            response,
            SESSION_COOKIE,
            self._sealer.seal(token_text, seconds=SESSION_SECONDS),
            seconds=SESSION_SECONDS,
        )

    def end(self, request: web.Request, response: web.Response) -> None:
        """Sign the visitor out of this browser."""
        put_cookie(request, response, SESSION_COOKIE, "", seconds=0)


def put_cookie(request: web.Request, response: web.Response, name: str, value: str, *, seconds: int) -> None:
    """A cookie that no script reads and no foreign page sends along."""
    proto = request.headers.get("X-Forwarded-Proto", request.scheme)
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=request.app[BASE_PATH] or "/",
        httponly=True,
        samesite="Strict",
        # A forged header could only keep the forger's own browser from sending it over plain HTTP.
        secure=proto == "https",
    )
