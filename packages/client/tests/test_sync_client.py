from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_type_hints

import pytest

from headrace.client import Client, NotReachableError, SyncClient
from headrace.client.loop_thread import LoopThread


def public(kind: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(kind, callable) if not name.startswith("_")}


def test_both_clients_can_do_the_same_and_say_so_in_the_same_types() -> None:
    asynchronous, blocking = public(Client), public(SyncClient)
    assert set(asynchronous) == set(blocking)
    for name, method in asynchronous.items():
        theirs, ours = inspect.signature(method), inspect.signature(blocking[name])
        assert theirs.parameters == ours.parameters, name
        given, got = get_type_hints(method)["return"], get_type_hints(blocking[name])["return"]
        if getattr(given, "__origin__", None) is AsyncGenerator:
            assert given.__args__[0] == got.__args__[0], name
        elif name != "from_environment":
            assert given == got, name
            assert inspect.iscoroutinefunction(method), name
    assert inspect.signature(Client) == inspect.signature(SyncClient)


def test_jobs_are_done_for_code_without_a_loop(services: Any) -> None:
    with SyncClient(services.url) as client:
        job = client.submit("test.steps", {"steps": 3, "seconds": 0.01})
        names = [event.name for event in client.follow(job.id)]
        assert (names[0], names[-1]) == ("job.snapshot", "job.completed")
        assert client.wait(job.id, timeout=5).result == 3
        outcomes = client.submit_many({"type": "noop", "payload": {}, "tags": {"n": "1"}} for _ in range(3))
        assert [job.state for job in client.wait_all([job.id for job in outcomes], timeout=10)] == ["completed"] * 3
        assert len(list(client.jobs(tag="n:1"))) == 3
        for first in client.jobs():
            assert first.id
            break
        assert client.job_page(None, 1, state="completed").next_cursor is not None


def test_many_threads_share_one_client(services: Any) -> None:
    with SyncClient(services.url) as client, ThreadPoolExecutor(8) as threads:
        jobs = list(threads.map(lambda _: client.submit("noop", {}), range(40)))
    assert len({job.id for job in jobs}) == 40


def test_a_closed_client_leaves_no_thread_and_says_how_to_use_it(services: Any) -> None:
    client = SyncClient(services.url)
    with pytest.raises(RuntimeError, match="with SyncClient"):
        client.pools()
    with client:
        assert client.pools()
    assert not any(thread.name == "headrace-client" for thread in threading.enumerate())


def test_its_errors_are_those_of_the_other(unused_tcp_port: int) -> None:
    with SyncClient(f"http://127.0.0.1:{unused_tcp_port}", tries=1) as client, pytest.raises(NotReachableError):
        client.get("x")


@pytest.fixture
def interrupts() -> Iterator[None]:
    """A shell that starts something in the background has it ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_ends_what_was_waited_for() -> None:
    loop, cancelled = LoopThread(), threading.Event()

    async def for_ever() -> None:
        try:
            started.set()
            await never()
        finally:
            cancelled.set()

    async def never() -> None:
        await asyncio.Event().wait()

    started = threading.Event()
    interrupter = threading.Thread(
        target=lambda: (started.wait(5), signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT))
    )
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run(for_ever())
    interrupter.join()
    loop.close()
    assert cancelled.wait(5)


def test_what_still_runs_ends_with_the_loop() -> None:
    ended: list[str] = []

    async def start() -> None:
        async def sleep() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("yes")

        started.append(asyncio.create_task(sleep()))
        await asyncio.sleep(0)

    started: list[Awaitable[None]] = []
    loop = LoopThread()
    loop.run(start())
    loop.close()
    assert ended == ["yes"]
