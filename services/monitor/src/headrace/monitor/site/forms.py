"""Forms that change something: only from our own pages, only where changes are allowed."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from headrace.contracts.errors import ForbiddenError, MalformedJsonError, UnsupportedMediaTypeError
from headrace.monitor.site.sealed import Sealer
from headrace.monitor.site.session import put_cookie
from headrace.runtime.process.listen import is_loopback
from headrace.runtime.web.auth import TOKENS

FORM_COOKIE: Final = "headrace_form"
FIELD: Final = "form_token"
FORM_SECONDS: Final = 24 * 3600
_FORM: Final = "application/x-www-form-urlencoded"

_NEW: Final = web.RequestKey("NEW_FORM_COOKIE", str)


class Forms:
    """Guards against forged requests, twice over.

    By where the request says it comes from, and by a token that only a page of ours could have put into the form.
    """

    def __init__(self, sealer: Sealer, *, read_only: bool) -> None:
        self._sealer = sealer
        self.read_only = read_only

    def token_for(self, request: web.Request) -> str:
        """What a form on a page carries in its field `form_token`."""
        name = request.cookies.get(FORM_COOKIE) or request.get(_NEW)
        if name is None:
            name = request[_NEW] = secrets.token_hex(16)
        return self._sealer.mark(name)

    def put_cookie(self, request: web.Request, response: web.Response) -> None:
        """Send the cookie that belongs to the form tokens of this page, when it is new."""
        name = request.get(_NEW)
        if name is not None:
            put_cookie(request, response, FORM_COOKIE, name, seconds=FORM_SECONDS)

    async def read(self, request: web.Request, *, changes: bool = True) -> Mapping[str, list[str]]:
        """The fields of a form that one of our pages sent.

        Args:
            request: A POST.
            changes: Whether it would change anything of jobs or pools.

        Raises:
            ForbiddenError: The monitor is read-only, or the request may come from a foreign page.
            UnsupportedMediaTypeError: It is no form.
        """
        if changes and self.read_only:
            raise ForbiddenError("this monitor is read-only (JOB_READ_ONLY); nothing can be changed here")
        check_origin(request)
        if request.content_type != _FORM:
            raise UnsupportedMediaTypeError(f"a form is sent as {_FORM}")
        fields: dict[str, list[str]] = {}
        try:
            for name, value in (await request.post()).items():
                fields.setdefault(name, []).append(str(value))
        except ValueError:
            raise MalformedJsonError("the form cannot be read") from None
        # Sent with a token of its own, no browser made it on its own: no cookie was asked for anything.
        if hdrs.AUTHORIZATION not in request.headers:
            self._check_token(request, (fields.get(FIELD) or [""])[0])
        return fields

    def _check_token(self, request: web.Request, given: str) -> None:
        name = request.cookies.get(FORM_COOKIE, "")
        if not name or not hmac.compare_digest(self._sealer.mark(name).encode(), given.encode("utf-8", "replace")):
            raise ForbiddenError("this form is too old or not ours; load the page again and repeat it")


def check_origin(request: web.Request) -> None:
    """Refuse what a page of another origin may have sent.

    Raises:
        ForbiddenError: It says it is from elsewhere, or says nothing and could be.
    """
    if request.app.get(TOKENS) is None and not is_loopback(urlsplit("//" + request.host).hostname or ""):
        # Without tokens only the address protects: a foreign name that was made to point here is no name of ours.
        raise ForbiddenError("without tokens, changes are taken under a loopback address only")
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get(hdrs.ORIGIN)
    if site is not None:
        allowed = site in {"same-origin", "none"}
    elif origin is not None:
        allowed = urlsplit(origin).netloc == request.host
    else:
        allowed = hdrs.AUTHORIZATION in request.headers
    if not allowed:
        raise ForbiddenError("the request comes from another site")


def text_in(fields: Mapping[str, list[str]], name: str) -> str:
    """What was written into a field, without the space around it; empty when there is none."""
    return (fields.get(name) or [""])[0].strip()
