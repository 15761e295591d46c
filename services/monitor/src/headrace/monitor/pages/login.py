"""`/login`, `/logout`, `/theme`: what a visitor sets for the own browser."""

from __future__ import annotations

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field

from headrace.monitor.pages.common import form_route, page_route
from headrace.monitor.site.forms import Forms, text_in
from headrace.monitor.site.render import THEME_COOKIE, THEMES, Site, safe_next, see_other
from headrace.monitor.site.session import Sessions, put_cookie
from headrace.runtime.web.auth import Scope, TokenTable
from headrace.runtime.web.query import read_query
from headrace.runtime.web.routes import Route

YEAR_SECONDS = 365 * 86_400


class LoginQuery(BaseModel):
    """The query. `next`: the page that asked for it."""

    model_config = ConfigDict(extra="forbid")

    next: str | None = Field(default=None, max_length=2000)


class LoginPage:
    """The page, and the small forms of the header."""

    def __init__(self, site: Site, forms: Forms, sessions: Sessions, tokens: TokenTable | None) -> None:
        self._site = site
        self._forms = forms
        self._sessions = sessions
        self._tokens = tokens

    async def show(self, request: web.Request) -> web.Response:
        """Ask for a token; without any configured there is nothing to ask for."""
        query = read_query(request, LoginQuery)
        if self._tokens is None:
            return see_other(request, "/")
        return self._site.page(request, "login", next=safe_next(request, query.next), problem="")

    async def sign_in(self, request: web.Request) -> web.Response:
        """Take the token and go where the visitor wanted to."""
        fields = await self._forms.read(request, changes=False)
        wanted = safe_next(request, (fields.get("next") or [""])[0])
        text = text_in(fields, "token")
        token = self._tokens.find(text) if self._tokens is not None else None
        if token is None or not token.allows(Scope.READ):
            problem = "This token is not known." if token is None else "This token may not read."
            return self._site.page(request, "login", status=401, next=wanted, problem=problem)
        response = web.Response(status=303, headers={hdrs.LOCATION: wanted})
        self._sessions.begin(request, response, text)
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        """Forget the visitor."""
        await self._forms.read(request, changes=False)
        response = see_other(request, "/login")
        self._sessions.end(request, response)
        return response

    async def theme(self, request: web.Request) -> web.Response:
        """Light, dark, or as the system says."""
        fields = await self._forms.read(request, changes=False)
        asked = (fields.get("theme") or ["auto"])[0]
        response = web.Response(
            status=303, headers={hdrs.LOCATION: safe_next(request, (fields.get("next") or [""])[0])}
        )
        put_cookie(request, response, THEME_COOKIE, asked if asked in THEMES else "auto", seconds=YEAR_SECONDS)
        return response

    def routes(self) -> list[Route]:
        """Open to everybody: who signs in has no session yet."""
        return [
            page_route("/login", self.show, "The page to sign in", query=LoginQuery, scope=None),
            form_route("/login", self.sign_in, "Sign in with a token", scope=None),
            form_route("/logout", self.sign_out, "Sign out", scope=None),
            form_route("/theme", self.theme, "Choose light or dark", scope=None),
        ]
