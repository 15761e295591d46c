"""What clients do in the scenarios of the mutants: the least that lets a broken rule show."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from .calls import Submission
from .history import Operation
from .nemesis import Ground

LONG_AGO = timedelta(minutes=10)


def job(stage: Ground, tag: str, kind: str = "sleep", *, key: str | None = None, **fields: Any) -> Submission:
    """A job that leaves effects; `priority` and the like go into the body, everything else into its payload."""
    body: dict[str, Any] = {"type": f"test.{kind}", "tags": {"tag": tag}}
    body |= {name: fields.pop(name) for name in ("priority", "max_retries") if name in fields}
    return Submission({**body, "payload": {"effects": str(stage.sinks.effects), **fields}}, key, tag)


async def submit(stage: Ground, jobs: Sequence[Submission], *, client: str = "c") -> list[Operation]:
    """All at once, over all schedulers."""
    urls = itertools.cycle(stage.urls)
    return list(
        await asyncio.gather(
            *(stage.calls.submit(next(urls), f"{client}{number}", one) for number, one in enumerate(jobs))
        )
    )


async def until(stage: Ground, seconds: float) -> None:
    """Wait for a moment of the run."""
    await asyncio.sleep(max(0.0, seconds - stage.stack.clock.now()))


async def until_state(stage: Ground, job_ids: Sequence[str | None], state: str, *, within: float = 10.0) -> None:
    """Wait until all of these are in a state; not longer than `within`, whatever came of it."""
    ids = [job_id for job_id in job_ids if job_id is not None]
    end = stage.stack.clock.now() + within
    jobs = stage.watchers.database.jobs
    while stage.stack.clock.now() < end:
        if await jobs.count_documents({"_id": {"$in": ids}, "state": state}) == len(ids):
            return
        await asyncio.sleep(0.02)


def ids_of(answers: Sequence[Operation]) -> list[str]:
    """Of what was accepted."""
    return [answer.job_id for answer in answers if answer.outcome == "ok" and answer.job_id is not None]


async def in_flight(stage: Ground) -> None:
    """Jobs run while something happens, and others wait."""
    await submit(stage, [job(stage, f"run-{n}", seconds=1.5) for n in range(4)])
    await submit(stage, [job(stage, f"wait-{n}", seconds=0.05) for n in range(4)])


async def long_runs(stage: Ground) -> None:
    """Jobs that outlive the lease of a frozen worker, and their next attempt as well: more than one worker can take."""
    await submit(stage, [job(stage, f"long-{n}", seconds=6) for n in range(6)])


async def held_back(stage: Ground) -> None:
    """Recovery stands between its look at orphans and its update, while their worker wakes and completes them."""
    stage.stack.arm("recovery", "between_select_and_update", "sleep:4500", "script")
    await submit(stage, [job(stage, f"held-{n}", seconds=2) for n in range(4)])


async def steady(stage: Ground) -> None:
    """Submissions all the time, whatever becomes of the ones before, each read as soon as it is accepted.

    It ends soon after the first is accepted again.
    """
    clock = stage.stack.clock
    asking: set[asyncio.Task[None]] = set()
    accepted_at: list[float] = []
    for number in itertools.count():
        if clock.now() > 20 or any(6 < at < clock.now() - 0.5 for at in accepted_at):
            break
        asking.add(asyncio.create_task(_submit_and_look(stage, number, accepted_at)))
        await asyncio.sleep(0.06)
    await asyncio.gather(*asking)


async def _submit_and_look(stage: Ground, number: int, accepted_at: list[float]) -> None:
    answer = await stage.calls.submit(stage.urls[0], f"c{number}", job(stage, f"s{number}", seconds=0.01))
    if answer.outcome == "ok" and answer.job_id is not None:
        accepted_at.append(stage.stack.clock.now())
        await stage.calls.get(stage.urls[0], f"c{number}", answer.job_id)


async def before_the_insert(stage: Ground) -> None:
    """A scheduler dies between its place in Redis and its insert; a client asks again."""
    stage.stack.arm("scheduler", "before_mongo_insert", "exit137", "script")
    await submit(stage, [job(stage, "dies", seconds=0.01)])
    await until(stage, 2.0)
    await stage.stack.until_ready(within=20)
    await submit(stage, [job(stage, "again", seconds=0.01)], client="d")


async def lost_answers(stage: Ground) -> None:
    """Claims are answered into the void, while more waits than a worker has threads."""
    await submit(stage, [job(stage, f"first-{n}", seconds=2.5) for n in range(4)])
    await submit(stage, [job(stage, f"next-{n}", seconds=0.3) for n in range(16)])


async def pill(stage: Ground) -> None:
    """A job kills whoever runs it, beside one that does no harm."""
    await submit(stage, [job(stage, "pill", "die", until_attempt=6), job(stage, "innocent", seconds=0.2)])


async def cancels(stage: Ground) -> None:
    """Waiting, running and completed jobs are cancelled."""
    done = ids_of(await submit(stage, [job(stage, f"done-{n}", seconds=0.01) for n in range(3)]))
    running = ids_of(await submit(stage, [job(stage, f"run-{n}", "block", seconds=1.2) for n in range(4)], client="d"))
    await until_state(stage, done, "completed")
    await until_state(stage, running, "processing")
    waiting = ids_of(await submit(stage, [job(stage, f"wait-{n}", seconds=1) for n in range(3)], client="e"))
    for number, job_id in enumerate([*waiting, *running, *done]):
        await stage.calls.cancel(stage.urls[0], f"x{number}", job_id)


async def old_backlog(stage: Ground) -> None:
    """Jobs have waited for long when Redis is emptied (`updated_at` is put back, instead of waiting)."""
    await submit(stage, [job(stage, f"run-{n}", seconds=5) for n in range(4)])
    await submit(stage, [job(stage, f"old-{n}", seconds=0.01) for n in range(20)])
    jobs = stage.watchers.database.jobs
    await jobs.update_many({"state": "queued"}, {"$set": {"updated_at": datetime.now(UTC) - LONG_AGO}})


async def burst(stage: Ground) -> None:
    """Far more at once than the bound admits.

    Each scheduler has been asked before: the first who comes to a new one waits for its connections, and two that are
    ready at different times do not look at the bound at the same time.
    """
    await submit(stage, [job(stage, f"first-{n}", seconds=0.01) for n in range(4)])
    await submit(stage, [job(stage, f"b{n}", seconds=0.4) for n in range(80)])


async def ahead(stage: Ground) -> None:
    """Long jobs take all threads; then low ones come, and then urgent ones."""
    first = await submit(stage, [job(stage, f"first-{n}", seconds=1.5) for n in range(4)])
    await until_state(stage, ids_of(first), "processing")
    await submit(stage, [job(stage, f"low-{n}", seconds=0.2, priority="low") for n in range(12)], client="d")
    await submit(stage, [job(stage, f"high-{n}", seconds=0.2, priority="high") for n in range(4)], client="e")


async def calm(stage: Ground) -> None:
    """A little of everything, and nothing breaks."""
    jobs = [job(stage, f"run-{n}", seconds=0.05) for n in range(6)]
    jobs += [job(stage, f"fail-{n}", "fail", until_attempt=4, max_retries=2) for n in range(2)]
    jobs += [job(stage, f"twice-{n}", "fail", until_attempt=1) for n in range(2)]
    await submit(stage, jobs)
    for turn in range(2):
        await submit(
            stage, [job(stage, f"key-{n}-{turn}", seconds=0.01, key=f"k{n}") for n in range(3)], client=f"k{turn}-"
        )
        for number in range(3):  # each alone, so that more than one insert is made
            await submit(stage, [job(stage, f"single-{turn}-{number}", seconds=0.01)], client=f"s{turn}-{number}-")


async def nothing(stage: Ground) -> None:
    """Look on."""
    await submit(stage, [job(stage, "before", seconds=0.01)])


async def deaf(stage: Ground) -> None:
    """Running jobs are cancelled just before their end, while nobody can tell their worker.

    It looks for itself every two seconds, so one of three waves at most can be found out in time.
    """
    jobs = stage.watchers.database.jobs
    for wave in range(3):
        running = ids_of(await submit(stage, [job(stage, f"run-{wave}-{n}", seconds=1.0) for n in range(4)]))
        await until_state(stage, running, "processing")
        claimed = [document["claimed_at"] async for document in jobs.find({"_id": {"$in": running}}, {"claimed_at": 1})]
        await until(stage, (stage.stack.clock.of_wall(min(claimed)) or 0.0) + 0.8)
        await asyncio.gather(*(stage.calls.cancel(stage.urls[0], f"x-{job_id}", job_id) for job_id in running))
        await asyncio.sleep(0.4)
