"""What somebody should look at, from what was read. Pure; the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from headrace.monitor.sources import COUNT_CAP, StoreFacts
from headrace.monitor.views import AttentionView, PartView, PoolView

NEARLY_FULL = 0.8
LONG_WAIT_SECONDS = 300.0


def list_of(parts: Iterable[PartView], pools: Sequence[PoolView], store: StoreFacts) -> list[AttentionView]:
    """Everything that is not as it should be."""
    found = [*_of_parts(parts), *(item for pool in pools for item in _of_pool(pool)), *_of_store(store)]
    return sorted(found, key=lambda item: item.level != "down")


def _of_parts(parts: Iterable[PartView]) -> Iterable[AttentionView]:
    links = {"worker": "/workers", "recovery": "/recovery", "redis": "/recovery"}
    for part in parts:
        if part.status in {"ok", "unknown"}:
            continue
        link = links.get(part.kind) or links.get(part.name) or "/about"
        yield AttentionView(
            level="down" if part.status == "down" else "degraded", text=f"{part.name}: {part.detail}", link=link
        )


def _of_pool(pool: PoolView) -> Iterable[AttentionView]:
    link = f"/pools/{quote(pool.name, safe='')}"

    def item(level: str, text: str) -> AttentionView:
        return AttentionView(
            level="down" if level == "down" else "degraded", text=f"pool {pool.name}: {text}", link=link
        )

    waiting = sum(pool.waiting.values()) if pool.waiting is not None else 0
    if pool.paused:
        yield item("degraded", "paused" + (f", because: {pool.paused_reason}" if pool.paused_reason else ""))
    if waiting and not pool.workers and not pool.paused:
        yield item("down", f"{waiting:,} waiting and no worker serves it")
    held = waiting + (pool.delayed or 0) + (pool.in_flight or 0)
    if held >= pool.size_limit:
        yield item("down", f"at its limit of {pool.size_limit:,}; new jobs are refused")
    elif held >= pool.size_limit * NEARLY_FULL:
        yield item("degraded", f"{held / pool.size_limit:.0%} of its limit of {pool.size_limit:,} is used")
    if not pool.paused and pool.workers and (pool.oldest_waiting_seconds or 0) > LONG_WAIT_SECONDS:
        yield item("degraded", f"the oldest job waits for {(pool.oldest_waiting_seconds or 0) / 60:.0f} minutes")


def _of_store(store: StoreFacts) -> Iterable[AttentionView]:
    if store.not_indexed:
        number = f"{COUNT_CAP:,} or more" if store.not_indexed >= COUNT_CAP else f"{store.not_indexed:,}"
        yield AttentionView(
            level="degraded",
            text=f"{number} stored jobs have not reached Redis yet; recovery pushes them",
            link="/recovery",
        )
    for breaker in store.breakers or ():
        yield AttentionView(
            level="degraded",
            text=f"the dependency {breaker.name} fails: {breaker.error}; jobs of {', '.join(breaker.types)} are parked",
            link="/recovery",
        )
