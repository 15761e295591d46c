"""A dependency that keeps failing parks its jobs and costs them nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from worker_plugins import write_plugin
from worker_stage import Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import DependencyDown, JobCancelled, PermanentError
from headrace.contracts.states import JobState
from headrace.runtime.process.ids import new_incarnation
from headrace.runtime.store.breakers import DependencyBreakers
from headrace.testing.eventually import eventually
from headrace.worker import breakers as breakers_module
from headrace.worker.breakers import FAILURES, FIRST_PARK_SECONDS, Dependencies
from headrace.worker.child_process import ChildProcess
from headrace.worker.pools import ChildPlan


@pytest.fixture
def store(stage: Stage) -> DependencyBreakers:
    return DependencyBreakers(stage.database)


@pytest.fixture
def one(store: DependencyBreakers) -> Dependencies:
    return Dependencies(store)


async def use(dependencies: Dependencies, error: Exception | None = None, *, name: str = "mail") -> None:
    async with dependencies.using(name, job_type="t"):
        if error is not None:
            raise error


async def open_(dependencies: Dependencies) -> None:
    for _ in range(FAILURES - 1):
        with pytest.raises(OSError, match="no"):
            await use(dependencies, OSError("no"))
    with pytest.raises(DependencyDown):
        await use(dependencies, OSError("no"))


async def over(stage: Stage) -> None:
    await stage.database.handle["breakers"].update_many({}, [{"$set": {"open_until": "$$NOW"}}])


async def test_failures_in_a_row_open_it_for_every_child(
    stage: Stage, one: Dependencies, store: DependencyBreakers
) -> None:
    for _ in range(FAILURES - 1):
        with pytest.raises(OSError, match="no"):
            await use(one, OSError("no"))
    await use(one)  # it works: counted anew
    await open_(one)
    with pytest.raises(DependencyDown) as parked:
        await use(one)
    assert parked.value.is_counted
    assert 0 < one.park_seconds("mail", jitter=0.5) < 13
    other = Dependencies(store)
    await use(other)  # it has not read yet
    await other.refresh()
    with pytest.raises(DependencyDown):
        await use(other)
    await use(other, name="another")


async def test_what_says_something_about_the_job_is_no_failure_of_the_dependency(one: Dependencies) -> None:
    for _ in range(FAILURES + 1):
        with pytest.raises(PermanentError):
            await use(one, PermanentError("bad address"))
        with pytest.raises(JobCancelled):
            await use(one, JobCancelled("stop"))
    await use(one)


async def test_one_job_probes_and_closes_it_or_keeps_it_open_for_longer(
    stage: Stage, one: Dependencies, store: DependencyBreakers
) -> None:
    await open_(one)
    other = Dependencies(store)
    await over(stage)
    await one.refresh()
    await other.refresh()
    async with one.using("mail", job_type="t"):
        with pytest.raises(DependencyDown):
            await use(other)
    assert await store.all() == []
    await one.refresh()
    await other.refresh()
    await use(other)

    await open_(one)
    await over(stage)
    await one.refresh()
    with pytest.raises(DependencyDown):
        await use(one, OSError("still"))
    (found,) = await store.all()
    assert (found.state, found.failures) == ("open", 2)


async def test_a_reset_is_followed_and_names_are_checked(one: Dependencies, store: DependencyBreakers) -> None:
    await open_(one)
    await store.close("mail")
    await one.refresh()
    await use(one)
    assert one.park_seconds("mail", jitter=0.0) == FIRST_PARK_SECONDS + 0.5
    for name in ("", "x" * 201):
        with pytest.raises(ValueError, match="1 to 200"):
            await use(one, name=name)


async def test_a_thousand_counted_dependencies_are_all_that_is_remembered(
    one: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakers_module, "MAX_COUNTED", 3)
    for number in range(9):
        with pytest.raises(OSError, match="no"):
            await use(one, OSError("no"), name=str(number))
    assert list(one._failures) == ["6", "7", "8"]


async def test_while_mongodb_is_away_nothing_opens_and_jobs_fail_as_ever(stage: Stage, one: Dependencies) -> None:
    with stage.failing("update", errorCode=50):
        for _ in range(FAILURES + 1):
            with pytest.raises(OSError, match="no"):
                await use(one, OSError("no"))
    await use(one)


SOURCE = """
from headrace.contracts.executor import DependencyDown
from pathlib import Path
class UsesAsync(Good):
    job_type = "uses.async"
    async def execute(self, context, payload):
        async with context.dependency("mail"):
            if not Path("FLAG").exists():
                raise OSError("mail is down")
        return payload.n
class UsesPlain(Good):
    job_type = "uses.plain"
    def execute(self, context, payload):
        with context.sync.dependency("mail"):
            if not Path("FLAG").exists():
                raise OSError("mail is down")
        return payload.n
class Raises(Good):
    job_type = "raises"
    def execute(self, context, payload):
        raise DependencyDown("fax", "no line")
"""
TYPES = ("raises", "uses.async", "uses.plain")


@pytest.fixture
async def child(
    stage: Stage, worker_config: JobConfig, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ChildProcess]:
    points = {"uses.async": "UsesAsync", "uses.plain": "UsesPlain", "raises": "Raises"}
    write_plugin(tmp_path, SOURCE.replace("FLAG", str(tmp_path / "flag")), points)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    incarnation = new_incarnation()
    await stage.incarnations.register(
        incarnation, service="s", host="h", pool="default", types=TYPES, slots=1, version="0", lease_seconds=60
    )
    child = ChildProcess.spawn(incarnation, ChildPlan("default", TYPES, 1), grace_seconds=2)
    yield child
    child.ask_to_end()
    await eventually(child.ended.done, within=15)
    child.board.close()


@pytest.mark.slow
async def test_jobs_of_a_child_are_parked_without_cost_and_run_when_it_works_again(
    stage: Stage, child: ChildProcess, store: DependencyBreakers, tmp_path: Any
) -> None:
    jobs = [
        *await stage.submit(4, type="uses.async", max_retries=9),
        *await stage.submit(4, type="uses.plain", max_retries=9),
        *await stage.submit(1, type="raises", max_retries=0),
    ]

    async def parked() -> bool:
        found = [await stage.job(job) for job in jobs]
        assert await store.all()
        return all(job.state is JobState.QUEUED and job.attempt for job in found)

    await eventually(parked, within=40)
    stored = [await stage.job(job) for job in jobs]
    assert sum(job.failures for job in stored) == FAILURES - 1, "what opened it, and nothing more"
    assert (stored[-1].failures, stored[-1].log[-1].reason.value) == (0, "released")
    assert {name for breaker in await store.all() for name in breaker.types} <= set(TYPES)

    (tmp_path / "flag").touch()
    await over(stage)
    for job in jobs[:-1]:
        await eventually(lambda job=job: stage.in_state(job, "completed"), within=40)
    assert await store.all() == []
