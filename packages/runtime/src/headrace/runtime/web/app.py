"""The one place where an application of ours is put together."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from aiohttp import web

from headrace.contracts.config import JobConfig
from headrace.runtime.process import lifecycle
from headrace.runtime.web import docs_page, metrics, middleware, openapi, probes
from headrace.runtime.web.auth import TOKENS, Scope, TokenTable
from headrace.runtime.web.body import JOB_LIMIT_BYTES
from headrace.runtime.web.probes import Check
from headrace.runtime.web.responses import BASE_PATH, json_text_response
from headrace.runtime.web.routes import Route, register


def make_app(
    config: JobConfig,
    *,
    name: str,
    routes: Sequence[Route],
    checks: Mapping[str, Check],
    tokens: TokenTable | None,
    optional: Collection[str] = (),
) -> web.Application:
    """An application that answers these routes, the probes, `/metrics`, `/openapi.json` and `/docs`.

    The caller adds what must be opened and closed as `cleanup_ctx`, and what must be finished before the end with
    `lifecycle.on_drain`.

    Args:
        config: `http_base_path` is used: every path begins with it; the probes answer without it as well.
        name: The service, for metrics and the title of the document.
        routes: In the order in which they are matched.
        checks: What `/readyz` looks at, by name.
        tokens: None lets every request through as the local admin.
        optional: Names of checks without which the service does its work, if less well: told, but it stays ready.
    """
    app = web.Application(middlewares=[middleware.around], client_max_size=JOB_LIMIT_BYTES)
    lifecycle.prepare(app)
    metrics.install(app, service=name)
    app[BASE_PATH] = base = config.http_base_path
    if tokens is not None:
        app[TOKENS] = tokens
    app.on_response_prepare.append(middleware.set_headers)
    probe_routes = probes.routes(checks, optional)
    for route in [*routes, *probe_routes, *_document_routes(api_document(routes, name=name, base_path=base))]:
        register(app, route, base, beside=routes)
    if base:
        for route in probe_routes:
            register(app, route, "")
    return app


def load_tokens(config: JobConfig) -> TokenTable | None:
    """The tokens that the settings name, or None without such a file.

    Raises:
        ConfigError: The file cannot be read or breaks a rule.
    """
    return None if config.api_tokens_file is None else TokenTable.load(config.api_tokens_file)


def api_document(routes: Sequence[Route], *, name: str, base_path: str = "") -> dict[str, Any]:
    """The OpenAPI document of an application with these routes."""
    everything = [*routes, *probes.routes({})]
    return openapi.document(everything, f"Headrace {name}", metrics.version(), base_path=base_path)


def _document_routes(document: dict[str, Any]) -> list[Route]:
    text = json.dumps(document)

    @cache
    def page() -> str:
        return docs_page.page(document)

    async def openapi_json(_request: web.Request) -> web.Response:
        return json_text_response(text)

    async def docs(_request: web.Request) -> web.Response:
        return web.Response(text=page(), content_type="text/html", headers=docs_page.SECURITY)

    return [
        Route("GET", "/openapi.json", openapi_json, scope=Scope.READ, summary="This document", responses={200: None}),
        Route("GET", "/docs", docs, scope=Scope.READ, summary="The same to read", responses={200: None}),
    ]
