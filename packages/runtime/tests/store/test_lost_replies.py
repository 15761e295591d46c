"""Applied by the server, reply lost on the way (hazard 15): whoever asks again learns what happened, once.

A proxy passes everything on, until it cuts the connection in the moment the reply to a chosen command comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.states import JobState, Reason
from headrace.local.stores import MongoServer
from headrace.runtime.store.database import Database
from headrace.runtime.store.orphans import Orphan, OrphanDecision
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.store.values import CancelVerdict, Settlement, SettleVerdict
from headrace.testing.builders import make_job


class LosingProxy:
    """Passes bytes between clients and the server; loses the replies to `command` as often as told."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._marker = b""
        self._left = 0
        self.lost = 0
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    def lose(self, command: str, *, times: int = 1) -> None:
        # A command is the first element of its document: a text (2) under the command's name.
        self._marker, self._left = b"\x02" + command.encode() + b"\x00", times

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._writers += [writer, up_writer]
        cut = asyncio.Event()
        for pump in (self._requests(reader, up_writer, cut), self._replies(up_reader, writer, cut)):
            task = asyncio.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _requests(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        try:
            while data := await source.read(1 << 20):
                if self._left and self._marker in data:
                    self._left -= 1
                    cut.set()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()

    async def _replies(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        try:
            while data := await source.read(1 << 20):
                if cut.is_set():
                    self.lost += 1
                    break
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()


@pytest.fixture
async def proxy(mongo_server: MongoServer) -> AsyncIterator[LosingProxy]:
    proxy = LosingProxy(mongo_server.port)
    yield proxy
    await proxy.stop()


@pytest.fixture
async def manager(kit: Any, proxy: LosingProxy, config: Any) -> AsyncIterator[JobStateManager]:
    """State changes through the proxy; `kit` looks at the same database past it."""
    url = f"mongodb://127.0.0.1:{await proxy.start()}/?directConnection=true"
    database = Database(config.model_copy(update={"mongo_url": SecretStr(url)}), appname="through-the-proxy")
    await database.ping()
    yield JobStateManager(database)
    await asyncio.to_thread(database.close)  # it says goodbye through the proxy, which needs this loop


async def until_answered(call: Callable[[], Awaitable[Any]]) -> Any:
    """Ask as a caller does: again, while the outcome is unknown."""
    for _ in range(5):
        try:
            return await call()
        except StoreUnavailableError:
            continue
    raise AssertionError("no answer in five tries")


@pytest.mark.parametrize(
    ("to", "reason"),
    [(JobState.COMPLETED, Reason.COMPLETED), (JobState.FAILED, Reason.FAILED), (JobState.QUEUED, Reason.RETRY)],
)
@pytest.mark.parametrize("times", [1, 2])
async def test_settlements_land_once_and_are_recognised(
    kit: Any, proxy: LosingProxy, manager: JobStateManager, to: JobState, reason: Reason, times: int
) -> None:
    jobs = [await kit.running(token=f"t{number}") for number in range(3)]
    asked = [Settlement(job.id, 1, to, reason, counts_failure=True) for job in jobs]
    proxy.lose("update", times=times)
    answers = await until_answered(lambda: manager.settle(asked, by="w-own"))
    assert proxy.lost >= 1
    assert [(answer.verdict, answer.state) for answer in answers] == [(SettleVerdict.APPLIED, to)] * 3
    for job in jobs:
        stored = await kit.reads.job(job.id)
        assert (stored.state, stored.failures, len(stored.log)) == (to, 1, 3)


async def test_a_claim_is_found_by_its_token(kit: Any, proxy: LosingProxy, manager: JobStateManager) -> None:
    job = await kit.put()
    proxy.lose("update")
    with pytest.raises(StoreUnavailableError):
        await manager.claim([job.id], token="t", owner="w", types=["noop"])
    (found,) = await until_answered(lambda: manager.claimed(token="t", owner="w"))
    assert (found.id, found.attempt, proxy.lost) == (job.id, 1, 1)


async def test_an_insert_makes_one_job(kit: Any, proxy: LosingProxy, manager: JobStateManager) -> None:
    job = make_job()
    proxy.lose("insert")
    (answer,) = await until_answered(lambda: manager.insert([job]))
    assert (answer.verdict, proxy.lost) == ("created", 1)
    assert kit.raw.jobs.count_documents({}) == 1


@pytest.mark.parametrize("waiting", [True, False])
async def test_a_cancel_is_answered_as_what_it_did(
    kit: Any, proxy: LosingProxy, manager: JobStateManager, waiting: bool
) -> None:
    job = await kit.put() if waiting else await kit.running()
    proxy.lose("findAndModify")
    _, verdict = await until_answered(lambda: manager.cancel(job.id, by="api"))
    assert proxy.lost == 1
    expected = {CancelVerdict.CANCELLED, CancelVerdict.ALREADY_CANCELLED} if waiting else {CancelVerdict.REQUESTED}
    assert verdict in expected
    assert len((await kit.reads.job(job.id)).log) == 2


async def test_an_orphan_is_handed_back_once(kit: Any, proxy: LosingProxy, manager: JobStateManager) -> None:
    job = await kit.running()
    orphan = Orphan(job.id, "default", 1, "w-own", "token-own", 0, None, 0, 0)
    proxy.lose("update")
    decision = OrphanDecision(JobState.QUEUED, Reason.ORPHANED, 1)
    await until_answered(lambda: manager.hand_back(orphan, decision, by="recovery"))
    stored = await kit.reads.job(job.id)
    assert (stored.state, stored.crashes, len(stored.log), proxy.lost) == (JobState.QUEUED, 1, 3, 1)


async def test_a_checkpoint_is_saved(kit: Any, proxy: LosingProxy, manager: JobStateManager) -> None:
    job = await kit.running()
    proxy.lose("update")
    await until_answered(lambda: manager.save_checkpoint(job.id, 1, "w-own", '{"page": 7}', started_ms_ago=1))
    assert ((await kit.reads.job(job.id)).checkpoint, proxy.lost) == ('{"page": 7}', 1)
