"""The HTTP side of recovery: probes and metrics; and where the service is put together."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from headrace.contracts.config import JobConfig
from headrace.recovery.metrics import RecoveryMetrics
from headrace.recovery.parts import NAME, open_parts
from headrace.recovery.service import JobRecoveryService
from headrace.runtime.process.lifecycle import on_drain
from headrace.runtime.web.app import load_tokens, make_app
from headrace.runtime.web.metrics import REGISTRY
from headrace.runtime.web.probes import CheckResult
from headrace.runtime.web.watched import Watched, refuse_wrong_setup, watch

SERVICE: web.AppKey[JobRecoveryService] = web.AppKey("SERVICE", JobRecoveryService)


async def build_app(config: JobConfig) -> web.Application:
    """The application for these settings. Connects to nothing, so it starts while every store is down.

    Raises:
        ConfigError: An address or the tokens file is wrong.
    """
    parts = open_parts(config)
    redis = Watched(parts.redis_breaker, parts.queue.check_policy)
    mongodb = Watched(parts.mongo_breaker, parts.database.ping)

    async def leadership() -> CheckResult:
        return CheckResult(ok=True, detail="leader" if app[SERVICE].leadership.is_leading() else "standby")

    checks = {"redis": redis.check, "mongodb": mongodb.check, "leadership": leadership}
    app = make_app(config, name=NAME, routes=(), checks=checks, tokens=load_tokens(config))
    app[SERVICE] = JobRecoveryService(parts, RecoveryMetrics(app[REGISTRY]))
    refuse_wrong_setup(app, redis)
    app.cleanup_ctx.append(_run)
    watch(app, redis, mongodb)
    on_drain(app, app[SERVICE].stop)
    return app


async def _run(app: web.Application) -> AsyncIterator[None]:
    await app[SERVICE].start()
    yield
    await app[SERVICE].stop()
