"""Tokens from a session, and errors as pages: what a service for people adds."""

from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import ApiError
from headrace.runtime.web.app import make_app
from headrace.runtime.web.auth import CREDENTIAL, Scope, Token, TokenTable, hash_token
from headrace.runtime.web.middleware import ERROR_PAGE
from headrace.runtime.web.routes import Route


def application() -> web.Application:
    async def who(_request: web.Request) -> web.Response:
        return web.Response(text="welcome")

    async def broken(_request: web.Request) -> web.Response:
        raise RuntimeError

    def page(request: web.Request, error: ApiError) -> web.Response | None:
        if "text/html" not in request.headers.get("Accept", ""):
            return None
        return web.Response(text=f"<p>{error.code}", content_type="text/html", status=error.status)

    tokens = TokenTable({hash_token("good"): Token(name="me", scopes=frozenset({Scope.READ}))})
    routes = [Route("GET", "/who", who, scope=Scope.READ), Route("GET", "/broken", broken, scope=Scope.READ)]
    app = make_app(JobConfig(), name="test", routes=routes, checks={}, tokens=tokens)
    app[CREDENTIAL] = lambda request: request.cookies.get("token")
    app[ERROR_PAGE] = page
    return app


async def test_a_token_may_come_from_a_session_when_no_authorization_is_sent():
    async with TestClient(TestServer(application())) as client:
        assert (await client.get("/who")).status == 401
        assert (await client.get("/who", headers={"Cookie": "token=good"})).status == 200
        assert (await client.get("/who", headers={"Cookie": "token=bad"})).status == 401
        wrong = {"Cookie": "token=good", "Authorization": "Bearer bad"}
        assert (await client.get("/who", headers=wrong)).status == 401
        assert (await client.get("/who", headers=wrong | {"Authorization": "nonsense"})).status == 401


async def test_errors_are_pages_for_those_who_read_pages_and_problems_for_the_rest():
    async with TestClient(TestServer(application())) as client:
        for path, status, code in (("/who", 401, "unauthorized"), ("/nowhere", 404, "not-found")):
            answer = await client.get(path, headers={"Accept": "text/html"})
            assert (answer.status, await answer.text()) == (status, f"<p>{code}")
            assert (await client.get(path)).content_type == "application/problem+json"
        broken = {"Accept": "text/html", "Authorization": "Bearer good"}
        assert await (await client.get("/broken", headers=broken)).text() == "<p>internal"
