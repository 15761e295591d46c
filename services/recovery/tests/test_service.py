"""The service as a whole, in this process: who leads, what fails, what the probes and metrics say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from recovery_stage import POOL, Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import ConfigError
from headrace.contracts.states import JobState
from headrace.local import ports
from headrace.local.stores import MongoServer, RedisServer
from headrace.recovery import service
from headrace.recovery.app import SERVICE, build_app
from headrace.recovery.leadership import LEASE_SECONDS, Leadership
from headrace.recovery.metrics import RecoveryMetrics
from headrace.recovery.parts import open_parts
from headrace.recovery.service import JobRecoveryService
from headrace.testing.eventually import eventually


@asynccontextmanager
async def running(config: JobConfig) -> AsyncIterator[tuple[JobRecoveryService, CollectorRegistry]]:
    registry = CollectorRegistry()
    service = JobRecoveryService(open_parts(config), RecoveryMetrics(registry))
    await service.start()
    try:
        yield service, registry
    finally:
        await service.stop()


async def test_everything_that_is_wrong_is_put_right_without_being_asked(stage: Stage, config: JobConfig) -> None:
    await stage.worker()
    orphan = await stage.running()
    await stage.die(running=(orphan.id,))
    waiting = await stage.job(indexed=False)
    stuck = await stage.job()
    await stage.in_flight(stuck.id, seconds_ago=60)
    async with running(config) as (service, registry):

        async def is_right() -> bool:
            assert await stage.parts.queue.is_complete(POOL)
            assert await stage.held_ids() == {job.id: "ready" for job in (orphan, waiting, stuck)}
            return True

        await eventually(is_right, within=15)
        for reason in ("orphaned", "stuck_inflight"):  # counted when the pass is over, after the push

            def is_counted(reason: str = reason) -> bool:
                return registry.get_sample_value("job_recovered_total", {"reason": reason}) == 1

            await eventually(is_counted)
        assert registry.get_sample_value("job_recovery_leader") == 1
        await eventually(lambda: registry.get_sample_value("job_recovery_last_full_pass_seconds"))
        assert registry.get_sample_value("job_drift", {"kind": "missing"}) is not None
        assert service.leadership.is_leading()


async def test_only_one_of_two_leads_and_the_other_follows_at_once(stage: Stage, config: JobConfig) -> None:
    async with running(config) as (first, _):
        await eventually(first.leadership.is_leading)
        async with running(config) as (second, registry):
            await asyncio.sleep(1.5)
            assert not second.leadership.is_leading()
            assert registry.get_sample_value("job_recovery_leader") == 0
            await first.stop()
            await eventually(second.leadership.is_leading, within=3.5, what="a lease given back is free at once")


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_leadership_that_is_not_renewed_ends_by_the_leaders_own_clock(stage: Stage) -> None:
    begun: list[int] = []
    clock = FakeClock()
    leadership = Leadership(stage.parts, on_new=lambda: begun.append(1), clock=clock)
    await leadership.run_once()
    assert leadership.is_leading()
    clock.now += LEASE_SECONDS - 0.1
    assert leadership.is_leading()
    await leadership.run_once()
    assert begun == [1], "a renewal is no new leadership"
    clock.now += LEASE_SECONDS + 0.1
    assert not leadership.is_leading()
    await leadership.run_once()
    assert begun == [1, 1], "it was interrupted, so it is new"


async def test_a_leader_that_was_overtaken_stops_leading(stage: Stage) -> None:
    clock = FakeClock()
    first = Leadership(stage.parts, on_new=lambda: None, clock=clock)
    second = Leadership(stage.parts, on_new=lambda: None, clock=clock)
    await first.run_once()
    await second.run_once()
    assert (first.is_leading(), second.is_leading()) == (True, False)
    past = (await stage.parts.reconcile.now()).replace(year=2020)
    await stage.parts.database.leases.update_one({"_id": "recovery"}, {"$set": {"until": past}})
    await second.run_once()
    await first.run_once()
    assert (first.is_leading(), second.is_leading()) == (False, True)
    await first.end()
    assert second.is_leading()


async def test_the_loss_of_redis_fails_its_duties_and_no_others(
    own_stage: Stage, own_config: JobConfig, own_redis: RedisServer
) -> None:
    stage = own_stage
    async with running(own_config) as (service, registry):
        await eventually(service.leadership.is_leading)
        job = await stage.running()
        await asyncio.to_thread(own_redis.kill)
        await eventually(lambda: registry.get_sample_value("job_recovery_duty_failing", {"duty": "sweep"}) == 1)

        async def is_handed_back() -> bool:
            return (await stage.document(job.id)).state is JobState.QUEUED

        await eventually(is_handed_back)
        await eventually(lambda: registry.get_sample_value("job_recovery_duty_failing", {"duty": "orphans"}) == 0)
        await asyncio.to_thread(own_redis.start)

        async def is_rebuilt() -> bool:
            return await stage.held_ids() == {job.id: "ready"} and await stage.parts.queue.is_complete(POOL)

        await eventually(is_rebuilt, within=20)
        await eventually(lambda: registry.get_sample_value("job_recovery_duty_failing", {"duty": "sweep"}) == 0)


@asynccontextmanager
async def served(config: JobConfig) -> AsyncIterator[TestClient]:
    app = await build_app(config)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_the_probes_name_the_store_that_is_missing(config: JobConfig) -> None:
    nowhere = SecretStr(f"redis://127.0.0.1:{ports.free_port()}")
    async with served(config.model_copy(update={"redis_url": nowhere})) as client:
        assert (await client.get("/healthz")).status == 200
        answer = await client.get("/readyz")
        assert answer.status == 503
        checks = (await answer.json())["checks"]
        assert (checks["redis"]["ok"], checks["mongodb"]["ok"]) == (False, True)
        assert "no connection" in checks["redis"]["detail"]


async def test_the_probes_say_when_mongodb_is_missing(config: JobConfig) -> None:
    nowhere = SecretStr(f"mongodb://127.0.0.1:{ports.free_port()}/?replicaSet=rs0")
    async with served(config.model_copy(update={"mongo_url": nowhere})) as client:
        answer = await client.get("/readyz")
        assert answer.status == 503
        checks = (await answer.json())["checks"]
        assert (checks["redis"]["ok"], checks["mongodb"]["ok"]) == (True, False)
        assert checks["leadership"] == {"ok": True, "detail": "standby", "breaker": None}


async def test_hazard_21_a_redis_that_evicts_is_refused_at_the_start_and_noticed_later(
    own_config: JobConfig, own_stage: Stage
) -> None:
    async with served(own_config) as client:
        await own_stage.redis.config_set("maxmemory-policy", "allkeys-lru")

        async def is_noticed() -> bool:
            answer = await client.get("/readyz")
            return answer.status == 503 and "noeviction" in (await answer.json())["checks"]["redis"]["detail"]

        await eventually(is_noticed)
    app = await build_app(own_config)
    runner = web.AppRunner(app)
    with pytest.raises(ConfigError, match="noeviction"):
        await runner.setup()
    await runner.cleanup()
    await app[SERVICE].stop()


async def test_the_breakers_are_shown_by_the_probe_and_the_metrics(
    own_config: JobConfig, own_redis: RedisServer
) -> None:
    async with served(own_config) as client:
        await asyncio.to_thread(own_redis.kill)

        async def is_open() -> bool:
            text = await (await client.get("/metrics")).text()
            return 'job_breaker_open{breaker="redis"} 1.0' in text and 'job_breaker_open{breaker="mongodb"} 0.0' in text

        await eventually(is_open)
        checks = (await (await client.get("/readyz")).json())["checks"]
        assert not checks["redis"]["ok"]
        assert checks["redis"]["breaker"] in ("open", "half-open")
        assert checks["mongodb"]["breaker"] == "closed"


async def test_a_healthy_leader_is_ready_and_shows_its_metrics(config: JobConfig) -> None:
    app = await build_app(config)
    async with TestClient(TestServer(app)) as client:
        await eventually(app[SERVICE].leadership.is_leading)
        answer = await client.get("/readyz")
        assert answer.status == 200
        assert (await answer.json())["checks"]["leadership"]["detail"] == "leader"
        text = await (await client.get("/metrics")).text()
        assert 'job_drift{kind="ghost"} 0.0' in text
        assert "job_recovery_leader 1.0" in text


@pytest.mark.slow
async def test_b7_after_an_outage_of_mongodb_nobody_is_judged_before_a_lease_is_over(
    own_mongo: MongoServer, config: JobConfig
) -> None:
    """A running job of a worker whose lease ended during the outage: the worker renews before it is judged."""
    from recovery_stage import open_stage

    settings = config.model_copy(
        update={
            "mongo_url": SecretStr(own_mongo.url),
            "lease_seconds": 3.0,
            "worker_heartbeat_seconds": 1.0,
        }
    )
    async with open_stage(settings) as stage, running(settings) as (service, _):
        await eventually(service.leadership.is_leading)
        await stage.worker(lease_seconds=3)
        job = await stage.running()
        await asyncio.to_thread(own_mongo.pause)
        await asyncio.sleep(4)
        await asyncio.to_thread(own_mongo.resume)
        await eventually(service.leadership.is_leading, within=20)

        async def renewed() -> bool:
            return await stage.parts.incarnations.renew(["w-1"], lease_seconds=60) == {"w-1"}

        await eventually(renewed)
        await asyncio.sleep(1.5)
        assert (await stage.document(job.id)).state is JobState.PROCESSING


async def test_hazard_20_what_an_old_copy_brought_back_goes_with_the_rebuild(stage: Stage, config: JobConfig) -> None:
    """The full pass follows every rebuild, also one that found nothing to add."""
    await stage.know_pool()
    async with running(config) as (_, registry):
        await eventually(lambda: registry.get_sample_value("job_recovered_total", {"reason": "pool_rebuilt"}))
        await eventually(lambda: registry.get_sample_value("job_recovery_last_full_pass_seconds"))
        over = await stage.job(state=JobState.COMPLETED)
        await stage.redis.zadd(stage.keys.ready, {over.id: 1})
        await stage.redis.delete(stage.keys.epoch)

        async def is_gone() -> bool:
            return await stage.held_ids() == {}

        await eventually(is_gone, within=20)


async def test_an_index_that_cannot_be_made_does_not_stop_recovery(stage: Stage, config: JobConfig) -> None:
    await stage.parts.database.jobs.drop_index("idempotency")
    await stage.parts.database.jobs.create_index([("idempotency.key", 1)], name="idempotency", unique=True)
    job = await stage.running()
    async with running(config):

        async def is_handed_back() -> bool:
            return (await stage.document(job.id)).state is JobState.QUEUED

        await eventually(is_handed_back)


async def test_an_index_that_takes_long_does_not_stop_recovery(
    config: JobConfig, own_mongo: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PREPARE_SECONDS", 0.2)
    settings = config.model_copy(update={"mongo_url": SecretStr(own_mongo.url)})
    with own_mongo.client() as client:
        data = {"failCommands": ["createIndexes"], "blockConnection": True, "blockTimeMS": 4000}
        client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)
        async with running(settings) as (recovery, _):
            await eventually(recovery.leadership.is_leading, within=3.5)
            assert "jobs" not in client[config.mongo_database].list_collection_names(), "it is not there yet"
            await eventually(lambda: "moved" in client[config.mongo_database].jobs.index_information(), within=20)
            assert recovery.leadership.is_leading()


async def test_a_leadership_is_given_back_even_when_mongodb_is_gone(config: JobConfig, own_mongo: MongoServer) -> None:
    settings = config.model_copy(update={"mongo_url": SecretStr(own_mongo.url)})
    async with running(settings) as (service, _):
        await eventually(service.leadership.is_leading)
        await asyncio.to_thread(own_mongo.kill)
