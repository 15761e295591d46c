"""Clients: they submit, cancel and read through a scheduler, and remember what they were told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from headrace.contracts.errors import HeadraceError, NotFoundError, OutcomeUnknownError
from headrace.contracts.job import Job
from headrace.runtime.store.values import CancelVerdict
from headrace.runtime.web.auth import LOCAL_ADMIN
from headrace.scheduler.body import read_job_body
from headrace.scheduler.handle_cancel import _cancel
from headrace.scheduler.services import Services

from .patches import simulation

T = TypeVar("T")
PATIENCE_SECONDS = 6.0
"""After so long without an answer a client hangs up."""


class HungUpError(Exception):
    """No answer came: what happened is not known."""


@dataclass
class Submission:
    """One job as a client sees it. `job_id` None: it was never told one."""

    name: str
    body: dict[str, Any]
    key: str | None
    at: float
    cancel_at: float | None = None
    job_id: str | None = None
    status: str = "open"
    """`ok`, `refused` (surely not kept) or `unknown`."""
    cancelled: str | None = None
    """What a cancel was answered: `cancelled`, `requested`, `over` or None."""
    reads: list[tuple[int, int]] = field(default_factory=list)
    """Attempt and length of the log, as they were read one after the other."""
    missing_reads: int = 0
    """404s after the job was accepted."""


async def ask(make: Callable[[Services], Awaitable[T]]) -> T:
    """Send a request to some scheduler.

    Raises:
        HungUpError: No answer came.
    """
    sim = simulation()
    answer: asyncio.Future[T] = sim.loop.create_future()
    scheduler = sim.some_scheduler()
    if scheduler is None:
        await asyncio.sleep(0.5)
        raise HungUpError
    actor, services = scheduler

    async def handle() -> None:
        send: Callable[[], object]
        try:
            send = partial(answer.set_result, await make(services))
        except HeadraceError as error:
            send = partial(answer.set_exception, error)
        if not sim.loses_answer():
            sim.loop.call_soon(lambda: answer.done() or send())

    sim.spawn(actor, handle())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await answer
    except TimeoutError:
        raise HungUpError from None


async def submit(item: Submission) -> None:
    """Submit a job, and again with its key as long as nothing certain was heard."""
    sim = simulation()
    body = read_job_body(json.dumps(item.body).encode(), payload_limit_bytes=10_000)
    for _ in range(8):
        try:
            stored = await ask(lambda services: services.submitter.submit(body, token=LOCAL_ADMIN, key=item.key))
        except (HungUpError, OutcomeUnknownError) as error:
            item.status = "unknown"
            if isinstance(error, OutcomeUnknownError) and error.job_id:
                item.job_id = error.job_id
            if item.key is None:
                return
        except HeadraceError:
            if item.status == "open":
                item.status = "refused"
            if item.key is None:
                return
        else:
            item.status, item.job_id = "ok", stored.job.id
            return
        await asyncio.sleep(0.3 + sim.plan_dice.random())
        if item.status == "refused":
            item.status = "open"
    if item.status == "open":
        item.status = "refused"


async def _cancel_it(job_id: str, services: Services) -> tuple[Job, CancelVerdict]:
    return await _cancel(services, job_id, None)


async def cancel(item: Submission) -> None:
    """Cancel a job, and again as long as nothing certain was heard."""
    for _ in range(5):
        if item.job_id is None:
            return
        job_id = item.job_id
        try:
            _, verdict = await ask(partial(_cancel_it, job_id))
        except (HungUpError, HeadraceError):
            await asyncio.sleep(0.4)
            continue
        item.cancelled = {
            CancelVerdict.CANCELLED: "cancelled",
            CancelVerdict.ALREADY_CANCELLED: "cancelled",
            CancelVerdict.REQUESTED: "requested",
            CancelVerdict.ALREADY_OVER: "over",
        }[verdict]
        return


async def read(item: Submission) -> Job | None:
    """Look at a job that was accepted."""
    if item.status != "ok" or item.job_id is None:
        return None
    job_id = item.job_id
    try:
        job = await ask(lambda services: services.stores.mongo.read(lambda: services.reads.job(job_id)))
    except NotFoundError:
        item.missing_reads += 1
        return None
    except (HungUpError, HeadraceError):
        return None
    item.reads.append((job.attempt, len(job.log)))
    return job


async def client(item: Submission) -> None:
    """The whole life of a client."""
    await asyncio.sleep(item.at)
    await submit(item)
    await read(item)
    if item.cancel_at is not None:
        await asyncio.sleep(item.cancel_at)
        await cancel(item)
        await read(item)
