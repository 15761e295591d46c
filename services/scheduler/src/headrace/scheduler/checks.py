"""What `/readyz` says about the two stores."""

from __future__ import annotations

from headrace.contracts.errors import ConfigError, StoreUnavailableError
from headrace.runtime.web.probes import CheckResult
from headrace.scheduler.links import bounded
from headrace.scheduler.services import Stores

CHECK_SECONDS = 0.8
"""Below the limit of the probe itself, so that a frozen store is told apart from a wrong one."""


async def check_mongo(stores: Stores) -> CheckResult:
    """Without MongoDB nothing can be accepted: not ready."""
    try:
        await stores.mongo.read(stores.database.ping, seconds=CHECK_SECONDS)
    except StoreUnavailableError as error:
        return CheckResult(ok=False, detail=error.detail, breaker=stores.mongo.breaker.state)
    return CheckResult(ok=True, breaker=stores.mongo.breaker.state)


async def check_redis(stores: Stores) -> CheckResult:
    """Without Redis jobs are accepted and indexed later: ready, and it says so. One that evicts is not usable."""
    try:
        await stores.redis.call(lambda: bounded(stores.queue.check_policy, CHECK_SECONDS, "Redis"))
    except StoreUnavailableError as error:
        detail = f"{error.detail}; jobs are accepted and indexed later"
        return CheckResult(ok=True, detail=detail, breaker=stores.redis.breaker.state)
    except ConfigError as error:
        return CheckResult(ok=False, detail=str(error), breaker=stores.redis.breaker.state)
    return CheckResult(ok=True, breaker=stores.redis.breaker.state)
