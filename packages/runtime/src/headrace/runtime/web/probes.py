"""What an orchestrator asks: does it live, is it ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from pydantic import BaseModel

from headrace.contracts.errors import HeadraceError
from headrace.runtime.process.lifecycle import STOPPING
from headrace.runtime.web import metrics
from headrace.runtime.web.responses import json_response
from headrace.runtime.web.routes import Route

CHECK_SECONDS = 1.0
"""How long one check may take, and how long its answer is kept."""


@dataclass(frozen=True)
class CheckResult:
    """What one dependency looks like from here."""

    ok: bool
    detail: str = ""
    breaker: str | None = None
    """The state of the breaker before it, where there is one."""


Check = Callable[[], Awaitable[CheckResult]]


class CheckView(BaseModel):
    """One check as `/readyz` tells it."""

    ok: bool
    detail: str
    breaker: str | None


class ReadyView(BaseModel):
    """Whether the service can do its work now."""

    status: Literal["ready", "not-ready", "draining"]
    checks: dict[str, CheckView]


class AliveView(BaseModel):
    """The event loop answers."""

    status: Literal["ok"] = "ok"


class Readiness:
    """Runs the checks, all at once, each at most once a second."""

    def __init__(self, checks: Mapping[str, Check], clock: Callable[[], float] = time.monotonic) -> None:
        self._checks = dict(checks)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._at: float | None = None
        self._results: dict[str, CheckResult] = {}

    async def results(self) -> dict[str, CheckResult]:
        """What the checks found, not older than a second."""
        async with self._lock:
            if self._at is None or self._clock() - self._at >= CHECK_SECONDS:
                found = await asyncio.gather(*(_run(check) for check in self._checks.values()))
                self._results = dict(zip(self._checks, found, strict=True))
                self._at = self._clock()
            return self._results


async def _run(check: Check) -> CheckResult:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return CheckResult(ok=False, detail=f"no answer within {CHECK_SECONDS:g} s")
    except HeadraceError as error:
        return CheckResult(ok=False, detail=str(error))
    except Exception as error:  # noqa: BLE001 -- a probe answers whatever happens; the class says enough, the text might leak
        return CheckResult(ok=False, detail=type(error).__name__)


def routes(checks: Mapping[str, Check], optional: Collection[str] = ()) -> list[Route]:
    """`/healthz`, `/readyz` and `/metrics`, open to everybody.

    Args:
        checks: What `/readyz` looks at.
        optional: Names of checks without which the service does its work, if less well: told, but it stays ready.
    """
    readiness = Readiness(checks)

    async def healthz(_request: web.Request) -> web.Response:
        return json_response(AliveView())

    async def readyz(request: web.Request) -> web.Response:
        if request.app[STOPPING].is_set():
            return json_response(ReadyView(status="draining", checks={}), status=503)
        results = await readiness.results()
        ready = all(result.ok or name in optional for name, result in results.items())
        views = {
            name: CheckView(ok=result.ok, detail=result.detail, breaker=result.breaker)
            for name, result in results.items()
        }
        view = ReadyView(status="ready" if ready else "not-ready", checks=views)
        return json_response(view, status=200 if ready else 503)

    return [
        Route("GET", "/healthz", healthz, scope=None, summary="Alive", responses={200: AliveView}, tags=["probes"]),
        Route(
            "GET",
            "/readyz",
            readyz,
            scope=None,
            summary="Ready, dependency by dependency",
            responses={200: ReadyView, 503: ReadyView},
            tags=["probes"],
        ),
        Route(
            "GET",
            "/metrics",
            metrics.scrape,
            scope=None,
            summary="Prometheus metrics",
            responses={200: None},
            tags=["probes"],
            media_type="text/plain",
        ),
    ]
