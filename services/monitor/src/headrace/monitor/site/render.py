"""Pages as answers: the templates, what every page shows, and the headers that keep foreign code out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

import jinja2
from aiohttp import hdrs, web

from headrace.contracts.errors import ApiError
from headrace.contracts.values import to_rfc3339
from headrace.monitor import words
from headrace.monitor.attempts import words_of
from headrace.monitor.site.forms import FIELD, Forms
from headrace.monitor.site.static import StaticFiles
from headrace.runtime.web.auth import TOKEN, TOKENS, Scope, Token
from headrace.runtime.web.metrics import version
from headrace.runtime.web.responses import path_of

SECURITY: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not `no-referrer`: with that, browsers send our own forms with the origin `null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
THEME_COOKIE: Final = "headrace_theme"
THEMES: Final = ("auto", "light", "dark")

NAVIGATION: Final = (
    ("/", "Overview"),
    ("/jobs", "Jobs"),
    ("/pools", "Pools"),
    ("/workers", "Workers"),
    ("/dead-letters", "Dead letters"),
    ("/recovery", "Recovery"),
    ("/about", "About"),
)


@dataclass(frozen=True)
class Visitor:
    """Who looks at the page, as the page needs to know it. What is allowed is decided by the server at each request."""

    name: str
    tenant: str | None
    can_operate: bool
    is_admin: bool
    is_local: bool

    @staticmethod
    def of(token: Token, *, is_local: bool) -> Visitor:
        """The visitor behind a token."""
        return Visitor(
            name=token.name,
            tenant=token.tenant,
            can_operate=token.allows(Scope.OPERATE),
            is_admin=token.allows(Scope.ADMIN),
            is_local=is_local,
        )


class Site:
    """Renders the templates of the package."""

    def __init__(self, forms: Forms, files: StaticFiles) -> None:
        self.forms = forms
        self._files = files
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("headrace.monitor"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {**words.FILTERS, "rfc3339": to_rfc3339, "death": words_of}
        self._environment.globals |= {"field": FIELD, "navigation": NAVIGATION, "themes": THEMES, "version": version()}

    def page(
        self, request: web.Request, template: str, *, status: int = 200, live: str | None = None, **context: Any
    ) -> web.Response:
        """A page.

        Args:
            request: Whose answer it is.
            template: Its name without the suffixes.
            status: Of the answer.
            live: The topic of the stream that says when the page is out of date (`LiveQuery`); None: it never is.
            context: What the template shows.
        """
        token = request.get(TOKEN)
        theme = request.cookies.get(THEME_COOKIE, "auto")

        def url(path: str, **query: Any) -> str:
            return path_of(request, link(path, **query))

        text = self._environment.get_template(f"{template}.html.j2").render(
            **context,
            url=url,
            static=lambda name: path_of(request, self._files.path(name)),
            me=None if token is None else Visitor.of(token, is_local=request.app.get(TOKENS) is None),
            read_only=self.forms.read_only,
            form_token=self.forms.token_for(request),
            theme=theme if theme in THEMES else "auto",
            here_with_query=request.path_qs,
            section=_section(request),
            live=live,
            now=datetime.now(UTC),
        )
        response = web.Response(text=text, content_type="text/html", status=status, headers=SECURITY)
        self.forms.put_cookie(request, response)
        return response

    def error(self, request: web.Request, error: ApiError) -> web.Response | None:
        """The page for an error, or the way to sign in; None for those who do not read pages."""
        if "text/html" not in request.headers.get(hdrs.ACCEPT, ""):
            return None
        if error.status == 401 and hdrs.AUTHORIZATION not in request.headers and request.method == hdrs.METH_GET:
            ask = path_of(request, link("/login", next=request.path_qs))
            return web.Response(status=303, headers={hdrs.LOCATION: ask})
        response = self.page(request, "error", status=error.status, error=error)
        if error.allow:
            response.headers[hdrs.ALLOW] = ", ".join(error.allow)
        return response


def link(path: str, **query: Any) -> str:
    """A path with a query; values that are None or empty are left out."""
    kept = {name: value for name, value in query.items() if value not in {None, ""}}
    return quote(path, safe="/:@") + ("?" + urlencode(kept) if kept else "")


def see_other(request: web.Request, path: str, **query: Any) -> web.Response:
    """Send the visitor to a page after a form."""
    return web.Response(status=303, headers={hdrs.LOCATION: path_of(request, link(path, **query))})


def safe_next(request: web.Request, asked: str | None) -> str:
    """Where to go after signing in: a path of ours, whatever was asked for."""
    home = path_of(request, "/")
    if not asked or not asked.startswith(home) or asked.startswith(("//", "/\\")) or "\\" in asked:
        return home
    return asked if asked.isprintable() else home


def _section(request: web.Request) -> str:
    base = path_of(request, "")
    path = request.path.removeprefix(base) or "/"
    owners: Mapping[str, str] = {name: name for name, _ in NAVIGATION if name != "/"}
    return next((name for name in owners if path == name or path.startswith(name + "/")), "/" if path == "/" else "")
