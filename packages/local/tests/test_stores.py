from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import redis
from pymongo.errors import OperationFailure
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from headrace.contracts.config import JobConfig
from headrace.local import ports
from headrace.local.binaries import BinaryMissingError, find_redis
from headrace.local.spawn import spawn
from headrace.local.stores import MongoServer, RedisServer, ServerStartError
from headrace.testing.eventually import eventually

Kind = Literal["redis", "valkey"]


@pytest.fixture(params=["redis", "valkey"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    try:
        find_redis(found)
    except BinaryMissingError as error:
        pytest.skip(str(error))
    return found


@pytest.fixture
def server(kind: Kind) -> Iterator[RedisServer]:
    with RedisServer(prefer=kind) as server:
        yield server


def ask(server: RedisServer, *command: str, timeout: float = 5) -> object:
    with redis.Redis.from_url(server.url, socket_timeout=timeout, decode_responses=True) as client:
        return client.execute_command(*command)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_it_serves_what_was_asked_for_on_loopback_with_debug_allowed(server: RedisServer, kind: Kind) -> None:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert client.info("server").get("server_name", "redis") == kind
    assert ask(server, "CONFIG", "GET", "bind") in (["bind", "127.0.0.1"], {"bind": "127.0.0.1"})
    assert ask(server, "DEBUG", "SLEEP", "0")
    assert ask(server, "CONFIG", "GET", "save") in (["save", ""], {"save": ""})


def test_a_restart_keeps_or_loses_the_data_and_the_address_stays(server: RedisServer) -> None:
    url, pid = server.url, server.pid
    ask(server, "SET", "kept", "1")
    server.restart(keep_data=True)
    assert ask(server, "GET", "kept") == "1"
    assert (server.url, server.pid != pid) == (url, True)
    server.restart(keep_data=False)
    assert ask(server, "DBSIZE") == 0


def test_a_kill_loses_everything_also_what_an_earlier_restart_kept(server: RedisServer) -> None:
    ask(server, "SET", "a", "1")
    server.restart(keep_data=True)
    server.kill()
    assert not server.running
    server.start()
    assert ask(server, "DBSIZE") == 0


def test_with_appendonly_a_kill_loses_nothing(kind: Kind) -> None:
    with RedisServer(prefer=kind, appendonly=True) as server:
        ask(server, "SET", "a", "1")
        server.kill()
        server.start()
        assert ask(server, "GET", "a") == "1"
        server.restart(keep_data=True)
        assert ask(server, "GET", "a") == "1"
        server.restart(keep_data=False)
        assert ask(server, "DBSIZE") == 0


def test_with_a_password_nothing_is_answered_without_it_and_only_we_can_read_it(kind: Kind) -> None:
    with RedisServer(prefer=kind, password=True, settings={"maxmemory": "8mb"}) as server:
        assert ask(server, "PING")
        with redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as client, pytest.raises(AuthenticationError):
            client.ping()
        secret = server.url.split(":")[2].partition("@")[0]
        assert secret not in Path(f"/proc/{server.pid}/cmdline").read_text()
        assert stat.S_IMODE((server.folder / "redis.conf").stat().st_mode) == 0o600
        server.restart(keep_data=True)
        assert ask(server, "CONFIG", "GET", "maxmemory") in (["maxmemory", "8388608"], {"maxmemory": "8388608"})


def test_a_paused_server_keeps_silent_and_goes_on_afterwards(server: RedisServer) -> None:
    server.pause()
    assert server.running
    with pytest.raises(RedisTimeoutError):
        ask(server, "PING", timeout=0.2)
    server.resume()
    assert ask(server, "PING")
    server.pause()
    server.stop()
    assert not server.running


def test_a_stopped_server_says_so_and_stopping_twice_is_fine(server: RedisServer) -> None:
    server.start()
    server.stop()
    server.stop()
    for action in (server.pause, lambda: server.pid):
        with pytest.raises(ServerStartError, match="not running"):
            action()


def test_one_that_ignores_sigterm_is_killed_after_its_grace(own_redis: RedisServer) -> None:
    own_redis.stop(grace=0)
    assert not own_redis.running


def test_a_wrong_setting_is_shown_with_the_servers_own_words(kind: Kind) -> None:
    server = RedisServer(prefer=kind, settings={"no-such-setting": "1"})
    with pytest.raises(ServerStartError, match=r"(?i)bad directive"), server:
        pass
    assert not server.folder.exists()


def test_a_server_that_never_serves_is_given_up_and_killed() -> None:
    class Deaf(RedisServer):
        def _serves(self) -> bool:
            return False

    server = Deaf()
    with pytest.raises(ServerStartError, match="not ready in time"):
        server.start(within=0.1)
    assert not server.running
    server.close()


def test_a_given_port_that_is_taken_is_an_error_and_a_free_one_that_was_snatched_is_not(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = own_redis.port
    assert not ports.is_free(taken)
    with pytest.raises(ServerStartError, match=r"(?i)address already in use"), RedisServer(port=taken):
        pass
    offered = [taken, ports.free_port()]
    monkeypatch.setattr(ports, "free_port", lambda: offered.pop(0))
    with RedisServer() as server:
        assert server.port != taken


def test_a_server_has_no_port_before_its_first_start() -> None:
    server = RedisServer()
    with pytest.raises(ServerStartError, match="no port"):
        _ = server.url
    server.close()


def test_a_named_folder_stays_and_its_data_is_found_again(tmp_path: Path) -> None:
    for _ in range(2):
        with RedisServer(folder=tmp_path / "r", appendonly=True) as server:
            ask(server, "INCR", "starts")
            starts = ask(server, "GET", "starts")
    assert starts == "2"


async def test_an_async_with_leaves_the_loop_free_and_serves_after_its_thread_is_gone() -> None:
    async with RedisServer() as server:
        pid = server.pid
        await asyncio.sleep(0)
        assert ask(server, "PING")
    assert gone(pid)


def test_mongod_is_primary_and_takes_majority_writes_and_fail_points(mongo_server: MongoServer) -> None:
    assert mongo_server.url.endswith("/?replicaSet=rs0")
    with mongo_server.client() as client:
        assert client.admin.command("hello")["setName"] == "rs0"
        point = {"configureFailPoint": "failCommand", "mode": {"times": 1}}
        client.admin.command(point | {"data": {"failCommands": ["ping"], "errorCode": 2}})
        with pytest.raises(OperationFailure):
            client.admin.command("ping")


@pytest.mark.slow
def test_mongod_keeps_its_data_over_restart_and_kill_and_loses_it_when_wiped(tmp_path: Path) -> None:
    with MongoServer(folder=tmp_path / "m") as server:
        with server.client() as client:
            client.db.things.insert_one({"_id": 1})
        server.kill()
        server.start()
        server.restart(keep_data=True)
        with server.client() as client:
            assert client.db.things.count_documents({}) == 1
    with MongoServer(folder=tmp_path / "m") as server:  # on another port: it takes its set over
        with server.client() as client:
            assert client.db.things.count_documents({}) == 1
            config = client.admin.command("replSetGetConfig")["config"]
            assert [member["host"] for member in config["members"]] == [f"127.0.0.1:{server.port}"]
        server.restart(keep_data=False)
        with server.client() as client:
            assert client.db.things.count_documents({}) == 0
            client.db.things.insert_one({"_id": 2})


def test_each_test_has_names_of_its_own(config: JobConfig, namespace: str, mongo_database: str) -> None:
    assert config.namespace == namespace
    assert config.mongo_database == mongo_database


async def test_servers_die_with_a_process_that_is_killed() -> None:
    code = (
        "from headrace.local.stores import *\n"
        "with RedisServer() as r, MongoServer() as m:\n    print(r.pid, m.pid, flush=True)\n    input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pids = [int(word) for word in starter.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(gone(pid) for pid in pids)
        os.kill(starter.pid, signal.SIGKILL)
    await eventually(lambda: all(gone(pid) for pid in pids))


def test_a_program_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: started.append(spawn(["/bin/sleep", "60"], output=tmp_path / "log")))
    thread.start()
    thread.join()
    with pytest.raises(subprocess.TimeoutExpired):
        started[0].wait(0.2)
    started[0].kill()
    started[0].wait()


def test_a_program_that_cannot_be_started_says_so_to_the_one_who_asked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spawn(["/bin/true"], output=tmp_path / "no" / "folder")
    with pytest.raises(ValueError, match="null byte"):
        spawn(["/bin/true", "\0"], output=tmp_path / "log")
    done = spawn(["/no/such/program"], output=tmp_path / "log")
    assert done.wait() != 0
    assert b"No such file" in (tmp_path / "log").read_bytes()
