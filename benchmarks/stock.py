"""The other side of the comparison: stock Dramatiq with its own RedisBroker and a no-op actor."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

_url = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")
broker = RedisBroker(url=_url, namespace="stock")  # type: ignore[no-untyped-call]  # dramatiq leaves it untyped
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="bench")
def noop() -> None:
    """Do nothing."""
