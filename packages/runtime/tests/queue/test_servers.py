"""Servers that are set up in other ways, and addresses that are none."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError
from redis_harness import POOL, VERBS, complete

from headrace.contracts.errors import ConfigError, StoreUnavailableError
from headrace.local.ports import free_port
from headrace.local.stores import RedisServer
from headrace.runtime.queue import Hints, RedisJobQueue, redis_client
from headrace.runtime.queue.errors import reason_of
from headrace.testing.eventually import eventually


async def test_a_server_that_wants_a_password_says_so(kind: Any, namespace: str) -> None:
    """Without it, and with a wrong one; with the right one it works."""
    with RedisServer(prefer=kind, password=True) as server:
        bare = server.url.split("@")[1]
        for url in (f"redis://{bare}", f"redis://:wrong@{bare}"):
            queue = RedisJobQueue(redis_client(url, kind="command", name="t"), namespace=namespace)
            with pytest.raises(StoreUnavailableError, match="password") as caught:
                await queue.depths(POOL)
            assert "wrong" not in caught.value.detail
            await queue.close()
        queue = RedisJobQueue(redis_client(SecretStr(server.url), kind="command", name="t"), namespace=namespace)
        assert await queue.depths(POOL)
        await queue.close()


async def test_a_user_without_the_right_says_so(own_redis_client: Redis, own_server: RedisServer) -> None:
    """An ACL that forbids scripts."""
    await own_redis_client.execute_command("ACL", "SETUSER", "weak", "on", ">pw", "~*", "+ping", "+hello", "+client")
    url = own_server.url.replace("redis://", "redis://weak:pw@")
    queue = RedisJobQueue(redis_client(url, kind="command", name="t"), namespace="ns")
    with pytest.raises(StoreUnavailableError, match="may not do this"):
        await queue.depths(POOL)
    await queue.close()


async def test_more_callers_than_connections_wait_for_one(server: RedisServer, namespace: str) -> None:
    """A bounded number of connections serves any number of callers; no error."""
    client = redis_client(server.url, kind="command", name="few", max_connections=2)
    queue = RedisJobQueue(client, namespace=namespace)
    assert len(await asyncio.gather(*(queue.depths(POOL) for _ in range(100)))) == 100
    await queue.close()


@pytest.mark.parametrize("url", ["http://secret@h", "redis://h:port/0", "redis://h/0?socket_timeout=x"])
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(ConfigError, match="JOB_REDIS_URL") as caught:
        redis_client(url, kind="command", name="t")
    assert "secret" not in str(caught.value)


def test_unknown_errors_get_a_short_reason_of_ours() -> None:
    """No driver text, whatever it says."""
    from redis import exceptions

    assert reason_of(exceptions.ResponseError("MISCONF Errors writing to /var/secret")) == (
        "Redis cannot save to its disk and refuses writes"
    )
    assert reason_of(exceptions.ResponseError("WEIRD thing at 10.0.0.1")) == "Redis refuses a command"
    assert reason_of(TimeoutError()) == "Redis did not answer in time"
    assert reason_of(OSError("connect 10.0.0.1")) == "no connection to Redis"
    assert reason_of(exceptions.BusyLoadingError("x")) == "Redis is still loading its data"


async def test_the_documented_rights_are_enough(own_redis_client: Redis, own_server: RedisServer) -> None:
    """The least a user needs, as docs/redis-keys.md lists it; everything dangerous stays forbidden."""
    text = (Path(__file__).parents[4] / "docs" / "redis-keys.md").read_text(encoding="utf-8")
    listed = text.split("```acl\n", 1)[1].split("```", 1)[0].split()
    await own_redis_client.execute_command("ACL", "SETUSER", "app", "on", ">pw", *listed)
    url = own_server.url.replace("redis://", "redis://app:pw@")
    client = redis_client(url, kind="command", name="app")
    queue = RedisJobQueue(client, namespace="headrace")
    hints = Hints(client, "headrace")
    await complete(queue)
    for verb in VERBS.values():
        await verb(queue)
    assert await hints.control({"a": 1})
    assert await hints.heartbeats() == []
    async with aclosing(hints.wakes([POOL])) as wakes:
        assert await anext(wakes) == POOL
    for forbidden in (client.flushall, client.config_get, client.keys, lambda: client.get("other:key")):
        with pytest.raises(NoPermissionError):
            await forbidden()  # type: ignore[operator]
    await queue.close()


async def test_every_verb_runs_on_a_cluster(kind: Any) -> None:
    """Each script's keys are in one slot and all of them are passed in, so a cluster lets it run."""
    # Without a port of its own the bus takes the server's plus 10,000, which may be beyond the last port.
    settings = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    with RedisServer(prefer=kind, settings=settings) as server:
        client = redis_client(server.url, kind="command", name="t")
        await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await eventually(lambda: _cluster_is_up(client))
        queue = RedisJobQueue(client, namespace="headrace")
        await complete(queue)
        for verb in VERBS.values():
            await verb(queue)
        await queue.close()


async def _cluster_is_up(client: Redis) -> bool:
    found = await client.execute_command("CLUSTER", "INFO")
    return "ok" in (found["cluster_state"] if isinstance(found, dict) else found.split("cluster_state:")[1][:2])
