"""Event streams: their form, their ends, what they resume, and what they say they lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientResponse
from pydantic import SecretStr

from headrace.contracts.states import JobState, Reason
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.event_rows import EventRow
from headrace.runtime.queue.history import EventLog
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import Settlement
from headrace.scheduler import event_streams, handle_events
from headrace.scheduler.event_hub import HUB
from headrace.testing.eventually import eventually


class Reader:
    """Reads a stream in the background, as a browser does."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self.events: list[dict[str, Any]] = []
        self.comments = 0
        self.ended = False
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        block: dict[str, str] = {}
        try:
            async for line in self.response.content:
                text = line.decode().rstrip("\n")
                if text.startswith(":"):
                    self.comments += 1
                elif text:
                    name, _, value = text.partition(": ")
                    assert name in {"event", "id", "data"}
                    block[name] = value
                elif block:
                    self.events.append({**block, "data": json.loads(block["data"])})
                    block = {}
            self.ended = True
        except Exception:  # noqa: BLE001 -- cut off
            self.ended = True

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]

    def of(self, job_id: str) -> list[str]:
        return [event["event"] for event in self.events if event["data"].get("id") == job_id]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.response.close()


@asynccontextmanager
async def listening(api: Any, path: str, **headers: str) -> AsyncIterator[Reader]:
    response = await api.client.get(path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    assert response.status == 200, await response.text()
    assert response.headers["Content-Type"] == "text/event-stream"
    reader = Reader(response)
    try:
        yield reader
    finally:
        await reader.close()


class Worker:
    """What a worker writes and tells, without one."""

    def __init__(self, api: Any) -> None:
        self.redis = redis_client(api.config.redis_url, kind="command", name="test")
        self.log = EventLog(self.redis, api.config.namespace)
        self.state = JobStateManager(api.database)

    async def tell(self, view: dict[str, Any], event: str, state: str, attempt: int = 1, **more: Any) -> None:
        row = EventRow(
            event, view["id"], view["type"], view["pool"], state, attempt, int(time.time() * 1000), *more.values()
        )
        assert await self.log.append([row])

    async def claim(self, view: dict[str, Any]) -> None:
        jobs = await self.state.claim([view["id"]], token="t", owner="w", types=[view["type"]])
        assert [job.id for job in jobs] == [view["id"]]

    async def complete(self, view: dict[str, Any]) -> None:
        settlement = Settlement(view["id"], 1, JobState.COMPLETED, Reason.COMPLETED, result="1", started_ms_ago=1)
        await self.state.settle([settlement], by="w")


@pytest.fixture
async def worker(api: Any) -> AsyncIterator[Worker]:
    worker = Worker(api)
    yield worker
    await worker.redis.aclose()


async def test_one_job_is_followed_from_its_snapshot_to_its_end(api, worker):
    view = await api.submit(priority="high")
    async with listening(api, f"/v1/jobs/{view['id']}/events") as reader:
        await eventually(lambda: reader.names == ["job.snapshot"])
        data = reader.events[0]["data"]
        assert list(data) == ["id", "type", "pool", "state", "attempt", "progress", "at"]
        assert (data["id"], data["type"], data["pool"], data["state"]) == (view["id"], "any", "default", "queued")
        assert data["at"].endswith("Z")
        await worker.claim(view)
        await worker.tell(view, "job.started", "processing")
        await worker.tell(view, "job.progress", "processing", progress=(0.5, "half\nway"))
        await eventually(lambda: "job.progress" in reader.names)
        await worker.complete(view)
        await worker.tell(view, "job.completed", "completed")
        await eventually(lambda: reader.ended)
    assert reader.names == ["job.snapshot", "job.started", "job.progress", "job.completed"]
    progress = reader.events[2]["data"]["progress"]
    assert (progress["fraction"], progress["message"]) == (0.5, "half\nway")
    assert all(event["data"]["id"] == view["id"] for event in reader.events)


async def test_what_the_scheduler_does_is_told(api):
    async with listening(api, "/v1/events") as reader:
        view = await api.submit()
        await eventually(lambda: reader.of(view["id"]) == ["job.queued"])
        assert (await api.cancel(view["id"])).status == 200
        await eventually(lambda: reader.of(view["id"]) == ["job.queued", "job.cancelled"])
        assert reader.events[-1]["data"]["state"] == "cancelled"
        assert not reader.ended


async def test_a_job_that_is_over_has_a_snapshot_and_its_end(api):
    view = await api.submit()
    await api.cancel(view["id"])
    async with listening(api, f"/v1/jobs/{view['id']}/events") as reader:
        await eventually(lambda: reader.ended)
    assert reader.names == ["job.snapshot", "job.cancelled"]
    assert [event["data"]["state"] for event in reader.events] == ["cancelled", "cancelled"]


async def test_an_end_that_nobody_told_of_is_found_in_the_truth(api, worker):
    """The worker died between the settlement and its event."""
    view = await api.submit()
    async with listening(api, f"/v1/jobs/{view['id']}/events") as reader:
        await worker.claim(view)
        await worker.complete(view)
        await eventually(lambda: reader.ended, within=3)
    assert reader.names == ["job.snapshot", "job.completed"]


async def test_a_job_that_is_removed_ends_its_stream(api):
    view = await api.submit()
    async with listening(api, f"/v1/jobs/{view['id']}/events") as reader:
        await eventually(lambda: reader.names == ["job.snapshot"])
        await api.database.jobs.delete_one({"_id": view["id"]})
        await eventually(lambda: reader.ended, within=4)


async def test_type_and_pool_filter(api):
    async with (
        listening(api, "/v1/events?type=echo") as by_type,
        listening(api, "/v1/events?pool=default") as by_pool,
        listening(api, "/v1/events") as everything,
    ):
        first = await api.submit()
        second = await api.submit(type="echo")
        await eventually(lambda: len(everything.events) == 2)
        await eventually(lambda: (len(by_type.events), len(by_pool.events)) == (1, 1))
        assert by_type.of(second["id"]) == ["job.queued"]
        assert by_pool.of(first["id"]) == ["job.queued"]


async def test_a_stream_resumes_after_the_last_event_it_saw(api, worker):
    async with listening(api, "/v1/events") as reader:
        view = await api.submit()
        await eventually(lambda: reader.names == ["job.queued"])
        last = reader.events[0]["id"]
    for n in range(3):
        await worker.tell(view, "job.progress", "processing", progress=(n / 10, f"{n}"))
    async with listening(api, "/v1/events", Last_Event_ID=last) as reader:
        await eventually(lambda: len(reader.events) == 3)
        await worker.tell(view, "job.completed", "completed")
        await eventually(lambda: len(reader.events) == 4)
        assert reader.names == ["job.progress"] * 3 + ["job.completed"]
        ids = [event["id"] for event in reader.events]
        assert len(set(ids)) == 4
    async with listening(api, "/v1/events", Last_Event_ID=ids[2]) as reader:
        await eventually(lambda: reader.names == ["job.completed"])


async def test_a_stream_of_one_job_resumes_as_well(api, worker):
    async with listening(api, "/v1/events") as everything:
        view, other = await api.submit(), await api.submit()
        await eventually(lambda: everything.names == ["job.queued"] * 2)  # told in batches: they must not come later
    async with listening(api, f"/v1/jobs/{view['id']}/events") as reader:
        await worker.tell(view, "job.started", "processing")
        await eventually(lambda: reader.names == ["job.snapshot", "job.started"])
        last = reader.events[-1]["id"]
    await worker.tell(other, "job.started", "processing")
    await worker.tell(view, "job.progress", "processing")
    async with listening(api, f"/v1/jobs/{view['id']}/events", Last_Event_ID=last) as reader:
        await eventually(lambda: reader.names == ["job.snapshot", "job.progress"])


@pytest.mark.parametrize("last", ["nonsense", "1-0-0", "99999999999999-0-0"])
async def test_an_unknown_place_is_a_gap(api, last):
    await api.submit()
    async with listening(api, "/v1/events", Last_Event_ID=last) as reader:
        await eventually(lambda: reader.names == ["job.gap"])
        view = await api.submit()
        await eventually(lambda: reader.of(view["id"]) == ["job.queued"])
    resumed_at = reader.events[0].get("id")
    assert resumed_at
    assert resumed_at != last


async def test_a_flush_under_an_open_stream_is_a_gap_and_the_stream_goes_on(make_api, config, own_redis):
    api = await make_api(config.model_copy(update={"redis_url": SecretStr(own_redis.url)}))
    worker = Worker(api)
    view = await api.submit()
    async with (
        listening(api, "/v1/events") as reader,
        listening(api, f"/v1/jobs/{view['id']}/events") as one,
    ):
        await worker.tell(view, "job.started", "processing")
        await eventually(lambda: "job.started" in reader.names)
        await worker.redis.flushall()
        await eventually(lambda: "job.gap" in reader.names, within=5)
        await worker.tell(view, "job.progress", "processing")
        await eventually(lambda: reader.names[-1] == "job.progress", within=5)
        await eventually(lambda: one.names[-1] == "job.progress")
        assert reader.names.count("job.gap") == 1
        assert one.names == ["job.snapshot", "job.started", "job.gap", "job.snapshot", "job.progress"]
    await worker.redis.aclose()


async def test_a_restart_of_redis_is_a_gap_and_the_stream_goes_on(make_api, config, own_redis):
    api = await make_api(config.model_copy(update={"redis_url": SecretStr(own_redis.url)}))
    async with listening(api, "/v1/events") as reader:
        await api.submit()
        await eventually(lambda: "job.queued" in reader.names)
        own_redis.restart(keep_data=False)
        await eventually(lambda: "job.gap" in reader.names, within=10)

        async def told_again():
            view = await api.submit()
            await asyncio.sleep(0.2)
            return reader.of(view["id"]) == ["job.queued"]

        await eventually(told_again, within=15)


async def test_without_redis_a_job_is_followed_by_the_truth_alone(make_api, config, own_redis):
    own_redis.stop()
    api = await make_api(config.model_copy(update={"redis_url": SecretStr(own_redis.url)}))
    view = await api.submit()
    async with listening(api, f"/v1/jobs/{view['id']}/events") as reader, listening(api, "/v1/events") as everything:
        await eventually(lambda: reader.names == ["job.snapshot"])
        assert (await api.cancel(view["id"])).status == 200
        await eventually(lambda: reader.ended, within=6)
        assert reader.names == ["job.snapshot", "job.cancelled"]
        own_redis.start()
        await eventually(lambda: everything.names[:1] == ["job.gap"], within=10)


async def test_a_slow_client_gets_a_gap_and_costs_no_memory(api, worker, monkeypatch):
    """Hazard 25: it holds up nobody and keeps a fixed number of events."""
    monkeypatch.setattr(event_streams, "MAX_WAITING", 10)
    view = await api.submit()
    gate = asyncio.Event()
    write = handle_events._write

    async def slow(response, frames):
        async def held():
            async for frame in frames:
                yield frame
                await gate.wait()

        await write(response, held())

    monkeypatch.setattr(handle_events, "_write", slow)
    async with listening(api, "/v1/events") as reader:
        monkeypatch.setattr(handle_events, "_write", write)
        async with listening(api, "/v1/events") as quick:
            rows = [EventRow("job.progress", view["id"], "any", "default", "processing", 1, n) for n in range(50)]
            for row in rows:
                assert await worker.log.append([row])
            await eventually(lambda: quick.of(view["id"]).count("job.progress") >= 1)
            await eventually(lambda: quick.events and quick.events[-1]["data"]["at"] == "1970-01-01T00:00:00.049Z")
            (stream,) = [stream for stream in api.app[HUB]._streams if stream._waiting]
            assert len(stream._waiting) <= 10
            gate.set()
            await eventually(lambda: reader.names[:1] == ["job.gap"])
            await eventually(lambda: reader.events[-1]["data"]["at"] == "1970-01-01T00:00:00.049Z")
            assert len(reader.events) <= 12


async def test_a_client_that_never_reads_is_cut_off_at_the_end(api, worker, monkeypatch):
    """Its answer is stuck in the server; the end does not wait for it."""
    view = await api.submit()
    response = await api.client.get("/v1/events")
    big = "x" * 900
    for _ in range(40):
        rows = [EventRow("job.progress", view["id"], "any", "default", "processing", 1, 1, (0.1, big))] * 200
        await worker.log.append(rows)
        await asyncio.sleep(0.02)
    began = time.monotonic()
    await api.client.server.close()
    assert time.monotonic() - began < 3
    response.close()


async def test_streams_beyond_the_cap_are_refused(api, monkeypatch):
    hub = api.app[HUB]
    monkeypatch.setattr(hub, "_max_streams", 2)
    async with listening(api, "/v1/events"), listening(api, "/v1/events"):
        response = await api.client.get("/v1/events")
        await api.problem(response, 429, "rate-limited")
        assert int(response.headers["Retry-After"]) >= 1
    await eventually(lambda: hub.open_streams == 0, within=6)
    async with listening(api, "/v1/events"):
        pass


async def test_silence_is_broken_by_comments(api, monkeypatch):
    monkeypatch.setattr(handle_events, "COMMENT_SECONDS", 0.1)
    view = await api.submit()
    async with listening(api, "/v1/events") as reader, listening(api, f"/v1/jobs/{view['id']}/events") as one:
        await eventually(lambda: reader.comments >= 3)
        await eventually(lambda: one.comments >= 2)


async def test_a_client_that_left_gives_its_place_back(api):
    hub = api.app[HUB]
    async with listening(api, "/v1/events"):
        await eventually(lambda: hub.open_streams == 1)
    await eventually(lambda: hub.open_streams == 0, within=6)


async def test_shutdown_ends_open_streams_at_once(api):
    views = [await api.submit() for _ in range(3)]
    paths = ["/v1/events", *(f"/v1/jobs/{view['id']}/events" for view in views)]
    readers = [Reader(await api.client.get(path)) for path in paths]
    await eventually(lambda: all(reader.names or reader.comments for reader in readers))
    began = time.monotonic()
    await api.client.server.close()
    assert time.monotonic() - began < 1
    await eventually(lambda: all(reader.ended for reader in readers))
    for reader in readers:
        await reader.close()


async def test_tenants_see_their_own_jobs_only(make_api, config, tokens_file):
    api = await make_api(config.model_copy(update={"api_tokens_file": tokens_file}))
    red, blue = api.bearer("red"), api.bearer("blue")
    async with (
        listening(api, "/v1/events", **red) as of_red,
        listening(api, "/v1/events", **blue) as of_blue,
        listening(api, "/v1/events", **api.bearer("admin")) as of_admin,
    ):
        view = await (await api.post({"type": "any", "payload": {}}, **red)).json()
        await eventually(lambda: of_red.of(view["id"]) == ["job.queued"])
        await eventually(lambda: of_admin.of(view["id"]) == ["job.queued"])
        last = of_red.events[0]["id"]
        other = await (await api.post({"type": "any", "payload": {}}, **blue)).json()
        await eventually(lambda: of_blue.names == ["job.queued"])
        assert of_blue.of(other["id"]) == ["job.queued"]
        assert "tenant" not in json.dumps(of_admin.events)
    async with listening(api, "/v1/events", Last_Event_ID=last, **blue) as of_blue:
        await eventually(lambda: of_blue.of(other["id"]) == ["job.queued"])
    response = await api.client.get(f"/v1/jobs/{view['id']}/events", headers=blue)
    await api.problem(response, 404, "not-found")
    await api.problem(await api.client.get(f"/v1/jobs/{view['id']}/why", headers=blue), 404, "not-found")
    async with listening(api, f"/v1/jobs/{view['id']}/events", **red) as reader:
        await eventually(lambda: reader.names == ["job.snapshot"])


@pytest.mark.parametrize("path", ["/v1/events", "/v1/jobs/0199aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee/events"])
async def test_streams_need_the_scope_read(make_api, config, tokens_file, path):
    api = await make_api(config.model_copy(update={"api_tokens_file": tokens_file}))
    await api.problem(await api.client.get(path), 401, "unauthorized")
    await api.problem(await api.client.get(path, headers=api.bearer("submitter")), 403, "forbidden")


async def test_wrong_requests_are_refused_before_a_stream_begins(api):
    await api.problem(await api.client.get("/v1/events?typ=x"), 422, "validation")
    await api.problem(await api.client.get("/v1/events?pool=A"), 422, "validation")
    await api.problem(await api.client.get("/v1/events", headers={"Last-Event-ID": "x" * 200}), 422, "validation")
    missing = "/v1/jobs/0199aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee/events"
    await api.problem(await api.client.get(missing), 404, "not-found")
    await api.problem(await api.client.get("/v1/jobs/x/events"), 404, "not-found")
    await api.problem(await api.client.get(f"{missing}?type=x"), 422, "validation")
    assert api.app[HUB].open_streams == 0


async def _kill_subscribers(redis: Any, stop: Callable[[], bool]) -> None:
    while not stop():
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(0.02)


async def test_hazard_25_lost_hints_cost_a_stream_at_most_one_poll(make_api, config, own_redis):
    """Every subscription is killed fifty times a second; events come by the poll of the log."""
    api = await make_api(config.model_copy(update={"redis_url": SecretStr(own_redis.url)}))
    worker = Worker(api)
    view = await api.submit()
    done = False
    killer = asyncio.create_task(_kill_subscribers(worker.redis, lambda: done))
    async with listening(api, "/v1/events") as reader:
        await asyncio.sleep(0.1)
        for n in range(3):
            told = time.monotonic()
            await worker.tell(view, "job.progress", "processing", progress=(0.1 * n, ""))
            await eventually(lambda: reader.names.count("job.progress") == n + 1)  # noqa: B023 -- awaited here
            assert time.monotonic() - told < 1.5
    done = True
    await killer
    await worker.redis.aclose()
